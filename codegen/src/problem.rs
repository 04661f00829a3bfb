//! What is wrong with a contract, and where.
use std::fmt;

/// One thing the contract may not say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Proto file, relative to `proto/`.
    pub file: String,
    /// Full name of the method, message or field.
    pub element: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// Names a problem of an element.
    pub fn new(file: &str, element: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), element: element.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.element, self.message)
    }
}

/// All problems of a contract, sorted; never empty.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self(problems)
    }

    /// The problems, sorted by file and element.
    pub fn all(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the contract has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
