//! Bodies of requests, within their limits of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use transcode::Code;

use crate::refusal::Refusal;

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is larger, 408 when it does not come, 400 when it breaks off.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: u32,
    patience: Duration,
) -> Result<Bytes, Box<Refusal>> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > u64::from(limit)) {
        return Err(too_large(limit));
    }
    let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    match tokio::time::timeout(patience, Limited::new(body, limit_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(_)) => {
            Err(Refusal::new(400, Code::InvalidArgument, "BODY_INCOMPLETE", "the body broke off before its end"))
        }
        Err(_) => Err(Refusal::new(408, Code::Cancelled, "BODY_TIMEOUT", "the body did not arrive in time")),
    }
}

fn too_large(limit: u32) -> Box<Refusal> {
    let detail = format!("the body may have {limit} bytes");
    let mut refusal = Refusal::new(413, Code::InvalidArgument, "REQUEST_TOO_LARGE", detail);
    refusal.problem.metadata.insert("max_bytes".to_owned(), limit.to_string());
    refusal
}
