//! What is not the API itself: reference page, OpenAPI document, probes, the key set's usual address.

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use transcode::Code;

use crate::observe::RouteLabel;
use crate::refusal::{Answer, Refusal};
use crate::server::Draining;

static OPENAPI: &[u8] = include_bytes!("../../gen/openapi/openapi.json");
static REFERENCE: &str = include_str!("reference.html");

/// The page may run its own script and style, and ask nobody else.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Answers the paths that are no rpc; `None` for all others.
pub(crate) fn answer(request: &Request<Body>, label: &mut RouteLabel) -> Option<Answer> {
    let path = request.uri().path();
    let page: fn(&Request<Body>) -> Answer = match path {
        "/" => |_| Ok(home()),
        "/docs" => |_| Ok(text("text/html; charset=utf-8", REFERENCE.as_bytes())),
        "/openapi.json" => |_| Ok(text("application/json", OPENAPI)),
        "/healthz" => |_| Ok(text("application/json", b"{\"status\":\"ok\"}")),
        "/readyz" => ready,
        _ => return None,
    };
    label.set(path);
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let refusal = Refusal::new(405, Code::Unimplemented, "METHOD_NOT_ALLOWED", "this path answers GET, HEAD");
        return Some(Err(refusal.with(header::ALLOW, "GET, HEAD".to_owned())));
    }
    Some(page(request).map(|response| if *request.method() == Method::HEAD { headless(response) } else { response }))
}

/// Maps the usual address of a key set (RFC 8615) to the rpc that has it.
pub(crate) fn alias(uri: &mut Uri) {
    if uri.path() == "/.well-known/jwks.json" {
        *uri = Uri::from_static("/api/v1/jwks");
    }
}

/// Ready is about this process only; a service that is away is an answer of its own.
fn ready(request: &Request<Body>) -> Answer {
    let is_draining = request.extensions().get::<Draining>().is_some_and(|draining| draining.0.is_cancelled());
    if is_draining {
        return Err(Refusal::new(503, Code::Unavailable, "SHUTTING_DOWN", "this process is shutting down"));
    }
    Ok(text("application/json", b"{\"status\":\"ready\"}"))
}

fn home() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/docs"));
    response
}

fn text(content_type: &'static str, body: &'static [u8]) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY));
    response
}

fn headless(mut response: Response<Body>) -> Response<Body> {
    use http_body::Body as _;
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
    response
}
