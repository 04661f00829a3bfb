use ctx::Ctx;
use fault::Fault;
use ids::FulfillmentId;

use super::{TURNS, cancelled, raced};
use crate::events;
use crate::model::Fulfillment;
use crate::mount::App;
use crate::state::State;
use crate::store::Move;
use crate::wms::{Refusal, WmsError};

/// Label and money are there.
pub(crate) struct Ship {
    pub fulfillment: FulfillmentId,
    pub carrier: String,
    pub tracking_number: String,
}

/// Tells the warehouse that the parcel may leave; a parcel that has left stays so.
///
/// # Errors
/// Precondition LABEL_NOT_PURCHASED without carrier and tracking number (SHP-09), FULFILLMENT_NOT_PACKED,
/// FULFILLMENT_CANCELLED; Unavailable WMS_UNAVAILABLE: try again.
pub(crate) async fn run(app: &App, ctx: &Ctx, command: Ship) -> Result<Fulfillment, Fault> {
    if command.carrier.trim().is_empty() || command.tracking_number.trim().is_empty() {
        return Err(Fault::precondition("LABEL_NOT_PURCHASED", "a parcel cannot leave without its label"));
    }
    let mut work = app.store.get(ctx.tenant, command.fulfillment).await?;
    for _ in 0..TURNS {
        match work.state {
            State::Shipped => return Ok(work),
            State::Cancelled => return Err(cancelled()),
            State::Submitting | State::Submitted | State::Picking => return Err(not_packed()),
            State::Packed => {}
        }
        match app.wms.release(ctx, work.id(), &command.carrier, &command.tracking_number).await {
            Ok(()) => {}
            Err(WmsError::Refused { refusal: Refusal::NotPacked, .. }) => return Err(not_packed()),
            Err(WmsError::Refused { refusal: Refusal::OrderCancelled, .. }) => return Err(cancelled()),
            Err(error) => return Err(error.into()),
        }
        let expected = work.version;
        work.state = State::Shipped;
        let step = Move {
            fulfillment: work.id(),
            expected,
            state: State::Shipped,
            wms_order_id: String::new(),
            observed_at: Some(ctx.now),
            events: events::entered(&work).into_iter().collect(),
        };
        if app.store.advance(ctx, &step).await? {
            return Ok(work.moved(step));
        }
        work = app.store.get(ctx.tenant, command.fulfillment).await?;
    }
    Err(raced())
}

fn not_packed() -> Fault {
    Fault::precondition("FULFILLMENT_NOT_PACKED", "the parcel is not packed yet")
}
