use ctx::Ctx;
use fault::Fault;
use ids::{FulfillmentId, OrderId};

use super::{TURNS, in_picking, raced};
use crate::events;
use crate::model::Fulfillment;
use crate::mount::App;
use crate::state::{State, WmsStatus};
use crate::store::Move;
use crate::wms::{Refusal, WmsError};

/// What is taken back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cancel {
    pub order: OrderId,
    /// Work of lower revisions; 0 = all, for good.
    pub revision: i32,
}

/// Takes back the work for an order and leaves a mark that refuses late work for it (rule S2).
///
/// The mark is set before the warehouse system is asked, so that no submission slips in between, and is taken back when
/// it refuses.
///
/// # Errors
/// Precondition ORDER_IN_PICKING, with the fulfillments that were taken back all the same in `cancelled`; Unavailable
/// WMS_UNAVAILABLE: try again.
pub(crate) async fn run(app: &App, ctx: &Ctx, command: Cancel) -> Result<Vec<Fulfillment>, Fault> {
    let Cancel { order, revision } = command;
    let below = if revision == 0 { i32::MAX } else { revision };
    let work = app.store.cancel_order(ctx.tenant, order, below).await?;
    if work.iter().any(|work| work.state.begun()) {
        return Err(in_picking());
    }
    let pending: Vec<FulfillmentId> =
        work.iter().filter(|work| work.state.cancellable()).map(Fulfillment::id).collect();
    // With several warehouses, ask before taking anything back: half a cancellation helps nobody.
    if pending.len() > 1 && begun(app, ctx, &pending).await? {
        app.store.cancel_refused(ctx.tenant, order).await?;
        return Err(in_picking());
    }
    let mut taken = Vec::with_capacity(work.len());
    for work in work {
        if !work.state.cancellable() {
            taken.push(work);
            continue;
        }
        match app.wms.cancel(ctx, work.id()).await {
            Ok(()) | Err(WmsError::Refused { refusal: Refusal::OrderCancelled, .. }) => {
                taken.push(mark(app, ctx, work, true).await?);
            }
            Err(WmsError::Refused { refusal: Refusal::OrderInPicking, .. }) => {
                app.store.cancel_refused(ctx.tenant, order).await?;
                let gone: Vec<String> = taken.iter().map(|work: &Fulfillment| work.id().to_string()).collect();
                return Err(in_picking().with("cancelled", gone.join(",")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(taken)
}

async fn begun(app: &App, ctx: &Ctx, pending: &[FulfillmentId]) -> Result<bool, Fault> {
    let reports = app.wms.status(ctx, pending).await?;
    Ok(reports
        .iter()
        .any(|report| matches!(report.status, WmsStatus::Picking | WmsStatus::Packed | WmsStatus::Shipped)))
}

/// Writes that the warehouse system has cancelled a fulfillment, and whether anybody here asked for that.
pub(crate) async fn mark(app: &App, ctx: &Ctx, mut work: Fulfillment, requested: bool) -> Result<Fulfillment, Fault> {
    for _ in 0..TURNS {
        if work.state == State::Cancelled {
            return Ok(work);
        }
        if !work.state.cancellable() {
            return Err(in_picking());
        }
        let expected = work.version;
        work.state = State::Cancelled;
        work.cancel_requested = requested;
        let step = Move {
            fulfillment: work.id(),
            expected,
            state: State::Cancelled,
            wms_order_id: String::new(),
            observed_at: Some(ctx.now),
            events: events::entered(&work).into_iter().collect(),
        };
        if app.store.advance(ctx, &step).await? {
            return Ok(work.moved(step));
        }
        work = app.store.get(ctx.tenant, work.id()).await?;
    }
    Err(raced())
}
