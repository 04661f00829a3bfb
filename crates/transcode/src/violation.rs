//! What is wrong with a request, field by field.

use serde::{Deserialize, Serialize};

/// Most violations of one answer; a hostile body must not make a huge one.
const MOST: usize = 100;
/// Longest name of a client's that is repeated back, in characters.
const LONGEST_NAME: usize = 120;

/// The part of the request a violation is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The body.
    Body,
    /// A query parameter.
    Query,
    /// A path variable.
    Path,
    /// A header.
    Header,
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// JSON pointer (RFC 6901) to the field, in the names the client uses.
    pub pointer: String,
    /// Field path of the contract, such as `items[0].quantity`; the header's name for headers.
    pub field: String,
    /// The part of the request.
    #[serde(rename = "in")]
    pub place: Place,
    /// Stable reason, such as `UNKNOWN_FIELD`.
    pub reason: String,
    /// What would be right, for people; never repeats the value.
    pub detail: String,
}

impl Violation {
    /// A wrong header.
    #[must_use]
    pub fn header(name: &str, reason: &str, detail: impl Into<String>) -> Self {
        Self {
            pointer: String::new(),
            field: name.to_owned(),
            place: Place::Header,
            reason: reason.to_owned(),
            detail: detail.into(),
        }
    }
}

/// Everything wrong with one request.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
#[error("{} fields of the request are wrong", .violations.len())]
pub struct Problems {
    violations: Vec<Violation>,
    truncated: bool,
}

impl Problems {
    /// The violations, in the order they were found; at most 100.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Whether there were more than are listed.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    /// The violations, owned.
    #[must_use]
    pub fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// Adds a violation, unless the answer is full.
    pub fn push(&mut self, violation: Violation) {
        if self.violations.len() < MOST {
            self.violations.push(violation);
        } else {
            self.truncated = true;
        }
    }

    pub(crate) fn at(&mut self, at: &At<'_>, place: Place, reason: &str, detail: impl Into<String>) {
        if self.violations.len() >= MOST {
            self.truncated = true;
            return;
        }
        self.push(Violation {
            pointer: at.pointer(),
            field: at.field(),
            place,
            reason: reason.to_owned(),
            detail: detail.into(),
        });
    }
}

impl From<Violation> for Problems {
    fn from(violation: Violation) -> Self {
        Self { violations: vec![violation], truncated: false }
    }
}

/// A place in a message; written out only when something is wrong there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    /// The field that is the body: named in field paths, not in pointers.
    Hidden(&'a str),
    Field {
        json: &'a str,
        name: &'a str,
    },
    Index(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    pub(crate) const ROOT: At<'static> = At { parent: None, step: Step::Root };

    pub(crate) fn hidden(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Hidden(name) }
    }

    pub(crate) fn named(&'a self, json: &'a str, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Field { json, name } }
    }

    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    pub(crate) fn key(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Key(key) }
    }

    fn pointer(&self) -> String {
        let mut out = self.parent.map(At::pointer).unwrap_or_default();
        match self.step {
            Step::Root | Step::Hidden(_) => {}
            Step::Field { json: key, .. } | Step::Key(key) => {
                out.push('/');
                out.push_str(&clip(key).replace('~', "~0").replace('/', "~1"));
            }
            Step::Index(index) => {
                out.push('/');
                out.push_str(&index.to_string());
            }
        }
        out
    }

    fn field(&self) -> String {
        let mut out = self.parent.map(At::field).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Hidden(name) | Step::Field { name, .. } => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&clip(name));
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
            Step::Key(key) => out.push_str(&format!("[{}]", clip(key))),
        }
        out
    }
}

fn clip(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}
