//! Creates many orders in one call; each stands for itself (ORD-48).

use contract::order::v1 as wire;
use ctx::{Ctx, IdempotencyKey};
use fault::Fault;
use futures::future::join_all;

use crate::app::App;
use crate::app::create_order::CreateOrder;

/// Most orders of one call.
pub const MAX_ORDERS: usize = 50;

impl App {
    /// Creates each order, or says why not; a repeat of the call's key creates none a second time.
    ///
    /// # Errors
    /// Invalid for no order or more than fifty.
    pub async fn create_batch(
        &self,
        ctx: &Ctx,
        commands: Vec<CreateOrder>,
    ) -> Result<wire::BatchCreateOrdersResponse, Fault> {
        if commands.is_empty() || commands.len() > MAX_ORDERS {
            let text = format!("1 to {MAX_ORDERS} orders in one call");
            return Err(Fault::invalid("requests", "BATCH_SIZE_INVALID", text));
        }
        let each = commands.into_iter().enumerate().map(|(index, command)| async move {
            let created = match self.create(&numbered(ctx, index), command).await {
                Ok(once) => self.shown(ctx, once.response).await,
                Err(fault) => Err(fault),
            };
            let result = match created {
                Ok(order) => wire::batch_create_result::Result::Order(order),
                Err(fault) => wire::batch_create_result::Result::Failure(failure(&fault)),
            };
            wire::BatchCreateResult { result: Some(result) }
        });
        Ok(wire::BatchCreateOrdersResponse { results: join_all(each).await })
    }
}

/// Each order of a call has a key of its own, so that a call which stopped half-way can be repeated.
fn numbered(ctx: &Ctx, index: usize) -> Ctx {
    let key = ctx.idempotency.as_ref().map(|key| IdempotencyKey { key: format!("{}#{index}", key.key), ..key.clone() });
    Ctx { idempotency: key, ..ctx.clone() }
}

fn failure(fault: &Fault) -> wire::BatchCreateFailure {
    let field = |wrong: &fault::Violation| wire::WrongField {
        field: wrong.field.clone(),
        reason: wrong.reason.to_string(),
        description: wrong.description.clone(),
    };
    wire::BatchCreateFailure {
        reason: fault.reason().to_owned(),
        message: fault.message().to_owned(),
        fields: fault.violations().iter().map(field).collect(),
    }
}
