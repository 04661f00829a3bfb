//! The methods of sagas.

use contract::order::v1 as pb;
use contract::order::v1::saga_service_server::SagaService;
use ctx::Ctx;
use fault::{Fault, Violations};
use ids::{OrderId, SagaId};
use jiff::{SignedDuration, Timestamp};
use saga::{Decision, Filter, Intervention};
use serve::{Watched, page};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::app::get_saga::{ListSagas, stored_state};

/// Sagas.
#[derive(Debug)]
pub struct Sagas(pub App);

impl Sagas {
    /// The saga that a caller means: by the id of an order that of its latest round of paying (PAY-18).
    async fn meant(&self, ctx: &Ctx, text: &str, id: Uuid) -> Result<Uuid, Fault> {
        match text.parse::<OrderId>() {
            Ok(order) => self.0.latest_run(ctx, order).await,
            Err(_) => Ok(id),
        }
    }

    async fn operate(&self, ctx: &Ctx, text: &str, command: Intervention) -> Result<Response<pb::Saga>, Status> {
        let saga = self.meant(ctx, text, command.saga).await?;
        Ok(Response::new(self.0.operate_saga(ctx, &Intervention { saga, ..command }).await?))
    }
}

#[tonic::async_trait]
impl SagaService for Sagas {
    async fn get_saga(&self, request: Request<pb::GetSagaRequest>) -> Result<Response<pb::Saga>, Status> {
        let ctx = Ctx::of(&request)?;
        let mut wrong = Violations::default();
        let id = saga_id(&mut wrong, "order_id", &request.get_ref().order_id);
        wrong.finish()?;
        let id = self.meant(&ctx, &request.get_ref().order_id, id).await?;
        Ok(Response::new(self.0.saga(&ctx, id).await?))
    }

    async fn list_sagas(
        &self,
        request: Request<pb::ListSagasRequest>,
    ) -> Result<Response<pb::ListSagasResponse>, Status> {
        let ctx = Ctx::of(&request)?;
        let query = list(request.into_inner(), ctx.now)?;
        Ok(Response::new(self.0.list_sagas(&ctx, query).await?))
    }

    type WatchSagaStream = Watched<pb::Saga>;

    async fn watch_saga(
        &self,
        request: Request<pb::WatchSagaRequest>,
    ) -> Result<Response<Self::WatchSagaStream>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let mut wrong = Violations::default();
        let id = saga_id(&mut wrong, "saga_id", &request.saga_id);
        wrong.finish()?;
        let id = self.meant(&ctx, &request.saga_id, id).await?;
        Ok(Response::new(self.0.watch_saga(&ctx, id, request.etag).await?))
    }

    async fn retry_saga_step(&self, request: Request<pb::RetrySagaStepRequest>) -> Result<Response<pb::Saga>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let command = operate(&request.saga_id, Decision::Retry, request.reason, Violations::default())?;
        self.operate(&ctx, &request.saga_id, command).await
    }

    async fn skip_saga_step(&self, request: Request<pb::SkipSagaStepRequest>) -> Result<Response<pb::Saga>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let mut wrong = Violations::default();
        if request.step.is_empty() {
            wrong.add("step", "REQUIRED", "must name the step that is skipped");
        }
        let command = operate(&request.saga_id, Decision::Skip { step: request.step }, request.reason, wrong)?;
        self.operate(&ctx, &request.saga_id, command).await
    }

    async fn force_compensate(
        &self,
        request: Request<pb::ForceCompensateRequest>,
    ) -> Result<Response<pb::Saga>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let command = operate(&request.saga_id, Decision::Compensate, request.reason, Violations::default())?;
        self.operate(&ctx, &request.saga_id, command).await
    }

    async fn resolve_saga(&self, request: Request<pb::ResolveSagaRequest>) -> Result<Response<pb::Saga>, Status> {
        let ctx = Ctx::of(&request)?;
        let request = request.into_inner();
        let command = operate(&request.saga_id, Decision::Resolve, request.reason, Violations::default())?;
        self.operate(&ctx, &request.saga_id, command).await
    }
}

fn saga_id(wrong: &mut Violations, field: &str, text: &str) -> Uuid {
    let order = text.parse::<OrderId>().map(OrderId::uuid);
    order.or_else(|_| text.parse::<SagaId>().map(SagaId::uuid)).unwrap_or_else(|_| {
        wrong.add(field, "ID_INVALID", "must be ord_ or sag_ and 32 hex digits");
        Uuid::nil()
    })
}

fn operate(id: &str, decision: Decision, reason: String, mut wrong: Violations) -> Result<Intervention, Fault> {
    let saga = saga_id(&mut wrong, "saga_id", id);
    let length = reason.trim().chars().count();
    if !(1..=200).contains(&length) || reason.chars().any(char::is_control) {
        wrong.add("reason", "REASON_INVALID", "1 to 200 characters, no control characters");
    }
    wrong.finish()?;
    Ok(Intervention { saga, decision, reason })
}

fn list(request: pb::ListSagasRequest, now: Timestamp) -> Result<ListSagas, Fault> {
    let mut wrong = Violations::default();
    let mut states = Vec::new();
    for (index, number) in request.states.iter().enumerate() {
        match pb::SagaState::try_from(*number) {
            Ok(state) if state != pb::SagaState::Unspecified => states.push(stored_state(state).to_owned()),
            _ => wrong.add(format!("states[{index}]"), "STATE_UNKNOWN", "not a state of a saga"),
        }
    }
    let age = request.min_age.unwrap_or_default();
    let before = started_before(now, age.seconds, age.nanos);
    if before.is_none() {
        wrong.add("min_age", "AGE_INVALID", "must be 0 s to 100 years");
    }
    let strange = |text: &String| text.len() > 100 || text.contains('\0');
    if request.kinds.len() > 20 || request.kinds.iter().any(strange) || strange(&request.step) {
        wrong.add("kinds", "FILTER_INVALID", "at most 20 kinds and one step, of at most 100 bytes each");
    }
    wrong.finish()?;
    let mark = format!("sagas {:?} {states:?} {:?} {age:?}", request.kinds, request.step);
    let started_before = before.filter(|_| (age.seconds, age.nanos) != (0, 0));
    let step = (!request.step.is_empty()).then_some(request.step);
    let filter = Filter { kinds: request.kinds, states, step, started_before };
    Ok(ListSagas { size: page::size(request.page_size)?, token: request.page_token, filter, mark })
}

/// The time that is `age` ago; none for an age that makes no sense.
fn started_before(now: Timestamp, seconds: i64, nanos: i32) -> Option<Timestamp> {
    const CENTURY_S: i64 = 100 * 366 * 86_400;
    let sound = (0..=CENTURY_S).contains(&seconds) && (0..1_000_000_000).contains(&nanos);
    sound.then(|| now.checked_sub(SignedDuration::new(seconds, nanos)).ok()).flatten()
}
