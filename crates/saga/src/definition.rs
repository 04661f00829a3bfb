use std::sync::Arc;
use std::time::Duration;

use ctx::Ctx;
use eventlog::NewEvent;
use futures::future::BoxFuture;
use serde_json::Value;
use uuid::Uuid;

pub(crate) type Action = Arc<dyn Fn(Run) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// What a step gets to see.
#[derive(Debug, Clone)]
pub struct Run {
    /// The service's own context in the saga's tenant; its deadline is the step's.
    pub ctx: Ctx,
    /// The saga.
    pub saga_id: Uuid,
    /// What the steps before left.
    pub state: Value,
    /// Which try this is, from 1.
    pub attempt: i32,
    /// The same for every try of this step, and for no other step: the key of its effects.
    pub key: String,
    /// Why the saga is being undone; only in undos.
    pub undo_reason: Option<String>,
}

impl Run {
    /// The code that the reason begins with, such as `PEER_UNREACHABLE`; none of a text without one.
    pub fn undo_code(&self) -> Option<&str> {
        let code = self.undo_reason.as_deref()?.split(": ").next()?;
        let is_code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        (!code.is_empty() && code.bytes().all(is_code)).then_some(code)
    }
}

/// Events of an aggregate that become true in the same commit as the step.
#[derive(Debug, Clone)]
pub struct Append {
    /// The aggregate's stream.
    pub stream: Uuid,
    /// Its version as the step saw it.
    pub expected: i32,
    /// What happened.
    pub events: Vec<NewEvent>,
    /// What the schema's `project` function stores as the new picture.
    pub doc: Value,
}

/// How a step ended.
#[derive(Debug)]
pub enum Outcome {
    /// Done; on to the next.
    Done {
        /// What the next steps see.
        state: Value,
        /// What became true.
        append: Option<Append>,
    },
    /// Started, and somebody else must act; the step runs again when the saga is woken or the time is up.
    Wait {
        /// What the step sees when it runs again.
        state: Value,
        /// Longest wait.
        at_most: Duration,
        /// What became true.
        append: Option<Append>,
    },
    /// Refused for good; everything is undone.
    Rejected {
        /// Why, such as OUT_OF_STOCK.
        reason: String,
        /// What the undos see.
        state: Value,
        /// What became true.
        append: Option<Append>,
    },
    /// Did not work this time.
    Retry {
        /// Why.
        reason: String,
    },
    /// Only of the first undo: the step cannot be taken back any more, so the saga goes on with it after all.
    Resume {
        /// Why.
        reason: String,
        /// What the step sees when it runs again.
        state: Value,
        /// What became true.
        append: Option<Append>,
    },
    /// A person must decide.
    Attention {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Done without news.
    pub fn done(state: Value) -> Self {
        Self::Done { state, append: None }
    }

    /// Sorts a fault of a call: try again what may pass, refuse what will not.
    pub fn of_fault(fault: &fault::Fault, state: Value) -> Self {
        if fault.retryable() || fault.kind() == fault::Kind::Internal || fault.kind() == fault::Kind::Cancelled {
            Self::Retry { reason: fault.to_string() }
        } else {
            Self::Rejected { reason: fault.reason().to_owned(), state, append: None }
        }
    }
}

/// One row of a saga's table: how it is done and how it is undone.
#[derive(Clone)]
pub struct Step {
    pub(crate) name: &'static str,
    pub(crate) action: Action,
    pub(crate) undo: Option<Action>,
    pub(crate) timeout: Duration,
    pub(crate) tries: i32,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) forward_only: bool,
}

impl Step {
    /// A step with 3 tries of 5 seconds each.
    pub fn new<F>(name: &'static str, action: F) -> Self
    where
        F: Fn(Run) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        Self {
            name,
            action: Arc::new(action),
            undo: None,
            timeout: Duration::from_secs(5),
            tries: 3,
            backoff: (Duration::from_millis(100), Duration::from_secs(30)),
            forward_only: false,
        }
    }

    /// How the step is undone. It may run although the step never did, or did without anybody hearing of it.
    #[must_use]
    pub fn undo<F>(mut self, action: F) -> Self
    where
        F: Fn(Run) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        self.undo = Some(Arc::new(action));
        self
    }

    /// Time of one try.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Tries in all.
    #[must_use]
    pub fn tries(mut self, tries: i32) -> Self {
        self.tries = tries;
        self
    }

    /// Shortest and longest pause between tries; it doubles in between.
    #[must_use]
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.backoff = (min, max);
        self
    }

    /// Behind the point of no return: when tries run out a person decides, nothing is undone.
    #[must_use]
    pub fn forward_only(mut self) -> Self {
        self.forward_only = true;
        self
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Definition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Definition")
            .field("kind", &self.kind)
            .field("steps", &self.step_names())
            .finish_non_exhaustive()
    }
}

/// The table of a saga's steps.
#[derive(Clone)]
pub struct Definition {
    pub(crate) kind: &'static str,
    pub(crate) rev: i16,
    pub(crate) steps: Vec<Step>,
    pub(crate) undone: Option<Action>,
}

impl Definition {
    /// Steps in order. `rev` rises when the steps change, so that running sagas are never read with another table.
    pub fn new(kind: &'static str, rev: i16, steps: Vec<Step>) -> Self {
        Self { kind, rev, steps, undone: None }
    }

    /// What becomes true when everything is undone.
    #[must_use]
    pub fn when_undone<F>(mut self, action: F) -> Self
    where
        F: Fn(Run) -> BoxFuture<'static, Outcome> + Send + Sync + 'static,
    {
        self.undone = Some(Arc::new(action));
        self
    }

    /// Name of the table.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Revision of the table.
    pub fn rev(&self) -> i16 {
        self.rev
    }

    /// Names of the steps, in order.
    pub fn step_names(&self) -> Vec<&'static str> {
        self.steps.iter().map(|step| step.name).collect()
    }
}
