//! What other services' events do to an order, each in one transaction with its inbox row (choreography after the
//! warehouse has accepted, requirements X2).

use std::sync::Arc;

use contract::Event as _;
use contract::fulfillment::v1::FulfillmentStarted;
use contract::identity::v1::PolicyChanged;
use contract::inventory::v1::ProductChanged;
use contract::order::v1 as wire;
use contract::payment::v1::{PaymentAuthorized, PaymentCaptured, PaymentDeclined};
use contract::shipping::v1::{ShipmentDelivered, ShipmentShipped};
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::OrderId;
use outbox::{Delivery, Subscription};
use pg::Conn;

use crate::app::cancel_order::refused;
use crate::app::place_saga;
use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};
use crate::infra::catalog::Catalog;
use crate::infra::store::Store;

type Handled<'c> = BoxFuture<'c, Result<(), pg::Error>>;

/// What the order service listens to.
pub fn subscription(catalog: Catalog) -> Subscription {
    let products = catalog.clone();
    Subscription::new("order")
        .on(PaymentAuthorized::TYPE, |conn, delivery| {
            wake::<PaymentAuthorized>(conn, delivery, |event| &event.order_id)
        })
        .on(PaymentDeclined::TYPE, |conn, delivery| wake::<PaymentDeclined>(conn, delivery, |event| &event.order_id))
        .on(PaymentCaptured::TYPE, |conn, delivery| {
            react::<PaymentCaptured>(
                conn,
                delivery,
                |event| &event.order_id,
                |order, event| {
                    Ok(event.captured_total.clone().map(|total| order.note_capture(total)).unwrap_or_default())
                },
            )
        })
        .on(FulfillmentStarted::TYPE, |conn, delivery| {
            react::<FulfillmentStarted>(conn, delivery, |event| &event.order_id, |order, _| order.start_fulfillment())
        })
        .on(ShipmentShipped::TYPE, |conn, delivery| {
            react::<ShipmentShipped>(
                conn,
                delivery,
                |event| &event.order_id,
                |order, event| {
                    let parcel = wire::ShipmentSummary {
                        shipment_id: event.shipment_id.clone(),
                        warehouse: event.warehouse.clone(),
                        carrier: event.carrier.clone(),
                        tracking_number: event.tracking_number.clone(),
                        state: "SHIPPED".to_owned(),
                    };
                    order.ship(parcel, &event.lines)
                },
            )
        })
        .on(ShipmentDelivered::TYPE, |conn, delivery| {
            react::<ShipmentDelivered>(
                conn,
                delivery,
                |event| &event.order_id,
                |order, event| order.deliver(&event.shipment_id, &event.lines),
            )
        })
        .on(ProductChanged::TYPE, move |_, delivery| {
            let catalog = products.clone();
            async move {
                let event: ProductChanged = delivery.decode()?;
                catalog.forget_product(delivery.ctx.tenant, event.sku).await;
                Ok(())
            }
            .boxed()
        })
        .on(PolicyChanged::TYPE, move |_, delivery| {
            let catalog = catalog.clone();
            async move {
                catalog.forget_policy(delivery.ctx.tenant).await;
                Ok(())
            }
            .boxed()
        })
}

/// The order's saga looks again: what its payment step waits for may have come.
fn wake<E: prost::Message + Default + 'static>(
    conn: &mut Conn,
    delivery: Arc<Delivery>,
    order: fn(&E) -> &str,
) -> Handled<'_> {
    async move {
        let event: E = delivery.decode()?;
        let id: OrderId = order(&event).parse().map_err(Fault::internal)?;
        saga::wake(conn, delivery.ctx.tenant, id.uuid(), place_saga::AUTHORIZE).await?;
        Ok(())
    }
    .boxed()
}

/// A decision on the order, unless it was made before. One that the state forbids now is tried again: the event may
/// have overtaken the saga's own commit.
fn react<E: prost::Message + Default + 'static>(
    conn: &mut Conn,
    delivery: Arc<Delivery>,
    order: fn(&E) -> &str,
    decide: fn(&Order, &E) -> Result<Vec<OrderEvent>, Refusal>,
) -> Handled<'_> {
    async move {
        let event: E = delivery.decode()?;
        let id: OrderId = order(&event).parse().map_err(Fault::internal)?;
        let order = Store::get_in(conn, delivery.ctx.tenant, id).await?;
        match decide(&order, &event) {
            Ok(events) if events.is_empty() => Ok(()),
            Ok(events) => Store::append(conn, &delivery.ctx, &order, &events).await.map(drop),
            Err(Refusal::Already) => Ok(()),
            Err(why) => Err(refused(&why).into()),
        }
    }
    .boxed()
}
