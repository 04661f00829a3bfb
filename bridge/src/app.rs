//! The edge as a whole: configuration, and the way of a request through it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use contract::{MethodPolicy, RateTier};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use serve::card;
use transcode::{Capture, Code, Input, Problem, Resolution, Route, Router};

use crate::headers::Inbound;
use crate::observe::{Facts, RouteLabel};
use crate::refusal::{Answer, Refusal};
use crate::{body, call, compress, cors, negotiate, observe, pages, reply, stream};

/// Anything that answers a gRPC request: routes behind their stack, or a channel (the same type as `serve::Peer`).
pub type Peer = tower::util::BoxCloneSyncService<
    http::Request<tonic::body::Body>,
    http::Response<tonic::body::Body>,
    tower::BoxError,
>;

/// What the edge needs to know.
pub struct Config {
    /// Where each context is reached: "order", "identity", …
    pub upstreams: BTreeMap<&'static str, Peer>,
    /// Origins whose pages may call, such as `https://shop.example`.
    pub cors_origins: Vec<String>,
    /// Silence after which a stream sends a sign of life.
    pub heartbeat: Duration,
    /// Longest time a client may take to send its body.
    pub body_timeout: Duration,
}

impl Config {
    /// The usual settings: no foreign origins, a heartbeat every 15 s, 10 s for a body.
    #[must_use]
    pub fn new(upstreams: BTreeMap<&'static str, Peer>) -> Self {
        Self {
            upstreams,
            cors_origins: Vec::new(),
            heartbeat: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
        }
    }
}

/// Where a created resource can be read: the path before its id, and the field that holds the id.
pub(crate) struct Location {
    pub(crate) prefix: String,
    pub(crate) field: String,
}

/// Everything requests share.
pub(crate) struct Bridge {
    pub(crate) router: Router,
    pub(crate) config: Config,
    /// By gRPC path of the creating method.
    pub(crate) locations: HashMap<String, Location>,
}

/// The edge as an axum router.
///
/// # Panics
/// When the contract's own image is broken; `make gen` and the tests of `transcode` prove that it is not.
pub fn app(config: Config) -> axum::Router {
    let router = Router::from_image(contract::IMAGE).expect("the contract's image has valid HTTP rules");
    let locations = locations(&router);
    let bridge = Arc::new(Bridge { router, config, locations });
    axum::Router::new()
        .fallback(handle)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&bridge), observe::observe))
        .layer(compress::layer())
        .with_state(bridge)
}

fn locations(router: &Router) -> HashMap<String, Location> {
    let gets = || router.routes().iter().filter(|route| *route.verb() == Method::GET);
    let mut locations = HashMap::new();
    for route in router.routes().iter().filter(|route| creates(route)) {
        let prefix = format!("{}/", route.template());
        let found = gets().find_map(|get| {
            let field = get.template().strip_prefix(&prefix)?.strip_prefix('{')?.strip_suffix('}')?;
            Some(field.to_owned()).filter(|field| !field.contains(['/', '{', '=']))
        });
        if let Some(field) = found {
            locations.insert(route.path().to_owned(), Location { prefix, field });
        }
    }
    locations
}

/// Whether a success is 201.
pub(crate) fn creates(route: &Route) -> bool {
    *route.verb() == Method::POST && route.name().starts_with("Create")
}

/// A request that found its route, with what its headers say.
pub(crate) struct Call<'c> {
    pub(crate) bridge: &'c Bridge,
    pub(crate) facts: &'c Facts,
    pub(crate) route: Arc<Route>,
    pub(crate) policy: &'static MethodPolicy,
    pub(crate) inbound: Inbound,
    pub(crate) is_head: bool,
    pub(crate) uri: Uri,
}

async fn handle(State(bridge): State<Arc<Bridge>>, request: Request<Body>) -> Response<Body> {
    let _waiting = ctx::foreground::wait();
    let facts = request.extensions().get::<Facts>().cloned().unwrap_or_default();
    let mut label = RouteLabel::default();
    let mut response = match answer(&bridge, &facts, request, &mut label).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(&facts),
    };
    response.extensions_mut().insert(label);
    response
}

async fn answer(bridge: &Arc<Bridge>, facts: &Facts, mut request: Request<Body>, label: &mut RouteLabel) -> Answer {
    if negotiate::is_grpc(request.headers()) {
        let detail = "gRPC is spoken on the services' own ports; this one takes JSON";
        return Err(Refusal::new(415, Code::InvalidArgument, "UNSUPPORTED_MEDIA_TYPE", detail));
    }
    if let Some(answer) = pages::answer(&request, label) {
        return answer;
    }
    pages::alias(request.uri_mut());
    refuse_cards(request.uri())?;
    if request.method() == Method::OPTIONS {
        return options(bridge, request.uri().path());
    }
    let (route, captures) = resolve(bridge, request.method(), request.uri().path())?;
    label.set(route.template());
    let policy = contract::policy(route.path()).ok_or_else(no_route)?;
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, policy.max_request_bytes, bridge.config.body_timeout).await?;
    negotiate::check_content_type(&route, &parts.headers, &body)?;
    if policy.rate_tier != RateTier::Webhook && card::in_text(&String::from_utf8_lossy(&body)) {
        return Err(card_refusal());
    }
    let (inbound, wire) = transcode(&route, policy, facts, &parts, &captures, &body)?;
    let is_head = parts.method == Method::HEAD;
    let format = if route.is_server_streaming() { Some(negotiate::stream_format(&parts.headers)?) } else { None };
    let call = Call { bridge, facts, route, policy, inbound, is_head, uri: parts.uri };
    let upstream = call::send(&call, wire).await?;
    match format {
        Some(format) => {
            let draining = parts.extensions.get::<crate::server::Draining>().cloned();
            stream::answer(&call, upstream, format, draining).await
        }
        None => reply::answer(&call, upstream).await,
    }
}

/// Nobody may write a card number into an address (PAY-05): addresses are what proxies log. Bodies are looked into
/// again by the service, decoded.
fn refuse_cards(uri: &Uri) -> Result<(), Box<Refusal>> {
    let text = uri.path_and_query().map(http::uri::PathAndQuery::as_str).unwrap_or_default().replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8_lossy();
    if card::in_text(&decoded) { Err(card_refusal()) } else { Ok(()) }
}

fn card_refusal() -> Box<Refusal> {
    let fault = card::refusal("request");
    Refusal::new(400, Code::InvalidArgument, fault.reason(), fault.message())
}

fn transcode(
    route: &Route,
    policy: &'static MethodPolicy,
    facts: &Facts,
    parts: &http::request::Parts,
    captures: &[Capture],
    body: &[u8],
) -> Result<(Inbound, Vec<u8>), Box<Refusal>> {
    let (inbound, mut problems) = Inbound::read(&parts.method, &parts.headers, policy, facts);
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let fields = inbound.fields(policy);
    let input =
        Input { captures, query: parts.uri.query(), content_type, body, lenient: inbound.lenient, headers: &fields };
    match route.request(&input) {
        Ok(wire) if problems.is_empty() => Ok((inbound, wire)),
        Ok(_) => Err(Refusal::from_problem(Problem::from(problems))),
        Err(more) => {
            more.into_violations().into_iter().for_each(|violation| problems.push(violation));
            Err(Refusal::from_problem(Problem::from(problems)))
        }
    }
}

fn resolve(bridge: &Bridge, method: &Method, path: &str) -> Result<(Arc<Route>, Vec<Capture>), Box<Refusal>> {
    match bridge.router.resolve(method, path) {
        Resolution::Route(route, captures) => Ok((route, captures)),
        Resolution::NotFound => Err(no_route()),
        Resolution::Malformed => {
            let detail = "the path must be percent-encoded UTF-8";
            Err(Refusal::new(400, Code::InvalidArgument, "MALFORMED_PATH", detail))
        }
        Resolution::MethodNotAllowed(allowed) => {
            let detail = format!("this path answers {}", join(&allowed));
            let refusal = Refusal::new(405, Code::Unimplemented, "METHOD_NOT_ALLOWED", detail);
            Err(refusal.with(header::ALLOW, join(&allowed)))
        }
    }
}

fn no_route() -> Box<Refusal> {
    Refusal::new(404, Code::Unimplemented, "NO_ROUTE", "there is nothing at this path; see /docs")
}

fn options(bridge: &Bridge, path: &str) -> Answer {
    let allowed = bridge.router.allowed(path);
    if allowed.is_empty() {
        return Err(no_route());
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    set(response.headers_mut(), header::ALLOW, &join(&allowed));
    set(response.headers_mut(), header::ACCESS_CONTROL_ALLOW_METHODS, &join(&allowed));
    cors::preflight(response.headers_mut());
    Ok(response)
}

fn join(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

/// Sets a header whose text may come from outside; text that no header can hold is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
