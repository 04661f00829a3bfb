//! Checks of single fields; each notes what is wrong and goes on, so that a caller learns of everything at once.

use std::str::FromStr;

use fault::{Fault, Violations};
use ids::IdError;
use jiff::Timestamp;

/// Ends a check: the value when nothing was noted.
pub fn done<T>(wrong: Violations, make: impl FnOnce() -> Option<T>) -> Result<T, Fault> {
    wrong.finish()?;
    make().ok_or_else(|| Fault::internal("a request passed its checks without a value"))
}

/// A text of `min` to `max` characters without control characters.
pub fn text(wrong: &mut Violations, field: &str, value: &str, min: usize, max: usize) {
    let length = value.chars().count();
    if length < min || (min > 0 && value.trim().is_empty()) {
        wrong.add(field, "REQUIRED", "must not be empty");
    } else if length > max {
        wrong.add(field, "TOO_LONG", format!("at most {max} characters"));
    } else if value.chars().any(char::is_control) {
        wrong.add(field, "INVALID_CHARACTER", "must not contain control characters");
    }
}

/// A text made of some characters only.
pub fn code(wrong: &mut Violations, field: &str, value: &str, max: usize, allowed: fn(u8) -> bool, what: &str) {
    if value.is_empty() {
        wrong.add(field, "REQUIRED", "must not be empty");
    } else if value.len() > max || !value.bytes().all(allowed) {
        wrong.add(field, "INVALID_FORMAT", format!("1 to {max} of {what}"));
    }
}

/// A stock keeping unit.
pub fn sku(wrong: &mut Violations, field: &str, value: &str) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    code(wrong, field, value, 64, allowed, "A-Z, a-z, 0-9, dot, hyphen and underscore");
}

/// A warehouse's code.
pub fn warehouse(wrong: &mut Violations, field: &str, value: &str) {
    let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    code(wrong, field, value, 32, allowed, "A-Z, 0-9 and hyphen");
}

/// A figure within bounds.
pub fn range(wrong: &mut Violations, field: &str, value: i32, min: i32, max: i32) {
    if !(min..=max).contains(&value) {
        wrong.add(field, "OUT_OF_RANGE", format!("must be {min} to {max}"));
    }
}

/// One of the values that an enumeration has; 0 means none was said.
pub fn known<T>(wrong: &mut Violations, field: &str, value: i32, of: fn(i16) -> Option<T>) -> Option<T> {
    let found = i16::try_from(value).ok().and_then(of);
    if found.is_none() && value != 0 {
        wrong.add(field, "UNKNOWN_VALUE", "not a value of this enumeration");
    }
    found
}

/// One of the values that an enumeration has, which must be said.
pub fn required<T>(wrong: &mut Violations, field: &str, value: i32, of: fn(i16) -> Option<T>) -> Option<T> {
    if value == 0 {
        wrong.add(field, "REQUIRED", "must be given");
    }
    known(wrong, field, value, of)
}

/// A moment.
pub fn moment(wrong: &mut Violations, field: &str, value: Option<prost_types::Timestamp>) -> Option<Timestamp> {
    let Some(value) = value else {
        wrong.add(field, "REQUIRED", "must be given");
        return None;
    };
    let moment = Timestamp::new(value.seconds, value.nanos).ok();
    // What the database can hold, with room to calculate.
    let moment = moment.filter(|_| value.nanos >= 0 && (0..=32_503_680_000).contains(&value.seconds));
    if moment.is_none() {
        wrong.add(field, "OUT_OF_RANGE", "must be between the years 1970 and 3000");
    }
    moment
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
