//! Media types: what bodies may be, and how a stream is sent.

use http::{HeaderMap, header};
use transcode::{Code, Route};

use crate::refusal::Refusal;

/// How the messages of a stream are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Server-sent events.
    Sse,
    /// One JSON document per line.
    Ndjson,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

/// Whether somebody speaks gRPC to the REST port.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Refuses bodies that are not JSON where JSON is wanted.
pub(crate) fn check_content_type(route: &Route, headers: &HeaderMap, body: &[u8]) -> Result<(), Box<Refusal>> {
    if route.takes_raw_body() || body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim().to_ascii_lowercase());
    let refuse = |detail| Err(Refusal::new(415, Code::InvalidArgument, "UNSUPPORTED_MEDIA_TYPE", detail));
    if text(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return refuse("the body must not be compressed");
    }
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    let is_utf8 = parts
        .filter_map(|parameter| parameter.strip_prefix("charset="))
        .all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"));
    if is_json && is_utf8 { Ok(()) } else { refuse("the body must be application/json in UTF-8") }
}

/// How a stream is to be sent: the first of the client's types that we have.
pub(crate) fn stream_format(headers: &HeaderMap) -> Result<Format, Box<Refusal>> {
    let mut asked = false;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            asked = true;
            match range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
                "text/event-stream" | "text/*" | "*/*" => return Ok(Format::Sse),
                "application/x-ndjson" | "application/*" => return Ok(Format::Ndjson),
                _ => {}
            }
        }
    }
    if asked {
        let detail = "a stream is text/event-stream or application/x-ndjson";
        return Err(Refusal::new(406, Code::InvalidArgument, "NOT_ACCEPTABLE", detail));
    }
    Ok(Format::Sse)
}
