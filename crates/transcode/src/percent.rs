//! Percent-encoding as RFC 3986 and google.api.http say.

/// A broken escape or bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken percent-encoding or not UTF-8")]
pub struct BadEncoding;

/// What stays encoded and what `+` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One path segment: everything is decoded.
    Segment,
    /// Several path segments: `%2F` stays, so that it is not a separator.
    Segments,
    /// A query part: `+` is a space.
    Query,
}

pub(crate) fn decode(raw: &str, mode: Mode) -> Result<String, BadEncoding> {
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'%' => {
                let high = bytes.get(i + 1).copied().and_then(nibble).ok_or(BadEncoding)?;
                let low = bytes.get(i + 2).copied().and_then(nibble).ok_or(BadEncoding)?;
                let byte = high << 4 | low;
                if byte == b'/' && mode == Mode::Segments {
                    out.extend_from_slice(&bytes[i..i + 3]);
                } else {
                    out.push(byte);
                }
                i += 3;
            }
            b'+' if mode == Mode::Query => {
                out.push(b' ');
                i += 1;
            }
            byte => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| BadEncoding)
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Encodes text so that it is one path segment or query value.
#[must_use]
pub fn encode_segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_stay_encoded_in_several_segments_only() {
        assert_eq!(decode("a%2Fb%20c", Mode::Segment).unwrap(), "a/b c");
        assert_eq!(decode("a%2fb%20c", Mode::Segments).unwrap(), "a%2fb c");
    }

    #[test]
    fn plus_is_a_space_in_queries_only() {
        assert_eq!(decode("a+b", Mode::Query).unwrap(), "a b");
        assert_eq!(decode("a+b", Mode::Segment).unwrap(), "a+b");
    }

    #[test]
    fn broken_escapes_and_bad_utf8_are_refused() {
        for raw in ["%", "%4", "%zz", "%ff", "%c3%28", "%+1"] {
            assert_eq!(decode(raw, Mode::Segment), Err(BadEncoding), "{raw}");
        }
    }

    #[test]
    fn encoding_round_trips() {
        let text = "a/b ü:%+";
        assert_eq!(decode(&encode_segment(text), Mode::Query).unwrap(), text);
    }
}
