use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::Violations;

/// What sort of thing went wrong; decides the gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong whatever the state (INVALID_ARGUMENT).
    Invalid,
    /// Nobody, or nobody we know (UNAUTHENTICATED).
    Unauthenticated,
    /// Known, but not allowed (PERMISSION_DENIED).
    Denied,
    /// Not there, or not the caller's to see (NOT_FOUND).
    NotFound,
    /// There already (ALREADY_EXISTS).
    AlreadyExists,
    /// The state forbids it (FAILED_PRECONDITION).
    Precondition,
    /// Somebody else was faster; read again and decide again (ABORTED).
    Aborted,
    /// Too much at once (RESOURCE_EXHAUSTED).
    Exhausted,
    /// Not reachable, nothing happened (UNAVAILABLE).
    Unavailable,
    /// Time ran out; it may have happened (DEADLINE_EXCEEDED).
    Deadline,
    /// The caller left (CANCELLED).
    Cancelled,
    /// No such method (UNIMPLEMENTED).
    Unimplemented,
    /// Our mistake (INTERNAL).
    Internal,
}

impl Kind {
    /// Whether the same call may succeed later without anybody changing it.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Aborted | Self::Exhausted | Self::Unavailable | Self::Deadline => true,
            Self::Invalid
            | Self::Unauthenticated
            | Self::Denied
            | Self::NotFound
            | Self::AlreadyExists
            | Self::Precondition
            | Self::Cancelled
            | Self::Unimplemented
            | Self::Internal => false,
        }
    }
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `items[0].sku`.
    pub field: String,
    /// Stable reason in UPPER_SNAKE_CASE.
    pub reason: Cow<'static, str>,
    /// What is wrong, for people.
    pub description: String,
}

/// An error that a caller of a use case or an rpc can act on.
#[derive(Debug)]
pub struct Fault(pub(crate) Box<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) kind: Kind,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) violations: Vec<Violation>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
            Self::new(Kind::$kind, reason, message)
        }
    )*};
}

impl Fault {
    /// A fault of a kind with a stable reason and a sentence for people.
    pub fn new(kind: Kind, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            reason: reason.into(),
            message: message.into(),
            violations: Vec::new(),
            metadata: BTreeMap::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// One field of the request is wrong.
    pub fn invalid(
        field: impl Into<String>,
        reason: impl Into<Cow<'static, str>>,
        description: impl Into<String>,
    ) -> Self {
        let mut violations = Violations::default();
        violations.add(field, reason, description);
        Self::from(violations)
    }

    constructors! {
        /// Nobody, or nobody we know.
        unauthenticated => Unauthenticated,
        /// Known, but not allowed.
        denied => Denied,
        /// Not there, or not the caller's to see.
        not_found => NotFound,
        /// There already.
        already_exists => AlreadyExists,
        /// The state forbids it.
        precondition => Precondition,
        /// Somebody else was faster.
        aborted => Aborted,
        /// Too much at once.
        exhausted => Exhausted,
        /// Not reachable, nothing happened.
        unavailable => Unavailable,
        /// Time ran out; it may have happened.
        deadline => Deadline,
    }

    /// Our mistake; the cause is for the log, never for the caller.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut fault = Self::new(Kind::Internal, "INTERNAL", "something went wrong on our side");
        fault.0.source = Some(source.into());
        fault
    }

    /// Adds a fact that programs may read (ErrorInfo metadata).
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.0.metadata.insert(key.into(), value.to_string());
        self
    }

    /// Adds a wrong field.
    #[must_use]
    pub fn field(
        mut self,
        field: impl Into<String>,
        reason: impl Into<Cow<'static, str>>,
        description: impl Into<String>,
    ) -> Self {
        self.0.violations.push(Violation {
            field: field.into(),
            reason: reason.into(),
            description: description.into(),
        });
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable reason.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Every wrong field.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// Facts that programs may read.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// When to try again, if that was said.
    pub fn wait(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        self.0.kind.retryable()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.reason, self.0.message)
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
