//! What we do when others have done something.

use std::sync::Arc;

use contract::Event;
use contract::fulfillment::v1::FulfillmentPacked;
use fault::Fault;
use futures::FutureExt;
use ids::ShipmentId;
use outbox::{Delivery, Subscription};
use pg::Conn;
use saga::Definition;
use serde_json::json;

use crate::api::wire;
use crate::store;

/// Packed parcels get a shipment and the saga that sends them off.
pub(crate) fn subscription(ship: Definition) -> Subscription {
    let ship = Arc::new(ship);
    Subscription::new("shipping").on(FulfillmentPacked::TYPE, move |conn, delivery| {
        let ship = Arc::clone(&ship);
        async move { packed(conn, &delivery, &ship).await }.boxed()
    })
}

/// In one transaction with the inbox row: the shipment, its first event, its saga.
pub(crate) async fn packed(conn: &mut Conn, delivery: &Delivery, ship: &Definition) -> Result<(), pg::Error> {
    let event: FulfillmentPacked = delivery.decode()?;
    let work = event.fulfillment.ok_or_else(|| Fault::internal("FulfillmentPacked without its fulfillment"))?;
    let (order, fulfillment, body) = wire::packed(work)?;
    let id = ShipmentId::new();
    if store::create(conn, &delivery.ctx, id, order, fulfillment, &body).await? {
        saga::start(conn, &delivery.ctx, ship, id.uuid(), json!({})).await?;
    }
    Ok(())
}
