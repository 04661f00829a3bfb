//! What an operator decides about a saga that does not get on, with reason and name in its log (SAG-06).

use contract::Event as _;
use contract::common::v1::Actor;
use contract::order::v1 as wire;
use ctx::Ctx;
use eventlog::NewEvent;
use fault::Fault;
use prost::Message as _;
use saga::{Decided, Intervention, Stuck};

use crate::app::App;
use crate::app::get_saga::saga_name;

impl App {
    /// Carries out what an operator decides; the same decision again changes nothing.
    ///
    /// # Errors
    /// NotFound `SAGA_NOT_FOUND`; Precondition `SAGA_STATE_FORBIDS`, `SAGA_AT_ANOTHER_STEP`.
    pub async fn operate_saga(&self, ctx: &Ctx, command: &Intervention) -> Result<wire::Saga, Fault> {
        let view = saga::operate(&self.store.pg, &self.saga_tables(), ctx, command, record).await?;
        self.whole_saga(ctx, &view).await
    }
}

/// The event of a decision.
fn record(ctx: &Ctx, decided: &Decided<'_>) -> NewEvent {
    let (kind, id) = ctx.principal.actor();
    let event = wire::SagaDecided {
        saga_id: saga_name(decided.kind, decided.saga_id),
        kind: decided.kind.to_owned(),
        step: decided.step.to_owned(),
        decision: decided.decision.to_owned(),
        reason: decided.reason.to_owned(),
        actor: Some(Actor { kind: kind.to_owned(), id }),
    };
    NewEvent::new(wire::SagaDecided::TYPE, wire::SagaDecided::TOPIC, event.encode_to_vec())
}

/// The event of a saga that does not get on.
pub fn announce(stuck: &Stuck) -> Option<NewEvent> {
    let state = if stuck.status == "attention" { "NEEDS_ATTENTION".to_owned() } else { stuck.status.to_uppercase() };
    let event = wire::SagaNeedsAttention {
        saga_id: saga_name(&stuck.kind, stuck.saga_id),
        kind: stuck.kind.clone(),
        step: stuck.step.to_owned(),
        state,
    };
    Some(NewEvent::new(wire::SagaNeedsAttention::TYPE, wire::SagaNeedsAttention::TOPIC, event.encode_to_vec()))
}
