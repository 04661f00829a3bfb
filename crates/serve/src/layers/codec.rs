use fault::Fault;
use tonic::{Code, Status};

use super::Response;
use super::rescue::refusal;
use super::trace::code_of;

/// Where faults have their reason; what tonic says by itself has none.
const DETAILS: &str = "grpc-status-details-bin";
/// What prost says first of bytes that it cannot read.
const UNREADABLE: &str = "failed to decode Protobuf message: ";
/// What tonic says of frames that it cannot read.
const FRAMES: [&str; 3] =
    ["Missing request message", "Unexpected EOF decoding stream", "protocol error: received message with invalid"];

/// Says of a request that cannot be read that it is the caller's mistake; tonic calls it INTERNAL.
pub(crate) fn blame_caller(response: Response) -> Response {
    let headers = response.headers();
    if code_of(headers) != Code::Internal || headers.contains_key(DETAILS) {
        return response;
    }
    let status = Status::from_header_map(headers);
    match status.as_ref().and_then(|status| malformed(status.message())) {
        Some(fault) => refusal(fault),
        None => response,
    }
}

fn malformed(said: &str) -> Option<Fault> {
    if FRAMES.iter().any(|start| said.starts_with(start)) {
        return Some(Fault::invalid("request", "MALFORMED_MESSAGE", "is not one gRPC message"));
    }
    // "failed to decode Protobuf message: User.email: CreateUserRequest.user: invalid varint"
    let mut parts: Vec<&str> = said.strip_prefix(UNREADABLE)?.split(": ").collect();
    let mut path = Vec::new();
    while parts.len() > 1 && parts[0].split_once('.').is_some_and(|(message, _)| is_message(message)) {
        path.extend(parts.remove(0).split_once('.').map(|(_, field)| field));
    }
    path.reverse();
    let field = if path.is_empty() { "request".to_owned() } else { path.join(".") };
    Some(Fault::invalid(field, "MALFORMED_MESSAGE", parts.join(": ")))
}

fn is_message(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.chars().all(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_named() {
        let field = |said: &str| malformed(said).map(|fault| fault.violations()[0].field.clone());
        assert_eq!(
            field("failed to decode Protobuf message: User.email: CreateUserRequest.user: invalid varint").as_deref(),
            Some("user.email")
        );
        let plain = "failed to decode Protobuf message: invalid tag value: 0";
        assert_eq!(field(plain).as_deref(), Some("request"));
        assert_eq!(malformed(plain).map(|fault| fault.reason().to_owned()).as_deref(), Some("MALFORMED_MESSAGE"));
        assert_eq!(field("Missing request message.").as_deref(), Some("request"));
        assert_eq!(field("Error encoding: nobody sees this").as_deref(), None);
    }
}
