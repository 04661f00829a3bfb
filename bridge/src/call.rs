//! A call of a service: one gRPC request into its peer.

use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body_util::Full;
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::app::Call;
use crate::frame;
use crate::refusal::Refusal;

/// What the service gets beyond the deadline to say itself that time is over.
const GRACE: Duration = Duration::from_millis(250);

/// Sends the request and waits for the head of the answer.
///
/// # Errors
/// 503 when the service is not there, 504 when it does not answer in time.
pub(crate) async fn send(call: &Call<'_>, message: Vec<u8>) -> Result<Response<Body>, Box<Refusal>> {
    let context = call.policy.context;
    let peer = call.bridge.config.upstreams.get(context).cloned();
    let peer = peer.ok_or_else(|| Refusal::unreachable(context))?;
    let request = request(call, &message);
    match tokio::time::timeout(call.inbound.timeout + GRACE, peer.oneshot(request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(failed(call, error)),
        Err(_) => Err(Refusal::deadline()),
    }
}

fn request(call: &Call<'_>, message: &[u8]) -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(frame::encode(message))));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    // Paths come from the descriptor image: always valid.
    *request.uri_mut() = call.route.path().parse().unwrap_or_default();
    let headers = request.headers_mut();
    headers.clone_from(&call.inbound.metadata);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    crate::app::set(
        headers,
        http::HeaderName::from_static("grpc-timeout"),
        &format!("{}m", call.inbound.timeout.as_millis()),
    );
    request
}

fn failed(call: &Call<'_>, error: tower::BoxError) -> Box<Refusal> {
    let status = tonic::Status::from_error(error);
    tracing::warn!(context = call.policy.context, code = ?status.code(), "a service cannot be reached");
    match status.code() {
        tonic::Code::DeadlineExceeded => Refusal::deadline(),
        // Connections that fail are UNKNOWN to tonic in most ways of failing.
        tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Unavailable | tonic::Code::Cancelled => {
            Refusal::unreachable(call.policy.context)
        }
        _ => Refusal::from_status(&status, &call.route, call.inbound.used_if_match()),
    }
}
