use tonic::Response;
use tonic::metadata::AsciiMetadataValue;

use crate::header;

/// Makes the answer of an idempotent method and marks a stored one (`idempotent-replayed: true`).
///
/// Takes a `pg::Once`, or a message and whether it was stored before.
pub fn respond<R>(once: impl Into<(R, bool)>) -> Response<R> {
    let (message, replayed) = once.into();
    let mut response = Response::new(message);
    if replayed {
        response.metadata_mut().insert(header::REPLAYED, AsciiMetadataValue::from_static("true"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stored_answer_is_marked() {
        assert_eq!(respond((1, true)).metadata().get(header::REPLAYED).expect("marked"), "true");
        assert!(respond((1, false)).metadata().is_empty());
    }
}
