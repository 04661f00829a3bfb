//! The saga of a payment that failed: when nobody tried again in time, the order is over (PAY-18, requirements 1.20).

use std::sync::Arc;
use std::time::Duration;

use contract::order::v1::OrderPaymentFailed;
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::OrderId;
use outbox::Delivery;
use pg::Conn;
use saga::{Definition, Outcome, Run, Step};
use serde_json::json;
use uuid::Uuid;

use crate::app::cancel_saga::SUBJECT;
use crate::app::place_saga::{Steps, Try, act, advance};
use crate::infra::store::Store;

/// Name of the table.
pub const KIND: &str = "lapse";

/// The table.
pub fn definition(steps: &Steps) -> Definition {
    Definition::new(KIND, 1, vec![Step::new("await_retry", act!(steps, await_retry)).tries(60).forward_only()])
}

impl Steps {
    async fn await_retry(self, run: Run) -> Try {
        let order = self.order(&run).await?;
        // Paid or cancelled meanwhile; a failure after another try has a saga of its own.
        let Some(until) = order.retry_until() else { return Ok(Outcome::done(run.state)) };
        // A try at the last moment is still in time.
        match until.seconds.saturating_sub(run.ctx.now.as_second()) {
            left @ 0.. => {
                let at_most = Duration::from_secs(left.unsigned_abs() + 1);
                Ok(Outcome::Wait { state: run.state, at_most, append: None })
            }
            _ => Ok(advance(&run.ctx, &order, order.lapse_payment(), run.state.clone())),
        }
    }
}

/// Handles the event; `table` is what it starts.
pub(crate) fn handle(
    conn: &mut Conn,
    delivery: Arc<Delivery>,
    table: Arc<Definition>,
) -> BoxFuture<'_, Result<(), pg::Error>> {
    async move {
        let event: OrderPaymentFailed = delivery.decode()?;
        let id: OrderId = event.order_id.parse().map_err(Fault::internal)?;
        if Store::get_in(conn, delivery.ctx.tenant, id).await?.retry_until().is_some() {
            let state = json!({SUBJECT: event.order_id});
            saga::start(conn, &delivery.ctx, &table, Uuid::now_v7(), state).await?;
        }
        Ok(())
    }
    .boxed()
}
