//! A booked service was given: what was set aside for it is used up, as no parcel takes it along (ORD-46).

use std::collections::BTreeMap;

use contract::order::v1::OrderDelivered;
use fault::{Fault, Kind};
use ids::{OrderId, ShipmentId};
use outbox::Delivery;
use uuid::Uuid;

use crate::commands::ConsumeReservation;
use crate::commands::consume_reservation::run;
use crate::stock::Demand;
use crate::store;

/// Takes what is left of the order's reservation out of stock; of goods every parcel does so itself.
pub(super) async fn delivered(conn: &mut pg::Conn, delivery: &Delivery) -> Result<(), pg::Error> {
    let event: OrderDelivered = delivery.decode()?;
    if !event.shipment_id.is_empty() {
        return Ok(());
    }
    let (ctx, order) = (&delivery.ctx, event.order_id.parse::<OrderId>().map_err(Fault::internal)?);
    let Some(found) = store::lock(conn, ctx.tenant, &[order], &[]).await?.reservations.pop() else { return Ok(()) };
    let mut places: BTreeMap<String, Vec<Demand>> = BTreeMap::new();
    for left in found.allocations.into_iter().filter(|allocation| allocation.quantity > allocation.consumed) {
        let quantity = left.quantity - left.consumed;
        places.entry(left.warehouse).or_default().push(Demand { sku: left.sku, quantity });
    }
    for (warehouse, lines) in places {
        // Nothing was sent; the same name each time, so that a repeat takes nothing more.
        let shipment = ShipmentId::from_uuid(Uuid::new_v5(&order.uuid(), warehouse.as_bytes()));
        match run(conn, ctx, &ConsumeReservation { order, shipment, warehouse, lines }).await {
            // Given back meanwhile: nothing is booked any more.
            Err(pg::Error::Fault(fault)) if fault.kind() == Kind::Precondition => {
                tracing::warn!(%order, reason = fault.reason(), "a service was given without what was booked for it");
            }
            done => drop(done?),
        }
    }
    Ok(())
}
