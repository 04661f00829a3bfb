//! What we do when others have done something: the table of events and the messages they cause (NOT-01).

use std::sync::Arc;

use contract::Event;
use contract::common::v1::Money;
use contract::order::v1::{LineQuantity, OrderCancelled, OrderConfirmed, OrderDelivered, OrderRefunded, OrderShipped};
use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::{IdError, OrderId, ShipmentId};
use outbox::{Delivery, Subscription};
use pg::Conn;
use uuid::Uuid;

use crate::model::{Amount, Facts, Kind, Parcel};
use crate::store::{self, New};

/// What a customer is told of an event, if anything.
type About = Result<Option<New>, Fault>;

/// Each event that customers hear of; nothing else of the bus is looked at.
pub(crate) fn subscription() -> Subscription {
    Subscription::new("notification")
        .on_all(OrderConfirmed::TYPE, |conn, deliveries| tell(conn, deliveries, confirmed))
        .on_all(OrderShipped::TYPE, |conn, deliveries| tell(conn, deliveries, shipped))
        .on_all(OrderDelivered::TYPE, |conn, deliveries| tell(conn, deliveries, delivered))
        .on_all(OrderCancelled::TYPE, |conn, deliveries| tell(conn, deliveries, cancelled))
        .on_all(OrderRefunded::TYPE, |conn, deliveries| tell(conn, deliveries, refunded))
}

/// Once for each order, however often it is confirmed (ORD-33).
pub(crate) fn confirmed(delivery: &Delivery) -> About {
    let event: OrderConfirmed = delivery.decode()?;
    let order = order_id(&event.order_id)?;
    let facts = Facts::default();
    about(Kind::OrderConfirmation, order.uuid(), order, &event.customer_id, facts)
}

/// Once for each parcel; of a service nothing is sent.
pub(crate) fn shipped(delivery: &Delivery) -> About {
    let event: OrderShipped = delivery.decode()?;
    let Some(shipment) = event.shipment else { return Ok(None) };
    let order = order_id(&event.order_id)?;
    let cause = shipment_id(&shipment.shipment_id)?;
    let parcel =
        Parcel { carrier: shipment.carrier, tracking_number: shipment.tracking_number, lines: lines(&event.lines) };
    let facts = Facts { parcel: Some(parcel), ..Facts::default() };
    about(Kind::ShipmentTracking, cause.uuid(), order, &event.customer_id, facts)
}

/// Once for each parcel; a service that was given does not arrive.
pub(crate) fn delivered(delivery: &Delivery) -> About {
    let event: OrderDelivered = delivery.decode()?;
    if event.shipment_id.is_empty() {
        return Ok(None);
    }
    let order = order_id(&event.order_id)?;
    let cause = shipment_id(&event.shipment_id)?;
    let parcel = Parcel { lines: lines(&event.lines), ..Parcel::default() };
    let facts = Facts { parcel: Some(parcel), ..Facts::default() };
    about(Kind::Delivery, cause.uuid(), order, &event.customer_id, facts)
}

/// Once for each order; nobody is told of a draft that is thrown away.
pub(crate) fn cancelled(delivery: &Delivery) -> About {
    let event: OrderCancelled = delivery.decode()?;
    if event.draft {
        return Ok(None);
    }
    let order = order_id(&event.order_id)?;
    let facts = Facts::default();
    about(Kind::Cancellation, order.uuid(), order, &event.customer_id, facts)
}

/// Once for each refund, which has an event of its own.
pub(crate) fn refunded(delivery: &Delivery) -> About {
    let event: OrderRefunded = delivery.decode()?;
    let order = order_id(&event.order_id)?;
    let facts = Facts { refunded: event.refunded.map(amount), ..Facts::default() };
    about(Kind::Refund, delivery.event_id, order, &event.customer_id, facts)
}

fn about(kind: Kind, cause: Uuid, order: OrderId, customer: &str, facts: Facts) -> About {
    let customer = customer.parse().map_err(unreadable)?;
    Ok(Some(New { kind, cause, order, customer, facts }))
}

/// In one transaction with the inbox rows.
pub(crate) fn tell(
    conn: &mut Conn,
    deliveries: Vec<Arc<Delivery>>,
    about: fn(&Delivery) -> About,
) -> BoxFuture<'_, Result<(), pg::Error>> {
    async move {
        let Some(tenant) = deliveries.first().map(|delivery| delivery.ctx.tenant) else { return Ok(()) };
        let mut news = Vec::with_capacity(deliveries.len());
        for delivery in &deliveries {
            news.extend(about(delivery)?.map(|new| (&delivery.ctx, new)));
        }
        for kind in store::create(conn, tenant, &news).await? {
            metrics::counter!("notification_messages_total", "kind" => format!("{kind:?}")).increment(1);
        }
        Ok(())
    }
    .boxed()
}

fn order_id(text: &str) -> Result<OrderId, Fault> {
    text.parse().map_err(unreadable)
}

fn shipment_id(text: &str) -> Result<ShipmentId, Fault> {
    text.parse().map_err(unreadable)
}

/// An event that names nothing is parked for a person, not lost.
fn unreadable(error: IdError) -> Fault {
    Fault::internal(error)
}

fn lines(lines: &[LineQuantity]) -> Vec<(i32, i32)> {
    lines.iter().map(|line| (line.line, line.quantity)).collect()
}

fn amount(money: Money) -> Amount {
    Amount { currency: money.currency_code, minor: money.amount_minor }
}
