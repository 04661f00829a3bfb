//! A warehouse cancels by itself what it had accepted: as long as nobody has begun, the order is cancelled as if
//! somebody had asked for it; where other parcels are on their way, a person decides (FUL-05, SAG-01).

use std::sync::Arc;

use contract::fulfillment::v1::FulfillmentCancelled;
use contract::order::v1::{OrderChangeState, OrderState};
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::OrderId;
use outbox::Delivery;
use pg::Conn;
use saga::{Definition, Outcome, Step};
use serde_json::json;
use uuid::Uuid;

use crate::app::cancel_order::refused;
use crate::app::cancel_saga::SUBJECT;
use crate::app::rounds::{ROUND, run_in, same_run};
use crate::domain::order::Refusal;
use crate::infra::store::Store;

/// Name of the table.
pub const KIND: &str = "shortfall";
/// Why the order is cancelled.
const REASON: &str = "WAREHOUSE_CANCELLED";
/// In the saga's state: what the warehouse cancelled.
const FULFILLMENT: &str = "fulfillment";

/// The table: one step, which is for a person.
pub fn definition() -> Definition {
    let decide = |_| {
        let reason = "a warehouse cancelled its part of an order whose other parts go on".to_owned();
        async { Outcome::Attention { reason } }.boxed()
    };
    Definition::new(KIND, 1, vec![Step::new("decide", decide).forward_only()])
}

/// Handles the event; `cancel` and `shortfall` are the tables that it may start.
pub(crate) fn handle(
    conn: &mut Conn,
    delivery: Arc<Delivery>,
    [cancel, shortfall]: [Arc<Definition>; 2],
) -> BoxFuture<'_, Result<(), pg::Error>> {
    async move {
        let event: FulfillmentCancelled = delivery.decode()?;
        if !event.by_warehouse {
            return Ok(());
        }
        let (ctx, id) = (&delivery.ctx, event.order_id.parse::<OrderId>().map_err(Fault::internal)?);
        // The saga's row first: its engine locks in that order too.
        let run = run_in(conn, ctx.tenant, id).await?;
        let order = Store::get_in(conn, ctx.tenant, id).await?;
        // A change has called that work off meanwhile, and asked for other work.
        if event.revision < order.doc.fulfillment_revision {
            return Ok(());
        }
        let agreed = order.doc.changes.iter().any(|change| change.state() == OrderChangeState::Confirmed);
        match order.state() {
            // The change asks the warehouses anew, whether it comes to its end or is undone.
            OrderState::ChangePending if agreed => return Ok(()),
            OrderState::ChangePending => return Err(refused(&Refusal::State(order.state())).into()),
            _ if order.awaits_parcels() => {}
            _ => return Ok(()),
        }
        if let Ok(events) = order.request_cancellation(REASON) {
            let undoing = saga::request_undo(conn, ctx.tenant, run, REASON).await?;
            let order = Store::get_in(conn, ctx.tenant, id).await?;
            same_run(&order, run)?;
            let complete = !undoing && order.state() == OrderState::FulfillmentPending;
            if complete {
                let state = json!({SUBJECT: order.doc.id, ROUND: order.round()});
                saga::start(conn, ctx, &cancel, Uuid::now_v7(), state).await?;
            }
            if undoing || complete {
                return Store::append(conn, ctx, &order, &events).await.map(drop);
            }
        }
        let state = json!({SUBJECT: event.order_id, FULFILLMENT: event.fulfillment_id});
        saga::start(conn, ctx, &shortfall, Uuid::now_v7(), state).await?;
        Ok(())
    }
    .boxed()
}
