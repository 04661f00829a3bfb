//! A fault as `google.rpc.Status` and back.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{DOMAIN, Fault, Kind, Violation};

/// A refusal travels in headers, of which a client takes 16 KiB at most (hyper's default), in base64.
const MOST_VIOLATIONS: usize = 8 * 1024;
/// Longest text that is repeated to a caller, bytes.
const LONGEST_TEXT: usize = 256;

impl Kind {
    /// The gRPC code of the kind.
    pub const fn code(self) -> Code {
        match self {
            Self::Invalid => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Denied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Precondition => Code::FailedPrecondition,
            Self::Aborted => Code::Aborted,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Cancelled => Code::Cancelled,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
        }
    }

    fn of(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::OutOfRange => Self::Invalid,
            Code::Unauthenticated => Self::Unauthenticated,
            Code::PermissionDenied => Self::Denied,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::FailedPrecondition => Self::Precondition,
            Code::Aborted => Self::Aborted,
            Code::ResourceExhausted => Self::Exhausted,
            Code::Unavailable => Self::Unavailable,
            Code::DeadlineExceeded => Self::Deadline,
            Code::Cancelled => Self::Cancelled,
            Code::Unimplemented => Self::Unimplemented,
            Code::Ok | Code::Unknown | Code::DataLoss | Code::Internal => Self::Internal,
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        if fault.kind() == Kind::Internal {
            // The one place where our own mistakes are logged: behind it the cause is gone.
            tracing::error!(error = %chain(&fault), "internal error");
        }
        let inner = *fault.0;
        let mut details = ErrorDetails::new();
        let mut metadata: HashMap<_, _> =
            inner.metadata.into_iter().map(|(key, value)| (key, shortened(value))).collect();
        if !inner.violations.is_empty() {
            let all = inner.violations.len();
            let violations = fitting(inner.violations);
            if violations.len() < all {
                metadata.insert("more_violations".to_owned(), (all - violations.len()).to_string());
            }
            details.set_bad_request(violations);
        }
        details.set_error_info(inner.reason, DOMAIN, metadata);
        if let Some(wait) = inner.retry_after {
            details.set_retry_info(Some(wait));
        }
        Self::with_error_details(inner.kind.code(), shortened(inner.message), details)
    }
}

/// Wrong fields as they travel, as many as there is room for.
fn fitting(violations: Vec<Violation>) -> Vec<FieldViolation> {
    let mut room = MOST_VIOLATIONS;
    let sent = violations.into_iter().map(|violation| FieldViolation {
        field: shortened(violation.field),
        // tonic-types has no room for the reason of a field (AIP-193 has): it travels in front.
        description: shortened(format!("{}: {}", violation.reason, violation.description)),
        ..FieldViolation::default()
    });
    let fits = move |sent: &FieldViolation| {
        let left = room.checked_sub(sent.field.len() + sent.description.len() + 8);
        room = left.unwrap_or(0);
        left.is_some()
    };
    sent.take_while(fits).collect()
}

/// The start of a text that repeats what a caller sent.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let kind = Kind::of(status.code());
        let (reason, metadata) = match details.error_info() {
            Some(info) => (info.reason.clone(), info.metadata.clone()),
            None => (format!("{:?}", status.code()).to_uppercase(), HashMap::new()),
        };
        let mut fault = Self::new(kind, reason, status.message());
        fault.0.metadata = metadata.into_iter().collect();
        fault.0.retry_after = details.retry_info().and_then(|info| info.retry_delay);
        if let Some(bad) = details.bad_request() {
            fault.0.violations = bad.field_violations.iter().map(violation).collect();
        }
        fault
    }
}

fn violation(sent: &FieldViolation) -> Violation {
    let (reason, description) = sent.description.split_once(": ").unwrap_or(("INVALID", &sent.description));
    Violation { field: sent.field.clone(), reason: reason.to_owned().into(), description: description.to_owned() }
}

fn chain(fault: &Fault) -> String {
    let mut text = fault.to_string();
    let mut next = std::error::Error::source(fault);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Violations;

    #[test]
    fn a_fault_survives_the_wire() {
        let mut wrong = Violations::default();
        wrong.add("items[0].sku", "UNKNOWN_SKU", "no such product: X");
        wrong.add("currency_code", "UNKNOWN_CURRENCY", "not a currency");
        let fault = Fault::from(wrong).with("hint", 3).retry_after(Duration::from_secs(2));
        let back = Fault::from(Status::from(fault));
        assert_eq!(back.kind(), Kind::Invalid);
        assert_eq!(back.reason(), "INVALID_REQUEST");
        assert_eq!(back.metadata()["hint"], "3");
        assert_eq!(back.wait(), Some(Duration::from_secs(2)));
        let fields: Vec<_> = back.violations().iter().map(|v| (v.field.as_str(), v.reason.as_ref())).collect();
        assert_eq!(fields, [("items[0].sku", "UNKNOWN_SKU"), ("currency_code", "UNKNOWN_CURRENCY")]);
        assert_eq!(back.violations()[0].description, "no such product: X");
    }

    #[test]
    fn a_refusal_fits_into_the_headers_that_carry_it() {
        let mut wrong = Violations::default();
        for index in 0..5_000 {
            wrong.add(format!("items[{index}].sku"), "UNKNOWN_SKU", "é".repeat(10_000));
        }
        let fault = Fault::from(wrong).with("asked", "x".repeat(10_000));
        let status = Status::from(fault);
        assert!(status.details().len() < 10 * 1024, "{}", status.details().len());
        assert!(status.message().len() < 300);
        let back = Fault::from(status);
        let told = back.violations().len();
        assert!(told > 10);
        assert_eq!(back.metadata()["more_violations"], (5_000 - told).to_string());
    }

    #[test]
    fn the_cause_of_our_own_mistake_stays_inside() {
        let status = Status::from(Fault::internal(std::io::Error::other("password=hunter2")));
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("hunter2"));
    }
}
