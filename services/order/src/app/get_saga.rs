//! Reads the saga of an order, for operators (SAG-01).

use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;
use ids::OrderId;

use crate::app::App;
use crate::app::place_saga::STEPS;
use crate::infra::store::wire_time;

impl App {
    /// Reads the saga of an order with its log.
    ///
    /// # Errors
    /// NotFound `SAGA_NOT_FOUND`.
    pub async fn saga(&self, ctx: &Ctx, id: OrderId) -> Result<wire::Saga, Fault> {
        let view = self.store.saga(ctx.tenant, id).await?;
        let state = match (view.status.as_str(), view.phase.as_str()) {
            ("completed", _) => wire::SagaState::Completed,
            ("compensated", _) => wire::SagaState::Compensated,
            ("attention", _) => wire::SagaState::NeedsAttention,
            (_, "undo") => wire::SagaState::Compensating,
            ("waiting", _) => wire::SagaState::Waiting,
            _ => wire::SagaState::Running,
        };
        let step = usize::try_from(view.step).ok().and_then(|step| STEPS.get(step).copied()).unwrap_or("end");
        let log = view.log.iter().map(|entry| wire::SagaLogEntry {
            sequence: entry.seq,
            step: entry.step.clone(),
            phase: entry.phase.clone(),
            outcome: entry.outcome.clone(),
            detail: entry.detail.clone(),
            occur_time: Some(wire_time(entry.occurred_at())),
        });
        Ok(wire::Saga {
            id: id.to_string(),
            kind: view.kind.clone(),
            state: state.into(),
            step: step.to_owned(),
            attempts: view.attempts,
            log: log.collect(),
        })
    }
}
