//! What an operator may decide about a saga that does not get on: pure rules, and one write that names what he saw.

use ctx::Ctx;
use diesel::sql_types::{Array, Binary, Integer, Jsonb, Nullable, Text, Uuid as SqlUuid};
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use pg::{Conn, Pg};
use uuid::Uuid;

use crate::Definition;
use crate::advance::step_name;
use crate::view::{View, view};

/// Writers that lose this often in a row meet something that is not a race.
const TURNS: usize = 8;
/// Why a saga is being undone that an operator turned back.
pub const FORCED: &str = "COMPENSATED_BY_OPERATOR";

diesel::define_sql_function! {
    /// Writes an operator's decision; false when the saga has moved on.
    fn saga_operate(tenant: SqlUuid, saga: SqlUuid, seq: Integer, step: Integer, phase: Text, status: Text,
        undo_reason: Nullable<Text>, log_step: Text, log_phase: Text, outcome: Text, reason: Text, actor: Text,
        types: Array<Text>, topics: Array<Text>, payloads: Array<Binary>, meta: Jsonb) -> Bool;
}

/// What an operator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Try the step again now, with all its tries.
    Retry,
    /// Take this step as done (or undone): somebody saw to it by other means.
    Skip {
        /// Name of the step, so that a repeat does not skip the next one.
        step: String,
    },
    /// Undo what was done.
    Compensate,
    /// End it as it is: somebody sees to the rest by other means.
    Resolve,
}

/// What is decided about which saga, and why.
#[derive(Debug, Clone)]
pub struct Intervention {
    /// The saga.
    pub saga: Uuid,
    /// What is decided.
    pub decision: Decision,
    /// Why, 1 to 200 characters.
    pub reason: String,
}

/// A decision that is being written down.
#[derive(Debug)]
pub struct Decided<'a> {
    /// The saga.
    pub saga_id: Uuid,
    /// Definition it runs by.
    pub kind: &'a str,
    /// Step it was at.
    pub step: &'static str,
    /// RETRIED, SKIPPED, FORCED_BACK or RESOLVED.
    pub decision: &'static str,
    /// Why.
    pub reason: &'a str,
}

/// Makes the event of a decision.
pub type Record = fn(&Ctx, &Decided<'_>) -> NewEvent;

/// What the row becomes.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    step: i16,
    undoing: bool,
    status: &'static str,
    undo_reason: Option<&'static str>,
    outcome: &'static str,
}

/// Why a decision was refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The saga's state forbids it.
    State,
    /// It is at another step.
    Step,
}

/// Carries out what an operator decides, once: a decision that was made before changes nothing.
///
/// # Errors
/// NotFound `SAGA_NOT_FOUND`; Precondition `SAGA_STATE_FORBIDS` with `state`, or `SAGA_AT_ANOTHER_STEP` with `step`;
/// Aborted `CONTENTION`.
pub async fn operate(
    pg: &Pg,
    definitions: &[Definition],
    ctx: &Ctx,
    wanted: &Intervention,
    record: Record,
) -> Result<View, Fault> {
    let (tenant, saga, reason) = (ctx.tenant, wanted.saga, wanted.reason.trim());
    let (kind, id) = ctx.principal.actor();
    let actor = format!("{kind} {id}");
    for _ in 0..TURNS {
        let seen = look(pg, tenant, saga).await?;
        let table = definitions.iter().find(|table| table.kind == seen.kind && table.rev == seen.rev);
        let Some(table) = table else { return Err(forbidden(&seen, "end")) };
        let name = step_name(table, seen.step);
        let next = match decide(table, &seen, &wanted.decision) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(seen),
            Err(Refusal::State) => return Err(forbidden(&seen, name)),
            Err(Refusal::Step) => {
                return Err(Fault::precondition("SAGA_AT_ANOTHER_STEP", format!("the saga is at the step {name:?}"))
                    .with("step", name));
            }
        };
        let decided = Decided { saga_id: saga, kind: &seen.kind, step: name, decision: next.outcome, reason };
        let event = record(ctx, &decided);
        let phase = |undoing| if undoing { "undo" } else { "do" };
        let query = diesel::select(saga_operate(
            tenant.uuid(),
            saga,
            seen.seq,
            i32::from(next.step),
            phase(next.undoing),
            next.status,
            next.undo_reason,
            name,
            seen.phase.clone(),
            next.outcome,
            reason.to_owned(),
            actor.clone(),
            vec![event.type_name],
            vec![event.topic],
            vec![event.payload],
            eventlog::meta(ctx),
        ));
        // Boxed, for the compiler cannot show that it may change threads (rust-lang/rust#102211).
        let written: bool = pg.call("saga.operate", query).boxed().await?;
        if written {
            tracing::warn!(%saga, step = name, decision = next.outcome, actor, reason, "an operator decided about a saga");
            return look(pg, tenant, saga).await;
        }
    }
    Err(Fault::aborted("CONTENTION", "the saga moves too fast to be decided about"))
}

async fn look(pg: &Pg, tenant: TenantId, saga: Uuid) -> Result<View, Fault> {
    let seen =
        pg.read("saga.view", tenant, move |conn: &mut Conn| async move { view(conn, tenant, saga).await }.boxed());
    seen.await?.ok_or_else(not_found)
}

/// What callers hear of a saga that is not there.
pub fn not_found() -> Fault {
    Fault::not_found("SAGA_NOT_FOUND", "there is no such saga")
}

fn forbidden(seen: &View, step: &str) -> Fault {
    Fault::precondition("SAGA_STATE_FORBIDS", format!("a saga that is {} does not allow this", seen.status))
        .with("state", &seen.status)
        .with("step", step)
}

/// What a decision makes of a saga; none when it was made before.
fn decide(table: &Definition, seen: &View, decision: &Decision) -> Result<Option<Move>, Refusal> {
    let undoing = seen.phase == "undo";
    let stuck = seen.status == "attention";
    let still = |status, outcome| Move { step: seen.step, undoing, status, undo_reason: None, outcome };
    match decision {
        Decision::Retry if stuck => Ok(Some(still("running", "RETRIED"))),
        // It is under way already: the same decision again, or nothing to decide.
        Decision::Retry if seen.status == "running" && seen.attempts == 0 => Ok(None),
        Decision::Retry if seen.status == "running" => Ok(Some(still("running", "RETRIED"))),
        Decision::Retry if seen.status == "waiting" => Ok(Some(still("waiting", "RETRIED"))),
        Decision::Skip { step } => skip(table, seen, step),
        Decision::Compensate if stuck && !undoing => {
            let back = still("running", "FORCED_BACK");
            Ok(Some(Move { undoing: true, undo_reason: Some(FORCED), ..back }))
        }
        Decision::Compensate if seen.status == "compensated" => Ok(None),
        Decision::Compensate if !stuck && !seen.is_over() && (undoing || seen.undo_reason.is_some()) => Ok(None),
        // A worker may be at the step: it turns back itself at its next look.
        Decision::Compensate if !stuck && !seen.is_over() => {
            Ok(Some(Move { undo_reason: Some(FORCED), ..still("running", "FORCED_BACK") }))
        }
        Decision::Resolve if stuck => Ok(Some(still("resolved", "RESOLVED"))),
        Decision::Resolve if seen.status == "resolved" => Ok(None),
        Decision::Retry | Decision::Compensate | Decision::Resolve => Err(Refusal::State),
    }
}

fn skip(table: &Definition, seen: &View, step: &str) -> Result<Option<Move>, Refusal> {
    let undoing = seen.phase == "undo";
    let at = step_name(table, seen.step);
    if seen.status == "attention" && at == step {
        let (step, over) = if undoing {
            (seen.step - 1, seen.step < 0 || (seen.step == 0 && table.undone.is_none()))
        } else {
            (seen.step + 1, usize::from(seen.step.unsigned_abs()) + 1 >= table.steps.len())
        };
        let end = if undoing { "compensated" } else { "completed" };
        let status = if over { end } else { "running" };
        return Ok(Some(Move { step, undoing, status, undo_reason: None, outcome: "SKIPPED" }));
    }
    // The last word on that step was that it was skipped: the same decision again.
    let last = seen.log.iter().rev().find(|entry| entry.step == step && entry.outcome != "RETRY");
    match last {
        Some(last) if last.outcome == "SKIPPED" && last.phase == seen.phase => Ok(None),
        _ if at == step || seen.is_over() => Err(Refusal::State),
        _ => Err(Refusal::Step),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::Step;
    use crate::definition::Outcome;

    fn table() -> Definition {
        let step = |name| Step::new(name, |run| async move { Outcome::done(run.state) }.boxed());
        Definition::new("test", 1, vec![step("a"), step("b")])
    }

    fn seen(status: &str, phase: &str, step: i16, attempts: i32) -> View {
        View {
            id: Uuid::nil(),
            kind: "test".to_owned(),
            rev: 1,
            seq: 7,
            status: status.to_owned(),
            phase: phase.to_owned(),
            step,
            attempts,
            undo_reason: None,
            subject: None,
            created_at: Timestamp::UNIX_EPOCH,
            wake_at: Timestamp::UNIX_EPOCH,
            log: Vec::new(),
        }
    }

    fn status_after(view: &View, decision: &Decision) -> Result<Option<(&'static str, i16, bool)>, Refusal> {
        Ok(decide(&table(), view, decision)?.map(|next| (next.status, next.step, next.undoing)))
    }

    fn skip_of(step: &str) -> Decision {
        Decision::Skip { step: step.to_owned() }
    }

    #[test]
    fn a_stuck_saga_is_tried_again_where_it_is() {
        let retry = |view| status_after(&view, &Decision::Retry);
        assert_eq!(retry(seen("attention", "do", 1, 3)), Ok(Some(("running", 1, false))));
        assert_eq!(retry(seen("attention", "undo", 0, 60)), Ok(Some(("running", 0, true))));
        assert_eq!(retry(seen("running", "do", 1, 2)), Ok(Some(("running", 1, false))), "no more pause");
        assert_eq!(retry(seen("waiting", "do", 1, 0)), Ok(Some(("waiting", 1, false))), "looks again");
        assert_eq!(retry(seen("running", "do", 1, 0)), Ok(None), "it is tried just now");
    }

    #[test]
    fn a_skipped_step_counts_as_done_and_the_last_one_ends_the_saga() {
        let skip = |view, step| status_after(&view, &skip_of(step));
        assert_eq!(skip(seen("attention", "do", 0, 3), "a"), Ok(Some(("running", 1, false))));
        assert_eq!(skip(seen("attention", "do", 1, 3), "b"), Ok(Some(("completed", 2, false))));
        assert_eq!(skip(seen("attention", "undo", 1, 3), "b"), Ok(Some(("running", 0, true))));
        assert_eq!(skip(seen("attention", "undo", 0, 3), "a"), Ok(Some(("compensated", -1, true))));
        assert_eq!(skip(seen("attention", "do", 1, 3), "a"), Err(Refusal::Step));
        assert_eq!(skip(seen("running", "do", 0, 0), "a"), Err(Refusal::State), "a worker is at it");
    }

    #[test]
    fn what_was_done_is_undone_when_an_operator_says_so() {
        let back = |view| status_after(&view, &Decision::Compensate);
        assert_eq!(back(seen("attention", "do", 1, 3)), Ok(Some(("running", 1, true))));
        assert_eq!(back(seen("waiting", "do", 1, 0)), Ok(Some(("running", 1, false))), "the worker turns back");
        assert_eq!(back(seen("running", "undo", 0, 1)), Ok(None), "it is being undone");
        assert_eq!(back(seen("attention", "undo", 0, 60)), Err(Refusal::State), "retry it or resolve it");
    }

    #[test]
    fn only_a_stuck_saga_is_resolved_and_only_once() {
        let resolve = |view| status_after(&view, &Decision::Resolve);
        assert_eq!(resolve(seen("attention", "do", 1, 3)), Ok(Some(("resolved", 1, false))));
        assert_eq!(resolve(seen("resolved", "do", 1, 3)), Ok(None));
        assert_eq!(resolve(seen("running", "do", 1, 3)), Err(Refusal::State));
    }

    proptest! {
        #[test]
        fn nothing_moves_a_saga_that_is_over(which in 0..3_usize, step in -1_i16..3, undo: bool, kind in 0..4) {
            let status = ["completed", "compensated", "resolved"][which];
            let decision = match kind {
                0 => Decision::Retry,
                1 => skip_of("a"),
                2 => Decision::Compensate,
                _ => Decision::Resolve,
            };
            let view = seen(status, if undo { "undo" } else { "do" }, step, 0);
            let decided = decide(&table(), &view, &decision);
            prop_assert!(matches!(decided, Ok(None) | Err(_)));
        }
    }
}
