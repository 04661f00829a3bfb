use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use tonic::Code;
use tower::{BoxError, Service};
use tracing::Instrument;
use tracing::field::Empty;

use super::{Request, Response, rescue};
use crate::header;
use crate::passage::{Passage, single};

/// Gives a call its span, its `Passage` and its place in the metrics.
#[derive(Clone)]
pub(crate) struct Trace<S>(pub(crate) S);

impl<S> Service<Request> for Trace<S>
where
    S: Service<Request, Response = Response, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let mut passage = match Passage::enter(&parts) {
            Ok(passage) => passage,
            Err(fault) => {
                let refused = rescue::refusal(fault);
                measure("unknown", &refused, started);
                return futures::future::ready(Ok(refused)).boxed();
            }
        };
        let (method, audit) = (passage.policy.path, passage.policy.audit);
        let span = tracing::info_span!(
            "grpc",
            otel.name = method,
            otel.kind = "server",
            method,
            correlation_id = passage.cause.correlation_id,
            tenant = Empty,
            actor = Empty,
            trace_id = Empty,
            code = Empty,
        );
        let parent = single(&parts.headers, header::TRACEPARENT).ok().flatten();
        passage.cause.traceparent = Some(telemetry::trace::adopt(&span, parent, &passage.cause.correlation_id));
        parts.extensions.insert(passage);
        let answer = span.in_scope(|| self.0.call(Request::from_parts(parts, body)));
        let on_span = span.clone();
        async move {
            let response = rescue::answer(answer.await)?;
            on_span.record("code", measure(method, &response, started));
            if audit {
                tracing::info!(target: "audit", "answered");
            } else {
                tracing::debug!("answered");
            }
            Ok(response)
        }
        .instrument(span)
        .boxed()
    }
}

fn measure(method: &'static str, response: &Response, started: Instant) -> &'static str {
    let code = code_name(code_of(response.headers()));
    metrics::counter!("grpc_server_requests_total", "method" => method, "code" => code).increment(1);
    metrics::histogram!("grpc_server_duration_seconds", "method" => method, "code" => code)
        .record(started.elapsed().as_secs_f64());
    code
}

/// Code of an answer's head; a body that is still to come counts as OK.
pub(crate) fn code_of(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

/// A code as the gRPC documents write it.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
