//! A fulfillment was called off: what is set aside for it waits for another one (INV-04).

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::fulfillment::v1::FulfillmentCancelled;
use fault::Fault;
use ids::{FulfillmentId, OrderId};
use outbox::Delivery;

use crate::reservation::Reservation;
use crate::store;

/// Takes units from fulfillments of one tenant, and remembers that they are over.
pub(super) async fn cancelled(conn: &mut pg::Conn, deliveries: &[Arc<Delivery>]) -> Result<(), pg::Error> {
    let Some(tenant) = deliveries.first().map(|delivery| delivery.ctx.tenant) else { return Ok(()) };
    let gone = deliveries.iter().map(|delivery| over(delivery)).collect::<Result<Vec<_>, Fault>>()?;
    let orders: Vec<OrderId> = gone.iter().map(|(order, _)| *order).collect();
    let locked = store::lock(conn, tenant, &orders, &[]).await?;
    let mut found: BTreeMap<OrderId, Reservation> = locked.reservations.into_iter().map(|it| (it.order, it)).collect();
    for (order, fulfillment) in gone {
        // Of an order that has nothing set aside nothing was ever bound.
        if let Some(next) = found.get(&order).and_then(|it| it.call_off(fulfillment)) {
            store::call_off(conn, tenant, order, fulfillment, next.state).await?;
            found.insert(order, next);
        }
    }
    Ok(())
}

fn over(delivery: &Delivery) -> Result<(OrderId, FulfillmentId), Fault> {
    let event: FulfillmentCancelled = delivery.decode()?;
    Ok((event.order_id.parse().map_err(Fault::internal)?, event.fulfillment_id.parse().map_err(Fault::internal)?))
}
