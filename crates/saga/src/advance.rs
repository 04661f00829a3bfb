//! What a step's outcome makes of the saga's row: pure, so that every rule can be tested without a database.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ctx::Cause;
use eventlog::Meta;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::definition::{Append, Definition, Outcome};

/// A saga as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub tenant: ids::TenantId,
    pub saga_id: Uuid,
    pub kind: String,
    pub rev: i16,
    pub seq: i32,
    /// Next step; -1 while undoing: everything is undone, only the closing word is missing.
    pub step: i16,
    pub undoing: bool,
    pub attempts: i32,
    pub signals: i32,
    pub undo_reason: Option<String>,
    pub state: Value,
    pub cause: Cause,
}

/// What the row becomes.
#[derive(Debug)]
pub(crate) struct Next {
    pub step: i16,
    pub undoing: bool,
    pub status: &'static str,
    pub attempts: i32,
    pub delay: Duration,
    pub state: Value,
    pub outcome: &'static str,
    pub detail: String,
    /// Why it turns back; an earlier wish to undo has the first word.
    pub why: Option<String>,
    pub append: Option<Append>,
}

impl Next {
    /// Whether the same worker should go on at once.
    pub fn goes_on(&self) -> bool {
        self.status == "running" && self.delay.is_zero()
    }
}

/// Name of the step a picture is at.
pub(crate) fn step_name(definition: &Definition, step: i16) -> &'static str {
    usize::try_from(step).ok().and_then(|index| definition.steps.get(index)).map_or("end", |step| step.name)
}

/// Decides what follows an outcome.
pub(crate) fn next(definition: &Definition, at: &Picture, outcome: Outcome) -> Next {
    if at.undoing { after_undo(definition, at, outcome) } else { after_do(definition, at, outcome) }
}

/// A request to undo came before the step was begun: it is taken back along with those before it, because a try of it
/// may be on its way from a worker that died.
pub(crate) fn turn_back(at: &Picture, reason: &str) -> Next {
    Next {
        step: at.step,
        undoing: true,
        status: "running",
        attempts: 0,
        delay: Duration::ZERO,
        state: at.state.clone(),
        outcome: "REJECTED",
        detail: reason.to_owned(),
        why: Some(reason.to_owned()),
        append: None,
    }
}

fn after_do(definition: &Definition, at: &Picture, outcome: Outcome) -> Next {
    let step = usize::try_from(at.step).ok().and_then(|index| definition.steps.get(index));
    let Some(step) = step else {
        return still(at, "attention", Duration::ZERO, "ATTENTION", "the saga is at a step that does not exist".into());
    };
    match outcome {
        Outcome::Done { state, append } => {
            let last = usize::from(at.step.unsigned_abs()) + 1 == definition.steps.len();
            Next {
                step: at.step + 1,
                undoing: false,
                status: if last { "completed" } else { "running" },
                attempts: 0,
                delay: Duration::ZERO,
                state,
                outcome: "DONE",
                detail: String::new(),
                why: None,
                append,
            }
        }
        Outcome::Wait { state, at_most, append } => Next {
            state,
            append,
            attempts: 0,
            ..still(at, "waiting", at_most, "WAIT", format!("at most {} s", at_most.as_secs()))
        },
        Outcome::Rejected { reason, state, append } if !step.forward_only => {
            Next { state, append, ..turn_back(at, &reason) }
        }
        Outcome::Retry { reason } if at.attempts + 1 < step.tries => retry(at, step.backoff, reason),
        Outcome::Retry { reason } if !step.forward_only => turn_back(at, &reason),
        Outcome::Retry { reason }
        | Outcome::Rejected { reason, .. }
        | Outcome::Resume { reason, .. }
        | Outcome::Attention { reason } => still(at, "attention", Duration::ZERO, "ATTENTION", reason),
    }
}

fn after_undo(definition: &Definition, at: &Picture, outcome: Outcome) -> Next {
    // An undo is tried for about a day before a person has to look (rule S3).
    const TRIES: i32 = 60;
    const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1800));
    match outcome {
        Outcome::Done { state, append } => {
            let over = at.step < 0 || (at.step == 0 && definition.undone.is_none());
            Next {
                step: at.step - 1,
                undoing: true,
                status: if over { "compensated" } else { "running" },
                attempts: 0,
                delay: Duration::ZERO,
                state,
                outcome: "COMPENSATED",
                detail: String::new(),
                why: None,
                append,
            }
        }
        Outcome::Retry { reason } if at.attempts + 1 < TRIES => retry(at, BACKOFF, reason),
        Outcome::Wait { at_most, .. } => retry(at, (at_most, at_most), "the undo must wait".to_owned()),
        Outcome::Resume { reason, state, append } => Next {
            undoing: false,
            attempts: 0,
            state,
            append,
            ..still(at, "running", Duration::ZERO, "REJECTED", reason)
        },
        Outcome::Retry { reason } | Outcome::Rejected { reason, .. } | Outcome::Attention { reason } => {
            still(at, "attention", Duration::ZERO, "ATTENTION", reason)
        }
    }
}

fn retry(at: &Picture, (min, max): (Duration, Duration), reason: String) -> Next {
    let doublings = u32::try_from(at.attempts.clamp(0, 16)).unwrap_or(0);
    let delay = min.saturating_mul(1 << doublings).min(max);
    Next { attempts: at.attempts + 1, ..still(at, "running", delay, "RETRY", reason) }
}

fn still(at: &Picture, status: &'static str, delay: Duration, outcome: &'static str, detail: String) -> Next {
    Next {
        step: at.step,
        undoing: at.undoing,
        status,
        attempts: at.attempts,
        delay,
        state: at.state.clone(),
        outcome,
        detail,
        why: None,
        append: None,
    }
}

/// The item of `saga_advance` for one saga.
#[derive(Debug, Serialize)]
pub(crate) struct Item<'a> {
    saga: Uuid,
    seq: i32,
    step: i16,
    phase: &'static str,
    status: &'static str,
    attempts: i32,
    delay_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a Value>,
    signals: i32,
    undo_reason: Option<&'a str>,
    meta: Meta,
    stream: Option<Uuid>,
    expected: Option<i32>,
    types: Option<Vec<&'static str>>,
    topics: Option<Vec<&'static str>>,
    payloads: Option<Vec<String>>,
    doc: Option<&'a Value>,
    log_step: &'static str,
    log_phase: &'static str,
    log_outcome: &'static str,
    log_detail: &'a str,
}

impl<'a> Item<'a> {
    pub fn of(definition: &Definition, at: &Picture, next: &'a Next, meta: Meta) -> Self {
        let phase = |undoing: bool| if undoing { "undo" } else { "do" };
        let append = next.append.as_ref();
        let events = append.map(|append| append.events.iter());
        Self {
            saga: at.saga_id,
            seq: at.seq,
            step: next.step,
            phase: phase(next.undoing),
            status: next.status,
            attempts: next.attempts,
            delay_ms: u64::try_from(next.delay.as_millis()).unwrap_or(u64::MAX),
            state: (next.state != at.state).then_some(&next.state),
            signals: at.signals,
            undo_reason: next.why.as_deref(),
            meta,
            stream: append.map(|append| append.stream),
            expected: append.map(|append| append.expected),
            types: events.clone().map(|events| events.map(|event| event.type_name).collect()),
            topics: events.clone().map(|events| events.map(|event| event.topic).collect()),
            payloads: events.map(|events| events.map(|event| BASE64_STANDARD.encode(&event.payload)).collect()),
            doc: append.map(|append| &append.doc),
            log_step: step_name(definition, at.step),
            log_phase: phase(at.undoing),
            log_outcome: next.outcome,
            log_detail: &next.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::Step;

    fn table(forward_only: bool) -> Definition {
        let step = |name| {
            let step = Step::new(name, |run| async move { Outcome::done(run.state) }.boxed()).tries(3);
            if forward_only { step.forward_only() } else { step }
        };
        Definition::new("test", 1, vec![step("a"), step("b")])
    }

    fn at(step: i16, undoing: bool, attempts: i32) -> Picture {
        Picture {
            tenant: ids::TenantId::new(),
            saga_id: Uuid::nil(),
            kind: "test".into(),
            rev: 1,
            seq: 0,
            step,
            undoing,
            attempts,
            signals: 0,
            undo_reason: None,
            state: Value::Null,
            cause: Cause::default(),
        }
    }

    fn rejected() -> Outcome {
        Outcome::Rejected { reason: "NO".into(), state: Value::Null, append: None }
    }

    #[test]
    fn the_last_step_completes_the_saga() {
        let done = |step| next(&table(false), &at(step, false, 0), Outcome::done(Value::Null));
        assert_eq!((done(0).step, done(0).status), (1, "running"));
        assert_eq!((done(1).step, done(1).status), (2, "completed"));
    }

    #[test]
    fn a_refusal_undoes_the_step_itself_too() {
        let next = next(&table(false), &at(1, false, 0), rejected());
        assert_eq!((next.step, next.undoing, next.status), (1, true, "running"));
    }

    #[test]
    fn tries_run_out_into_an_undo_or_behind_the_pivot_into_attention() {
        let retry = || Outcome::Retry { reason: "later".into() };
        let first = next(&table(false), &at(0, false, 0), retry());
        assert_eq!((first.attempts, first.undoing, first.status), (1, false, "running"));
        assert!(!first.delay.is_zero());
        let last = next(&table(false), &at(0, false, 2), retry());
        assert_eq!((last.undoing, last.why.as_deref()), (true, Some("later")), "the last error is why");
        assert_eq!(next(&table(true), &at(0, false, 2), retry()).status, "attention");
        assert_eq!(next(&table(true), &at(0, false, 0), rejected()).status, "attention");
    }

    #[test]
    fn undoing_ends_below_the_first_step() {
        let done = |step| next(&table(false), &at(step, true, 0), Outcome::done(Value::Null));
        assert_eq!((done(1).step, done(1).status), (0, "running"));
        assert_eq!(done(0).status, "compensated");
        let closing = table(false).when_undone(|run| async move { Outcome::done(run.state) }.boxed());
        let last = next(&closing, &at(0, true, 0), Outcome::done(Value::Null));
        assert_eq!((last.step, last.status), (-1, "running"));
        assert_eq!(next(&closing, &at(-1, true, 0), Outcome::done(Value::Null)).status, "compensated");
    }

    #[test]
    fn a_step_that_cannot_be_taken_back_is_done_after_all() {
        let resume = || Outcome::Resume { reason: "TOO_LATE".into(), state: Value::Null, append: None };
        let next_of = |undoing| next(&table(false), &at(1, undoing, 3), resume());
        let resumed = next_of(true);
        assert_eq!((resumed.step, resumed.undoing, resumed.status, resumed.attempts), (1, false, "running", 0));
        assert!(resumed.goes_on());
        assert_eq!(next_of(false).status, "attention", "nothing was being taken back");
    }

    #[test]
    fn an_undo_that_is_refused_needs_attention_and_is_never_dropped() {
        assert_eq!(next(&table(false), &at(0, true, 0), rejected()).status, "attention");
        let retry = Outcome::Retry { reason: "later".into() };
        assert_eq!(next(&table(false), &at(0, true, 59), retry).status, "attention");
    }

    proptest! {
        #[test]
        fn a_saga_never_leaves_its_table(step in -1_i16..2, undoing: bool, attempts in 0_i32..70, kind in 0..5) {
            prop_assume!(undoing || step >= 0);
            let outcome = match kind {
                0 => Outcome::done(Value::Null),
                1 => Outcome::Wait { state: Value::Null, at_most: Duration::from_secs(1), append: None },
                2 => rejected(),
                3 => Outcome::Retry { reason: String::new() },
                _ => Outcome::Attention { reason: String::new() },
            };
            let next = next(&table(false), &at(step, undoing, attempts), outcome);
            prop_assert!(!undoing || next.undoing, "an undo never turns into a do");
            if next.status == "running" {
                prop_assert!((0..2).contains(&next.step) || (next.undoing && next.step == -1));
            }
        }
    }
}
