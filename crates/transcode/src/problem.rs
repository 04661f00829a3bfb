//! The error body of every REST answer (RFC 9457) and the table from gRPC codes to HTTP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::violation::{Problems, Violation};

/// A gRPC status code (google.rpc.Code).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are google.rpc.Code's own")]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

const CODES: [(Code, &str, u16); 17] = [
    (Code::Ok, "OK", 200),
    (Code::Cancelled, "CANCELLED", 499),
    (Code::Unknown, "UNKNOWN", 500),
    (Code::InvalidArgument, "INVALID_ARGUMENT", 400),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", 504),
    (Code::NotFound, "NOT_FOUND", 404),
    (Code::AlreadyExists, "ALREADY_EXISTS", 409),
    (Code::PermissionDenied, "PERMISSION_DENIED", 403),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED", 429),
    (Code::FailedPrecondition, "FAILED_PRECONDITION", 409),
    (Code::Aborted, "ABORTED", 409),
    (Code::OutOfRange, "OUT_OF_RANGE", 400),
    (Code::Unimplemented, "UNIMPLEMENTED", 501),
    (Code::Internal, "INTERNAL", 500),
    (Code::Unavailable, "UNAVAILABLE", 503),
    (Code::DataLoss, "DATA_LOSS", 500),
    (Code::Unauthenticated, "UNAUTHENTICATED", 401),
];

impl Code {
    /// The code of a number on the wire; unknown numbers are UNKNOWN.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|index| CODES.get(index)).map_or(Self::Unknown, |row| row.0)
    }

    /// Name such as `NOT_FOUND`.
    #[must_use]
    pub fn name(self) -> &'static str {
        CODES[self as usize].1
    }
}

/// HTTP status of a gRPC error.
///
/// A conflict with the state of things is 409; `reason` overrides where HTTP knows better, and a
/// stale version is 412 when the caller asked with If-Match (AIP-154).
#[must_use]
pub fn http_status(code: Code, reason: &str, used_if_match: bool) -> u16 {
    match reason {
        "ETAG_MISMATCH" if used_if_match => 412,
        "ETAG_MISMATCH" | "PRICE_CHANGED" | "POSSIBLE_DUPLICATE" => 409,
        "IDEMPOTENCY_KEY_REUSED" | "PRODUCT_RESTRICTED" => 422,
        "IDEMPOTENCY_KEY_MISSING" => 400,
        "REQUEST_TOO_LARGE" => 413,
        _ if is_in_flight(reason) => 409,
        _ => CODES[code as usize].2,
    }
}

/// Whether the same idempotency key is being worked on right now.
pub(crate) fn is_in_flight(reason: &str) -> bool {
    matches!(reason, "IN_FLIGHT" | "IDEMPOTENCY_IN_FLIGHT" | "IDEMPOTENCY_KEY_IN_FLIGHT")
}

/// Body of an error answer, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// URN of the reason.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short name of the HTTP status.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// Correlation id of the request.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// gRPC code such as `NOT_FOUND`.
    pub code: String,
    /// Stable reason in the domain, such as `ORDER_NOT_FOUND`.
    pub reason: String,
    /// Domain of the reason.
    pub domain: String,
    /// Every wrong field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
    /// Facts for programs, such as the stock that is left.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Seconds to wait before trying again; sent as Retry-After.
    #[serde(skip)]
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// The domain of our own reasons.
    pub const DOMAIN: &str = "ordermesh";
    /// Media type of a problem.
    pub const CONTENT_TYPE: &str = "application/problem+json";

    /// A problem the bridge itself found.
    #[must_use]
    pub fn new(status: u16, code: Code, reason: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:ordermesh:problem:{}", reason.to_ascii_lowercase().replace('_', "-")),
            title: title(status).to_owned(),
            status,
            detail: detail.into(),
            instance: String::new(),
            code: code.name().to_owned(),
            reason: reason.to_owned(),
            domain: Self::DOMAIN.to_owned(),
            errors: Vec::new(),
            metadata: BTreeMap::new(),
            retry_after_s: None,
        }
    }

    /// A gRPC error; an empty `reason` becomes the code's name.
    #[must_use]
    pub fn from_code(code: Code, reason: &str, detail: impl Into<String>, used_if_match: bool) -> Self {
        let reason = if reason.is_empty() { code.name() } else { reason };
        let status = http_status(code, reason, used_if_match);
        let mut problem = Self::new(status, code, reason, detail);
        if is_in_flight(reason) || status == 503 || status == 429 {
            problem.retry_after_s = Some(1);
        }
        problem
    }
}

impl From<Problems> for Problem {
    fn from(problems: Problems) -> Self {
        let truncated = problems.truncated();
        let errors = problems.into_violations();
        // The same rule as of services: one wrong field gives its reason to the whole.
        let (reason, detail) = match errors.as_slice() {
            [only] if only.field.is_empty() => (only.reason.clone(), only.detail.clone()),
            [only] => (only.reason.clone(), format!("{}: {}", only.field, only.detail)),
            many => ("INVALID_REQUEST".to_owned(), format!("{} fields are wrong", many.len())),
        };
        let mut problem = Self::new(400, Code::InvalidArgument, &reason, detail);
        problem.errors = errors;
        if truncated {
            problem.metadata.insert("truncated".to_owned(), "true".to_owned());
        }
        problem
    }
}

fn title(status: u16) -> &'static str {
    match status {
        499 => "Client Closed Request",
        _ => http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_http_status() {
        let statuses: Vec<u16> = (1..=16).map(|n| http_status(Code::from_number(n), "", false)).collect();
        assert_eq!(statuses, [499, 500, 400, 504, 404, 409, 403, 429, 409, 409, 400, 501, 500, 503, 500, 401]);
        assert_eq!(Code::from_number(99), Code::Unknown);
        assert_eq!(Code::from_number(-1), Code::Unknown);
    }

    #[test]
    fn reasons_override_the_table() {
        assert_eq!(http_status(Code::Aborted, "ETAG_MISMATCH", true), 412);
        assert_eq!(http_status(Code::Aborted, "ETAG_MISMATCH", false), 409);
        assert_eq!(http_status(Code::Aborted, "PRICE_CHANGED", true), 409);
        assert_eq!(http_status(Code::InvalidArgument, "IDEMPOTENCY_KEY_REUSED", false), 422);
        assert_eq!(http_status(Code::Aborted, "IDEMPOTENCY_IN_FLIGHT", false), 409);
    }

    #[test]
    fn members_without_content_are_left_out() {
        let json = serde_json::to_value(Problem::new(404, Code::NotFound, "NO_ROUTE", "no")).unwrap();
        assert_eq!(json["type"], "urn:ordermesh:problem:no-route");
        assert_eq!(json["title"], "Not Found");
        assert!(json.get("errors").is_none() && json.get("metadata").is_none());
    }
}
