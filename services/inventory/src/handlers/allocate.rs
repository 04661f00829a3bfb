//! A fulfillment that was asked for works on what is set aside in its warehouse (INV-04).

use std::sync::Arc;

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
        .on_all(FulfillmentRequested::TYPE, |conn, deliveries| {
            async move { requested(conn, &deliveries).await }.boxed()
        })
        .on(OrderDelivered::TYPE, |conn, delivery| async move { use_up::delivered(conn, &delivery).await }.boxed())
}

async fn requested(conn: &mut pg::Conn, deliveries: &[Arc<Delivery>]) -> Result<(), pg::Error> {
    let Some(tenant) = deliveries.first().map(|delivery| delivery.ctx.tenant) else { return Ok(()) };
    let asked = deliveries.iter().map(|delivery| Ok((delivery.ctx.clone(), wanted(delivery)?)));
    let asked = asked.collect::<Result<Vec<_>, Fault>>()?;
    for (answer, (_, allocate)) in run(conn, tenant, &asked).await?.into_iter().zip(&asked) {
        match answer {
            // Given back meanwhile, or never set aside here: nothing is left to bind, now or later.
            Err(fault) if matches!(fault.kind(), fault::Kind::Precondition | fault::Kind::NotFound) => {
                tracing::debug!(order = %allocate.order, reason = fault.reason(), "a fulfillment without its units");
            }
            done => drop(done?),
        }
    }
    Ok(())
}

fn wanted(delivery: &Delivery) -> Result<AllocateReservation, Fault> {
    let event: FulfillmentRequested = delivery.decode()?;
    Ok(AllocateReservation {
        order: event.order_id.parse().map_err(Fault::internal)?,
        warehouse: event.warehouse,
        fulfillment: event.fulfillment_id.parse().map_err(Fault::internal)?,
    })
}
