//! Binds what is set aside to the fulfillment that works on it, and lets holds end later (INV-04).

use std::sync::Arc;

use contract::inventory::v1::{StockAllocated, StockReservationExtended};
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::{FulfillmentId, OrderId};
use jiff::{SignedDuration, Timestamp};

use super::{Inventory, ended, no_reservation};
use crate::reservation::{NotAllocated, Reservation, Step};
use crate::store;

/// Units of a warehouse that a fulfillment works on.
#[derive(Debug, Clone)]
pub struct AllocateReservation {
    /// The order.
    pub order: OrderId,
    /// The warehouse.
    pub warehouse: String,
    /// The fulfillment.
    pub fulfillment: FulfillmentId,
}

impl Inventory {
    /// Binds units to a fulfillment; the same again changes nothing.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND; Precondition RESERVATION_NOT_CONFIRMED, RESERVATION_ENDED, NOTHING_SET_ASIDE,
    /// ALLOCATED_ELSEWHERE.
    pub async fn allocate_reservation(&self, ctx: &Ctx, allocate: AllocateReservation) -> Result<Reservation, Fault> {
        let (context, allocate) = (ctx.clone(), Arc::new(allocate));
        Ok(self
            .pg
            .tx("inventory.allocate", ctx.tenant, move |conn| {
                let (ctx, allocate) = (context.clone(), allocate.clone());
                async move { run(conn, &ctx, &allocate).await }.boxed()
            })
            .await?)
    }

    /// Lets a held reservation end so many seconds from now, never earlier than it would.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND; Precondition RESERVATION_ENDED.
    pub async fn extend_reservation(&self, ctx: &Ctx, order: OrderId, hold_s: i32) -> Result<Reservation, Fault> {
        let until = ctx.now.saturating_add(SignedDuration::from_secs(hold_s.into())).map_err(Fault::internal)?;
        // What the database keeps of it.
        let until = Timestamp::from_microsecond(until.as_microsecond()).map_err(Fault::internal)?;
        let context = ctx.clone();
        Ok(self
            .pg
            .tx("inventory.extend", ctx.tenant, move |conn| {
                let ctx = context.clone();
                async move { extend(conn, &ctx, order, until).await }.boxed()
            })
            .await?)
    }
}

/// Binds units to a fulfillment inside a transaction.
pub(crate) async fn run(
    conn: &mut pg::Conn,
    ctx: &Ctx,
    allocate: &AllocateReservation,
) -> Result<Reservation, pg::Error> {
    let AllocateReservation { order, warehouse, fulfillment } = allocate;
    let found = store::lock(conn, ctx.tenant, &[*order], &[]).await?.reservations.pop();
    let found = found.ok_or_else(|| no_reservation(*order))?;
    let Some(next) = found.allocate(warehouse, *fulfillment).map_err(|why| refusal(why, &found))? else {
        return Ok(found);
    };
    let event = StockAllocated {
        reservation_id: found.id.to_string(),
        order_id: order.to_string(),
        warehouse: warehouse.clone(),
        fulfillment_id: fulfillment.to_string(),
    };
    store::allocate(conn, ctx, &next, warehouse, *fulfillment, store::event(&event)).await?;
    Ok(next)
}

fn refusal(why: NotAllocated, found: &Reservation) -> Fault {
    let reason = match why {
        NotAllocated::Ended => return ended(found),
        NotAllocated::Held => "RESERVATION_NOT_CONFIRMED",
        NotAllocated::Nothing => "NOTHING_SET_ASIDE",
        NotAllocated::Taken => "ALLOCATED_ELSEWHERE",
    };
    Fault::precondition(reason, why.to_string())
}

async fn extend(conn: &mut pg::Conn, ctx: &Ctx, order: OrderId, until: Timestamp) -> Result<Reservation, pg::Error> {
    let found = store::lock(conn, ctx.tenant, &[order], &[]).await?.reservations.pop();
    let found = found.ok_or_else(|| no_reservation(order))?;
    match found.extend(until) {
        Step::Stay => Ok(found),
        Step::Refuse => Err(ended(&found).into()),
        Step::Go => {
            let event = StockReservationExtended { reservation_id: found.id.to_string(), order_id: order.to_string() };
            store::extend(conn, ctx, &found, until, store::event(&event)).await?;
            Ok(Reservation { expires_at: until, version: found.version + 1, ..found })
        }
    }
}
