//! What is known about every request: its correlation id, its trace, one log line, its metrics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::middleware::Next;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use tracing::Instrument as _;
use transcode::Code;

use crate::app::{Bridge, set};
use crate::cors;
use crate::headers::CORRELATION;
use crate::refusal::Refusal;

/// Who asks, as far as logs and traces are concerned.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The client's if it is sane, else a new one.
    pub(crate) correlation_id: String,
    /// W3C trace context to hand on.
    pub(crate) traceparent: String,
    /// Whether the request came with a token.
    pub(crate) has_token: bool,
}

/// The template a request matched; paths themselves have too many values for a metric.
#[derive(Debug, Clone)]
pub(crate) struct RouteLabel(String);

impl Default for RouteLabel {
    fn default() -> Self {
        Self("unmatched".to_owned())
    }
}

impl RouteLabel {
    pub(crate) fn set(&mut self, template: &str) {
        template.clone_into(&mut self.0);
    }
}

pub(crate) async fn observe(
    State(bridge): State<Arc<Bridge>>,
    mut request: Request<Body>,
    next: Next,
) -> Response<Body> {
    let started = Instant::now();
    let method = request.method().clone();
    let correlation_id = correlation_id(request.headers());
    let span = tracing::info_span!(
        "http",
        method = %method,
        correlation_id,
        trace_id = tracing::field::Empty,
        route = tracing::field::Empty,
        status = tracing::field::Empty,
    );
    let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let traceparent = telemetry::trace::adopt(&span, parent, &correlation_id);
    let has_token = request.headers().contains_key(header::AUTHORIZATION);
    let facts = Facts { correlation_id, traceparent, has_token };
    let origin = request.headers().get(header::ORIGIN).cloned();
    request.extensions_mut().insert(facts.clone());
    // A panic must not take the connection's other requests with it.
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!(parent: &span, "a request panicked");
        Refusal::new(500, Code::Internal, "INTERNAL", "something went wrong on our side").into_response(&facts)
    });
    let label = response.extensions_mut().remove::<RouteLabel>().unwrap_or_default();
    let headers = response.headers_mut();
    set(headers, CORRELATION, &facts.correlation_id);
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    cors::allow(&bridge.config.cors_origins, origin.as_ref(), headers);
    record(&span, &method, &label, &response, started);
    response
}

fn record(
    span: &tracing::Span,
    method: &http::Method,
    label: &RouteLabel,
    response: &Response<Body>,
    started: Instant,
) {
    let status = response.status().as_u16();
    span.record("route", label.0.as_str());
    span.record("status", status);
    let elapsed = started.elapsed();
    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(parent: span, elapsed_ms, "request");
    // Clients may invent methods; a metric may not have as many values.
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    };
    let labels = [("route", label.0.clone()), ("method", method.to_owned()), ("status", status.to_string())];
    metrics::counter!("http_server_requests_total", &labels).increment(1);
    metrics::histogram!("http_server_request_duration_seconds", &labels).record(elapsed.as_secs_f64());
}

fn correlation_id(headers: &HeaderMap) -> String {
    let is_sane = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let sent = headers.get(&CORRELATION).and_then(|value| value.to_str().ok()).filter(is_sane);
    // It would go into every log line.
    let sent = sent.filter(|text| !serve::card::in_text(text));
    sent.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}
