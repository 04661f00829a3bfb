//! Takes the units of a shipment out of the warehouse, once (INV-16).

use std::sync::Arc;

use contract::inventory::v1::StockConsumed;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::{OrderId, ShipmentId};

use super::{Inventory, ended, no_reservation};
use crate::reservation::{Reservation, State, Step};
use crate::stock::Demand;
use crate::store;

/// Units that left with a shipment.
#[derive(Debug, Clone)]
pub struct ConsumeReservation {
    /// The order.
    pub order: OrderId,
    /// The shipment.
    pub shipment: ShipmentId,
    /// The warehouse they leave.
    pub warehouse: String,
    /// Each SKU once, sorted.
    pub lines: Vec<Demand>,
}

impl Inventory {
    /// Takes units out of stock; the same shipment again changes nothing.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND; Precondition RESERVATION_ENDED, RESERVATION_NOT_CONFIRMED,
    /// CONSUME_EXCEEDS_ALLOCATION with the SKUs, SHIPMENT_TAKEN.
    pub async fn consume_reservation(&self, ctx: &Ctx, consume: ConsumeReservation) -> Result<Reservation, Fault> {
        let (context, consume) = (ctx.clone(), Arc::new(consume));
        match self
            .pg
            .tx("inventory.consume", ctx.tenant, move |conn| {
                let (ctx, consume) = (context.clone(), consume.clone());
                async move { run(conn, &ctx, &consume).await }.boxed()
            })
            .await
        {
            Err(error) if pg::is_unique(&error, "consumptions_pkey") => Err(taken()),
            done => Ok(done?),
        }
    }
}

/// [`Inventory::consume_reservation`] inside a transaction.
pub(crate) async fn run(
    conn: &mut pg::Conn,
    ctx: &Ctx,
    consume: &ConsumeReservation,
) -> Result<Reservation, pg::Error> {
    let ConsumeReservation { order, shipment, warehouse, lines } = consume;
    let locked = store::lock(conn, ctx.tenant, &[*order], &[]).await?;
    let found = locked.reservations.into_iter().next().ok_or_else(|| no_reservation(*order))?;
    match store::shipment_order(conn, ctx.tenant, *shipment).await? {
        Some(owner) if owner == *order => return Ok(found),
        Some(_) => return Err(taken().into()),
        None => {}
    }
    if found.consume() == Step::Refuse {
        return Err(refusal(&found).into());
    }
    found.leave(warehouse, lines).map_err(|overdrawn| {
        Fault::precondition("CONSUME_EXCEEDS_ALLOCATION", overdrawn.to_string()).with("skus", overdrawn.skus.join(","))
    })?;
    let event = StockConsumed {
        reservation_id: found.id.to_string(),
        order_id: order.to_string(),
        shipment_id: shipment.to_string(),
    };
    store::consume(conn, ctx, &found, *shipment, (warehouse, lines), store::event(&event)).await?;
    Ok(found.after_leaving(warehouse, lines))
}

fn refusal(found: &Reservation) -> Fault {
    match found.state {
        State::Held => Fault::precondition("RESERVATION_NOT_CONFIRMED", "the reservation is not confirmed yet"),
        _ => ended(found),
    }
}

fn taken() -> Fault {
    Fault::precondition("SHIPMENT_TAKEN", "the shipment took units of another order")
}
