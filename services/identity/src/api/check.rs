//! Checks of single fields; each notes what is wrong and goes on, so that a caller learns of everything at once.

use std::str::FromStr;

use fault::{Fault, Violations};
use ids::IdError;

/// Ends a check: the value when nothing was noted.
pub fn done<T>(wrong: Violations, make: impl FnOnce() -> Option<T>) -> Result<T, Fault> {
    wrong.finish()?;
    make().ok_or_else(|| Fault::internal("a request passed its checks without a value"))
}

/// A text of `min` to `max` characters without control characters.
pub fn text(wrong: &mut Violations, field: &str, value: &str, min: usize, max: usize) {
    let length = value.chars().count();
    if min > 0 && value.trim().is_empty() {
        wrong.add(field, "REQUIRED", "must not be empty");
    } else if length < min {
        wrong.add(field, "TOO_SHORT", format!("at least {min} characters"));
    } else if length > max {
        wrong.add(field, "TOO_LONG", format!("at most {max} characters"));
    } else if value.chars().any(char::is_control) {
        wrong.add(field, "INVALID_CHARACTER", "must not contain control characters");
    }
}

/// A text made of some characters only.
pub fn code(wrong: &mut Violations, field: &str, value: &str, (min, max): (usize, usize), allowed: fn(u8) -> bool) {
    if value.is_empty() && min > 0 {
        wrong.add(field, "REQUIRED", "must not be empty");
    } else if !(min..=max).contains(&value.len()) || !value.bytes().all(allowed) {
        wrong.add(field, "INVALID_FORMAT", format!("not {min} to {max} of the allowed characters"));
    }
}

/// A figure within bounds.
pub fn range(wrong: &mut Violations, field: &str, value: i64, min: i64, max: i64) {
    if !(min..=max).contains(&value) {
        wrong.add(field, "OUT_OF_RANGE", format!("must be {min} to {max}"));
    }
}

/// A typed id.
pub fn id<T: FromStr<Err = IdError>>(wrong: &mut Violations, field: &str, value: &str) -> Option<T> {
    match value.parse() {
        Ok(id) => Some(id),
        Err(error) => {
            wrong.add(field, "INVALID_ID", error.to_string());
            None
        }
    }
}

/// A version for If-Match; empty and `*` mean whatever it is.
pub fn etag(wrong: &mut Violations, field: &str, value: &str) -> Option<i32> {
    let bare = value.trim_matches('"');
    if bare.is_empty() || bare == "*" {
        return None;
    }
    match bare.parse::<i32>() {
        Ok(version) if version >= 0 => Some(version),
        _ => {
            wrong.add(field, "INVALID_ETAG", "not an etag of this resource");
            None
        }
    }
}

/// Rows of a page.
pub fn page_size(wrong: &mut Violations, value: i32) -> i64 {
    serve::page::size(value).unwrap_or_else(|fault| {
        for violation in fault.violations() {
            wrong.add(violation.field.clone(), violation.reason.clone(), violation.description.clone());
        }
        0
    })
}

/// A point in time that may be left out.
pub fn time(wrong: &mut Violations, field: &str, value: Option<prost_types::Timestamp>) -> Option<jiff::Timestamp> {
    let read = |at: prost_types::Timestamp| {
        jiff::Timestamp::new(at.seconds, at.nanos).ok().filter(|_| (0..1_000_000_000).contains(&at.nanos))
    };
    match value.map(read) {
        Some(None) => {
            wrong.add(field, "INVALID_TIME", "not a point in time");
            None
        }
        time => time.flatten(),
    }
}
