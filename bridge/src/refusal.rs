//! Answers that are not success, as `application/problem+json`.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use tonic::Status;
use tonic_types::{FieldViolation, StatusExt as _};
use transcode::{Code, Place, Problem, Route, Violation};

use crate::app::set;
use crate::observe::Facts;

/// What every step of a request comes to.
pub(crate) type Answer = Result<Response<Body>, Box<Refusal>>;

/// A problem and the headers that belong to it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    headers: HeaderMap,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: Code, reason: &str, detail: impl Into<String>) -> Box<Self> {
        Self::from_problem(Problem::new(status, code, reason, detail))
    }

    pub(crate) fn from_problem(problem: Problem) -> Box<Self> {
        Box::new(Self { problem, headers: HeaderMap::new() })
    }

    pub(crate) fn with(mut self: Box<Self>, name: HeaderName, value: String) -> Box<Self> {
        set(&mut self.headers, name, &value);
        self
    }

    /// The service cannot be reached; nothing happened.
    pub(crate) fn unreachable(context: &str) -> Box<Self> {
        let detail = format!("{context} cannot be reached right now");
        let mut refusal = Self::new(503, Code::Unavailable, "UPSTREAM_UNAVAILABLE", detail);
        refusal.problem.retry_after_s = Some(1);
        refusal
    }

    /// The service said something that is not gRPC or not the contract.
    pub(crate) fn bad_gateway(context: &str) -> Box<Self> {
        Self::new(502, Code::Internal, "BAD_UPSTREAM_ANSWER", format!("{context} gave an answer nobody can read"))
    }

    /// The time the call had is over; it may have happened.
    pub(crate) fn deadline() -> Box<Self> {
        let detail = "the call took longer than it may; it may have happened all the same";
        Self::new(504, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", detail)
    }

    /// A gRPC error of a service.
    pub(crate) fn from_status(status: &Status, route: &Route, used_if_match: bool) -> Box<Self> {
        let details = status.get_error_details();
        let code = Code::from_number(i32::from(status.code()));
        let info = details.error_info();
        let reason = info.map(|info| info.reason.as_str()).unwrap_or_default();
        // What a broken service says about itself is not for clients.
        let detail = match code {
            Code::Unknown | Code::Internal | Code::DataLoss => "something went wrong on our side",
            _ if status.message().is_empty() => status.code().description(),
            _ => status.message(),
        };
        let mut problem = Problem::from_code(code, reason, detail, used_if_match);
        if let Some(info) = info {
            problem.domain.clone_from(&info.domain);
            problem.metadata = info.metadata.clone().into_iter().collect();
        }
        if let Some(bad) = details.bad_request() {
            problem.errors = bad.field_violations.iter().map(|sent| violation(route, sent)).collect();
        }
        if let Some(wait) = details.retry_info().and_then(|info| info.retry_delay) {
            problem.retry_after_s = Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        }
        Self::from_problem(problem)
    }

    pub(crate) fn into_response(self: Box<Self>, facts: &Facts) -> Response<Body> {
        let Self { mut problem, headers } = *self;
        problem.instance.clone_from(&facts.correlation_id);
        // A problem has only strings and numbers: it always has a JSON form.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let out = response.headers_mut();
        out.extend(headers);
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = problem.retry_after_s {
            out.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if problem.status == 401 {
            let challenge = if facts.has_token {
                "Bearer realm=\"ordermesh\", error=\"invalid_token\""
            } else {
                "Bearer realm=\"ordermesh\""
            };
            out.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

fn violation(route: &Route, sent: &FieldViolation) -> Violation {
    let (reason, detail) = if sent.reason.is_empty() {
        split(&sent.description)
    } else {
        (sent.reason.as_str(), sent.description.as_str())
    };
    if sent.field == "idempotency_key" {
        return Violation::header("idempotency-key", reason, detail);
    }
    let (pointer, place) = route.locate(&sent.field);
    let place = if sent.field.contains('-') { Place::Header } else { place };
    Violation { pointer, field: sent.field.clone(), place, reason: reason.to_owned(), detail: detail.to_owned() }
}

/// `fault` sends the reason of a field in front of its description.
fn split(description: &str) -> (&str, &str) {
    let is_reason = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    match description.split_once(": ") {
        Some((reason, rest)) if is_reason(reason) => (reason, rest),
        _ => ("INVALID", description),
    }
}
