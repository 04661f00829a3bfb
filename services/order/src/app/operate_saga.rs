//! What an operator decides about a saga that does not get on, with reason and name in its log (SAG-06).

use contract::Event as _;
use contract::common::v1::Actor;
use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use ctx::Ctx;
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt as _;
use ids::OrderId;
use pg::Conn;
use prost::Message as _;
use saga::{Decided, Decision, Intervention, Stuck};

use crate::app::get_saga::saga_name;
use crate::app::place_saga::STEPS;
use crate::app::{App, cancel_saga, change_saga, place_saga, rounds};

impl App {
    /// Carries out what an operator decides; the same decision again changes nothing.
    ///
    /// # Errors
    /// NotFound `SAGA_NOT_FOUND`; Precondition `SAGA_STATE_FORBIDS`, `SAGA_AT_ANOTHER_STEP`, `ORDER_NOT_SETTLED`.
    pub async fn operate_saga(&self, ctx: &Ctx, command: &Intervention) -> Result<wire::Saga, Fault> {
        self.check_settles(ctx, command).await?;
        let view = saga::operate(&self.store.pg, &self.saga_tables(), ctx, command, record).await?;
        self.whole_saga(ctx, &view).await
    }

    /// No decision may leave an order where nothing leads it on: a lock that nobody opens, or half paid. Looked at before
    /// the decision is made: while its saga is stuck, an order may leave these states and does not come back to them.
    async fn check_settles(&self, ctx: &Ctx, command: &Intervention) -> Result<(), Fault> {
        let (tenant, id) = (ctx.tenant, command.saga);
        let found = self.store.pg.read("order.saga_settles", tenant, move |conn: &mut Conn| {
            async move { saga::view(conn, tenant, id).await }.boxed()
        });
        let Some(view) = found.await?.filter(|view| view.status == "attention") else { return Ok(()) };
        let moves_order = match &command.decision {
            Decision::Skip { step } => view.phase == "do" && LEADS_ON.contains(&step.as_str()),
            Decision::Resolve => true,
            Decision::Retry | Decision::Compensate => false,
        };
        if !moves_order {
            return Ok(());
        }
        let subject = view.subject.as_deref().and_then(|subject| subject.parse().ok());
        let order = self.store.get(tenant, subject.unwrap_or_else(|| OrderId::from_uuid(id))).await?;
        if is_held_by(&view.kind, order.state()) {
            let text = "the order would wait for ever: retry the step, skip what others have to do, or compensate";
            return Err(Fault::precondition("ORDER_NOT_SETTLED", text).with("state", order.state().as_str_name()));
        }
        Ok(())
    }
}

/// Steps that lead the order itself on, so that leaving one out would leave the order behind.
const LEADS_ON: [&str; 5] = [STEPS[0], STEPS[2], STEPS[4], "apply_change", "close_order"];

/// Whether an order in this state gets on only by a saga of this kind.
fn is_held_by(kind: &str, state: OrderState) -> bool {
    use OrderState as S;
    match kind {
        cancel_saga::KIND => state == S::CancellationPending,
        change_saga::KIND => state == S::ChangePending,
        place_saga::KIND | rounds::KIND => matches!(
            state,
            S::Pending
                | S::PaymentProcessing
                | S::PaymentActionRequired
                | S::PaymentReview
                | S::PaymentCompleted
                | S::CancellationPending
                // Behind it an order that the saga leads on again: of an accepted one the saga is over.
                | S::ChangePending
        ),
        _ => false,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sag_06_a_saga_is_not_resolved_under_an_order_that_only_it_leads_on() {
        use OrderState as S;
        for (kind, held) in [(cancel_saga::KIND, S::CancellationPending), (change_saga::KIND, S::ChangePending)] {
            assert!(is_held_by(kind, held));
            assert!(!is_held_by(kind, S::FulfillmentPending));
        }
        for kind in [place_saga::KIND, rounds::KIND] {
            assert!(
                [S::PaymentCompleted, S::Pending, S::ChangePending].into_iter().all(|state| is_held_by(kind, state))
            );
            assert!(!is_held_by(kind, S::FulfillmentInProgress) && !is_held_by(kind, S::Failed));
        }
        assert!(!is_held_by("renew_hold", S::PaymentCompleted));
    }
}
