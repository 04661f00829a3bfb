//! The answer of a unary call as HTTP.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use tonic::Code;
use transcode::{Decoded, encode_segment};

use crate::app::{Call, creates, set};
use crate::frame::{Broken, Messages};
use crate::refusal::{Answer, Refusal};

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Reads the one message of an answer and writes it as JSON.
///
/// # Errors
/// The service's error as a problem, 502 for an answer nobody can read.
pub(crate) async fn answer(call: &Call<'_>, upstream: Response<tonic::body::Body>) -> Answer {
    let mut messages = Messages::new(upstream);
    let read = tokio::time::timeout(call.inbound.timeout, only(&mut messages));
    let message = read.await.map_err(|_| Refusal::deadline())?.map_err(|broken| refused(call, &broken))?;
    let status = messages.status().ok_or_else(|| Refusal::bad_gateway(call.policy.context))?;
    if status.code() != Code::Ok {
        return Err(Refusal::from_status(&status, &call.route, call.inbound.used_if_match()));
    }
    let unreadable = || Refusal::bad_gateway(call.policy.context);
    let decoded = call.route.response(&message.ok_or_else(unreadable)?).map_err(|error| {
        tracing::error!(error = %error, "an answer does not fit the contract");
        unreadable()
    })?;
    success(call, &decoded, messages.headers())
}

async fn only(messages: &mut Messages) -> Result<Option<bytes::Bytes>, Broken> {
    let first = messages.next().await?;
    match messages.next().await? {
        None => Ok(first),
        Some(_) => Err(Broken::Framing),
    }
}

/// What became of an answer that broke off.
pub(crate) fn refused(call: &Call<'_>, broken: &Broken) -> Box<Refusal> {
    tracing::error!(context = call.policy.context, broken = ?broken, "an answer broke off");
    match broken {
        Broken::Framing => Refusal::bad_gateway(call.policy.context),
        Broken::Transport => Refusal::unreachable(call.policy.context),
    }
}

fn success(call: &Call<'_>, decoded: &Decoded, metadata: &HeaderMap) -> Answer {
    let (content_type, body) = match decoded.raw() {
        Some((content_type, data)) => (content_type, data),
        None => {
            let json = decoded.json().map_err(|error| {
                tracing::error!(error = %error, "an answer has no JSON form");
                Refusal::bad_gateway(call.policy.context)
            })?;
            ("application/json".to_owned(), json.into())
        }
    };
    let mut headers = HeaderMap::new();
    set(&mut headers, header::CONTENT_TYPE, &content_type);
    let is_get = *call.route.verb() == Method::GET;
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control(call, is_get)));
    let etag = call.policy.etag_field.and_then(|field| decoded.text(field)).as_deref().and_then(quoted);
    if let Some(etag) = &etag {
        set(&mut headers, header::ETAG, etag);
    }
    if is_get {
        headers.append(header::VARY, HeaderValue::from_static("Authorization"));
    }
    if call.inbound.lenient {
        let applied = HeaderValue::from_static("handling=lenient");
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
    if metadata.get(&REPLAYED).is_some_and(|value| value.as_bytes() == b"true") {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(cache) = metadata.get(serve::header::CACHE) {
        headers.insert(HeaderName::from_static(serve::header::CACHE), cache.clone());
    }
    if let Some(link) = decoded.text("next_page_token").map(|token| next_link(call, &token)) {
        set(&mut headers, header::LINK, &link);
    }
    let status = if creates(&call.route) { StatusCode::CREATED } else { StatusCode::OK };
    if let Some(location) = location(call, decoded) {
        set(&mut headers, header::LOCATION, &location);
    }
    if is_get && etag.is_some_and(|etag| call.inbound.has_version(&etag)) {
        headers.remove(header::CONTENT_TYPE);
        return Ok(respond(StatusCode::NOT_MODIFIED, headers, Body::empty()));
    }
    if call.is_head {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        return Ok(respond(status, headers, Body::empty()));
    }
    Ok(respond(status, headers, Body::from(body)))
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn cache_control(call: &Call<'_>, is_get: bool) -> &'static str {
    match (is_get, call.policy.exposure) {
        (true, contract::Exposure::Public) => "public, max-age=300",
        (true, _) => "private, max-age=0, must-revalidate",
        (false, _) => "no-store",
    }
}

/// An entity tag as RFC 9110 writes it, if the version's characters allow.
fn quoted(version: &str) -> Option<String> {
    let is_etagc = |b: u8| b.is_ascii_graphic() && b != b'"';
    version.bytes().all(is_etagc).then(|| format!("\"{version}\""))
}

/// The same request for the next page (RFC 8288).
fn next_link(call: &Call<'_>, token: &str) -> String {
    let mut name = "pageToken";
    let mut kept = Vec::new();
    for pair in call.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split('=').next() {
            Some("page_token") => name = "page_token",
            Some("pageToken") => {}
            _ => kept.push(pair.to_owned()),
        }
    }
    kept.push(format!("{name}={}", encode_segment(token)));
    format!("<{}?{}>; rel=\"next\"", call.uri.path(), kept.join("&"))
}

fn location(call: &Call<'_>, decoded: &Decoded) -> Option<String> {
    let location = call.bridge.locations.get(call.route.path()).filter(|_| creates(&call.route))?;
    let id = decoded.text(&location.field).or_else(|| decoded.text("id"))?;
    Some(format!("{}{}", location.prefix, encode_segment(&id)))
}
