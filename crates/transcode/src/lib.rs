//! JSON and protobuf wire bytes into each other, as `google.api.http` rules say.
//!
//! [`Router`] turns the contract's descriptor image into routes; a [`Route`] turns an HTTP request into
//! the wire bytes of a gRPC request ([`Route::request`]) and wire bytes into proto3 JSON
//! ([`Route::response`]). [`Problem`] is the error body of every REST answer (RFC 9457).
//!
//! Input is strict: everything that is unknown, ambiguous or out of range is a [`Violation`] with its
//! JSON pointer, all of them in one answer. Knows neither axum nor tonic.

mod body;
mod json;
mod percent;
mod problem;
mod query;
mod request;
mod response;
mod route;
mod router;
mod scalar;
mod template;
mod violation;

pub use problem::{Code, Problem, http_status};
pub use request::{HeaderField, Input};
pub use response::{Decoded, Undecodable};
pub use route::{BodyRule, Route};
pub use router::{BuildError, Capture, Resolution, Router};
pub use template::TemplateError;
pub use violation::{Place, Problems, Violation};

/// Decodes a percent-encoded path segment or query part, strictly.
///
/// # Errors
/// A broken escape, or bytes that are not UTF-8.
pub fn percent_decode(raw: &str) -> Result<String, percent::BadEncoding> {
    percent::decode(raw, percent::Mode::Segment)
}

pub use percent::{BadEncoding, encode_segment};
