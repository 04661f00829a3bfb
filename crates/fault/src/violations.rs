use std::borrow::Cow;

use crate::{Fault, Kind, Violation};

/// Collects wrong fields, so that a caller learns of all of them at once.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes a wrong field.
    pub fn add(
        &mut self,
        field: impl Into<String>,
        reason: impl Into<Cow<'static, str>>,
        description: impl Into<String>,
    ) {
        self.0.push(Violation { field: field.into(), reason: reason.into(), description: description.into() });
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// A fault of kind Invalid that names every field, when there is one.
    pub fn finish(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(self.into()) }
    }
}

impl From<Violations> for Fault {
    fn from(violations: Violations) -> Self {
        let first = violations.0.first().cloned();
        let message = match &first {
            Some(first) if violations.0.len() == 1 => format!("{}: {}", first.field, first.description),
            _ => format!("{} fields are wrong", violations.0.len()),
        };
        let reason = match first {
            Some(first) if violations.0.len() == 1 => first.reason,
            _ => Cow::Borrowed("INVALID_REQUEST"),
        };
        let mut fault = Self::new(Kind::Invalid, reason, message);
        fault.0.violations = violations.0;
        fault
    }
}
