//! A fulfillment that was asked for works on what is set aside in its warehouse (INV-04).

use contract::Event as _;
use contract::fulfillment::v1::FulfillmentRequested;
use contract::order::v1::OrderDelivered;
use fault::Fault;
use futures::FutureExt;
use outbox::{Delivery, Subscription};

use super::use_up;
use crate::commands::AllocateReservation;
use crate::commands::allocate_reservation::run;

/// What inventory listens to.
pub fn subscription() -> Subscription {
    Subscription::new("inventory")
        .on(FulfillmentRequested::TYPE, |conn, delivery| async move { requested(conn, &delivery).await }.boxed())
        .on(OrderDelivered::TYPE, |conn, delivery| async move { use_up::delivered(conn, &delivery).await }.boxed())
}

async fn requested(conn: &mut pg::Conn, delivery: &Delivery) -> Result<(), pg::Error> {
    let event: FulfillmentRequested = delivery.decode()?;
    let allocate = AllocateReservation {
        order: event.order_id.parse().map_err(Fault::internal)?,
        warehouse: event.warehouse,
        fulfillment: event.fulfillment_id.parse().map_err(Fault::internal)?,
    };
    match run(conn, &delivery.ctx, &allocate).await {
        // Given back meanwhile, or never set aside here: nothing is left to bind, now or later.
        Err(pg::Error::Fault(fault)) if matches!(fault.kind(), fault::Kind::Precondition | fault::Kind::NotFound) => {
            tracing::debug!(order = %allocate.order, reason = fault.reason(), "a fulfillment without its units");
            Ok(())
        }
        done => done.map(drop),
    }
}
