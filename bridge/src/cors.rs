//! Which pages of other origins may call (CORS).

use http::{HeaderMap, HeaderValue, header};

const REQUEST_HEADERS: &str = "authorization, content-type, idempotency-key, if-match, if-none-match, \
    last-event-id, prefer, traceparent, x-correlation-id, x-request-timeout-ms, x-tenant-id";
const EXPOSED_HEADERS: &str = "allow, etag, idempotent-replayed, link, location, preference-applied, retry-after, \
    www-authenticate, x-cache, x-correlation-id";

/// Completes the answer to a preflight; without [`allow`] a browser does not accept it.
pub(crate) fn preflight(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

/// Lets a page of a known origin see the answer; tokens travel in headers, so never with credentials.
pub(crate) fn allow(origins: &[String], origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if origins.is_empty() {
        return;
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin
        && origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
}
