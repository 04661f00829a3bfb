//! Bodies of requests, within their limits of size and time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};
use transcode::Code;

use crate::refusal::Refusal;

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer.
const LINGER_BYTES: usize = 16 << 20;

/// Reads a body of at most `limit` bytes.
///
/// Who sends more is heard out, within `patience` and 16 MiB: a connection closed in the middle of a body resets, and
/// most clients then report a broken pipe in place of the 413.
///
/// # Errors
/// 413 when it is larger, 408 when it does not come, 400 when it breaks off.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: u32,
    patience: Duration,
) -> Result<Bytes, Box<Refusal>> {
    let deadline = Instant::now() + patience;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limit_bytes = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut body = body;
    if announced.is_some_and(|length| length > u64::from(limit)) {
        // Who asked with `Expect: 100-continue` has not begun to send and waits for the answer.
        if !headers.contains_key(header::EXPECT) {
            hear_out(&mut body, deadline).await;
        }
        return Err(too_large(limit));
    }
    match timeout_at(deadline, Limited::new(&mut body, limit_bytes).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            hear_out(&mut body, deadline).await;
            Err(too_large(limit))
        }
        Ok(Err(_)) => {
            Err(Refusal::new(400, Code::InvalidArgument, "BODY_INCOMPLETE", "the body broke off before its end"))
        }
        Err(_) => Err(Refusal::new(408, Code::Cancelled, "BODY_TIMEOUT", "the body did not arrive in time")),
    }
}

async fn hear_out(body: &mut Body, deadline: Instant) {
    let mut heard = 0;
    while heard < LINGER_BYTES
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        heard += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn too_large(limit: u32) -> Box<Refusal> {
    let detail = format!("the body may have {limit} bytes");
    let mut refusal = Refusal::new(413, Code::InvalidArgument, "REQUEST_TOO_LARGE", detail);
    refusal.problem.metadata.insert("max_bytes".to_owned(), limit.to_string());
    refusal
}
