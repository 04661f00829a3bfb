use ctx::Ctx;
use fault::Fault;
use ids::{FulfillmentId, OrderId};

use super::cancelled;
use crate::events;
use crate::model::{Address, Body, Fulfillment};
use crate::mount::App;
use crate::state::State;
use crate::store::{Intent, Move};
use crate::wms::{Order, Refusal, WmsError};

/// A wish for work.
pub(crate) struct Create {
    pub order: OrderId,
    pub warehouse: String,
    /// 0 for the first; a higher one takes the place of work that was cancelled.
    pub revision: i32,
    pub body: Body,
    pub ship_to: Address,
}

/// Stores the work of a warehouse for an order and submits it (FUL-01).
///
/// Intent row, call, result row: whatever happens between, a repeat finds the row and submits it again under the same
/// reference, of which the warehouse system makes one order only (FUL-06). A higher revision is another row, and so
/// another reference: under the old one the warehouse system would answer with the order that it has cancelled.
///
/// # Errors
/// Unavailable WMS_UNAVAILABLE: try again. Precondition FULFILLMENT_CANCELLED, WMS_REFUSED.
pub(crate) async fn run(app: &App, ctx: &Ctx, command: Create) -> Result<Fulfillment, Fault> {
    let id = FulfillmentId::new();
    let event = events::requested(command.order, id, &command.warehouse);
    let work = match app.store.intend(ctx, id, command, event).await? {
        Intent::Cancelled => return Err(cancelled()),
        Intent::Stored(work) => *work,
    };
    match work.state {
        State::Submitting => submit(app, ctx, work).await,
        State::Submitted | State::Picking | State::Packed | State::Shipped => Ok(work),
        State::Cancelled => Err(cancelled()),
    }
}

async fn submit(app: &App, ctx: &Ctx, work: Fulfillment) -> Result<Fulfillment, Fault> {
    let ship_to = app.store.address(ctx.tenant, &work).await?;
    let order = Order { reference: work.id(), warehouse: &work.warehouse, lines: &work.body.lines, ship_to: &ship_to };
    let wms_order_id = match app.wms.create(ctx, &order).await {
        Ok(wms_order_id) => wms_order_id,
        Err(WmsError::Refused { refusal: Refusal::OrderCancelled, .. }) => {
            let requested = !app.store.revoked(ctx.tenant, &[work.id()]).await?.is_empty();
            super::cancel::mark(app, ctx, work, requested).await?;
            return Err(cancelled());
        }
        Err(error) => return Err(error.into()),
    };
    let event = events::accepted(&work, &wms_order_id);
    let step = Move {
        fulfillment: work.id(),
        expected: work.version,
        state: State::Submitted,
        wms_order_id,
        observed_at: Some(ctx.now),
        events: vec![event],
    };
    if app.store.advance(ctx, &step).await? {
        return Ok(work.moved(step));
    }
    // A twin of this call, or a cancellation, was faster: its word counts.
    let work = app.store.get(ctx.tenant, work.id()).await?;
    if work.state == State::Cancelled { Err(cancelled()) } else { Ok(work) }
}
