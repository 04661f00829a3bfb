//! The `grpc-timeout` header (gRPC over HTTP/2): at most eight digits and a unit.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::header;

const MOST: u128 = 99_999_999;

/// Time that the caller waits; a malformed, repeated or missing header says nothing.
///
/// tonic reads it too and silently runs without a deadline when it is malformed, so the policy's budget must hold.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    let mut values = headers.get_all(header::TIMEOUT).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The header for this much time, as exact as eight digits allow.
pub(crate) fn render(left: Duration) -> HeaderValue {
    let text = if left.as_micros() <= MOST {
        format!("{}u", left.as_micros())
    } else if left.as_millis() <= MOST {
        format!("{}m", left.as_millis())
    } else {
        format!("{}S", u128::from(left.as_secs()).min(MOST))
    };
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(value: &str) -> Option<Duration> {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        read(&HeaderMap::from_iter([(http::HeaderName::from_static(header::TIMEOUT), value)]))
    }

    #[test]
    fn what_is_rendered_is_read_back() {
        for millis in [0, 1, 300, 99_999, 100_000, 3_600_000, 10_000_000_000] {
            let left = Duration::from_millis(millis);
            let back = read(&HeaderMap::from_iter([(http::HeaderName::from_static(header::TIMEOUT), render(left))]));
            assert_eq!(back, Some(left));
        }
    }

    #[test]
    fn malformed_timeouts_say_nothing() {
        for bad in ["", "S", "1", "-1S", "+1S", "1.5S", "1x", "123456789S", "1 S", " 1S", "0x1S", "१S"] {
            assert_eq!(read_one(bad), None, "{bad:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::TIMEOUT, HeaderValue::from_static("1S"));
        twice.append(header::TIMEOUT, HeaderValue::from_static("2S"));
        assert_eq!(read(&twice), None);
    }
}
