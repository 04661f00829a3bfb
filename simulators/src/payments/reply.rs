//! Answers as they are sent, and as they are kept for an idempotency key.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

/// One JSON answer, cheap to keep and to send again.
#[derive(Clone)]
pub(super) struct Reply {
    status: StatusCode,
    body: Bytes,
    replayed: bool,
}

impl Reply {
    pub(super) fn new(status: StatusCode, body: &Value) -> Self {
        Self { status, body: Bytes::from(body.to_string()), replayed: false }
    }

    /// The same answer in another shape.
    pub(super) fn reshaped(&self, shape: impl FnOnce(StatusCode, &Value) -> (StatusCode, Value)) -> Self {
        let body = serde_json::from_slice(&self.body).unwrap_or_default();
        let (status, body) = shape(self.status, &body);
        Self { replayed: self.replayed, ..Self::new(status, &body) }
    }

    /// The same answer, marked as a repetition.
    pub(super) fn again(&self) -> Self {
        Self { replayed: true, ..self.clone() }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, self.body).into_response();
        if self.replayed {
            response.headers_mut().insert("Idempotent-Replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

/// The answer of a broken server.
pub(super) fn broken(status: StatusCode) -> Response {
    let error = json!({"error": {"type": "api_error", "message": "An unknown error occurred."}});
    Reply::new(status, &error).into_response()
}
