//! What we do when others have done something: the table of events and the messages they cause (NOT-01).

use contract::Event;
use contract::common::v1::Money;
use contract::order::v1::{LineQuantity, OrderCancelled, OrderConfirmed, OrderDelivered, OrderRefunded, OrderShipped};
use fault::Fault;
use futures::FutureExt;
use ids::{IdError, OrderId, ShipmentId};
use outbox::{Delivery, Subscription};
use pg::Conn;
use uuid::Uuid;

use crate::model::{Amount, Facts, Kind, Parcel};
use crate::store::{self, New};

/// Each event that customers hear of; nothing else of the bus is looked at.
pub(crate) fn subscription() -> Subscription {
    Subscription::new("notification")
        .on(OrderConfirmed::TYPE, |conn, delivery| async move { confirmed(conn, &delivery).await }.boxed())
        .on(OrderShipped::TYPE, |conn, delivery| async move { shipped(conn, &delivery).await }.boxed())
        .on(OrderDelivered::TYPE, |conn, delivery| async move { delivered(conn, &delivery).await }.boxed())
        .on(OrderCancelled::TYPE, |conn, delivery| async move { cancelled(conn, &delivery).await }.boxed())
        .on(OrderRefunded::TYPE, |conn, delivery| async move { refunded(conn, &delivery).await }.boxed())
}

/// Once for each order, however often it is confirmed (ORD-33).
pub(crate) async fn confirmed(conn: &mut Conn, delivery: &Delivery) -> Result<(), pg::Error> {
    let event: OrderConfirmed = delivery.decode()?;
    let order = order_id(&event.order_id)?;
    let facts = Facts::default();
    tell(conn, delivery, Kind::OrderConfirmation, order.uuid(), order, &event.customer_id, facts).await
}

/// Once for each parcel; of a service nothing is sent.
pub(crate) async fn shipped(conn: &mut Conn, delivery: &Delivery) -> Result<(), pg::Error> {
    let event: OrderShipped = delivery.decode()?;
    let Some(shipment) = event.shipment else { return Ok(()) };
    let order = order_id(&event.order_id)?;
    let cause = shipment_id(&shipment.shipment_id)?;
    let parcel =
        Parcel { carrier: shipment.carrier, tracking_number: shipment.tracking_number, lines: lines(&event.lines) };
    let facts = Facts { parcel: Some(parcel), ..Facts::default() };
    tell(conn, delivery, Kind::ShipmentTracking, cause.uuid(), order, &event.customer_id, facts).await
}

/// Once for each parcel; a service that was given does not arrive.
pub(crate) async fn delivered(conn: &mut Conn, delivery: &Delivery) -> Result<(), pg::Error> {
    let event: OrderDelivered = delivery.decode()?;
    if event.shipment_id.is_empty() {
        return Ok(());
    }
    let order = order_id(&event.order_id)?;
    let cause = shipment_id(&event.shipment_id)?;
    let parcel = Parcel { lines: lines(&event.lines), ..Parcel::default() };
    let facts = Facts { parcel: Some(parcel), ..Facts::default() };
    tell(conn, delivery, Kind::Delivery, cause.uuid(), order, &event.customer_id, facts).await
}

/// Once for each order; nobody is told of a draft that is thrown away.
pub(crate) async fn cancelled(conn: &mut Conn, delivery: &Delivery) -> Result<(), pg::Error> {
    let event: OrderCancelled = delivery.decode()?;
    if event.draft {
        return Ok(());
    }
    let order = order_id(&event.order_id)?;
    let facts = Facts::default();
    tell(conn, delivery, Kind::Cancellation, order.uuid(), order, &event.customer_id, facts).await
}

/// Once for each refund, which has an event of its own.
pub(crate) async fn refunded(conn: &mut Conn, delivery: &Delivery) -> Result<(), pg::Error> {
    let event: OrderRefunded = delivery.decode()?;
    let order = order_id(&event.order_id)?;
    let facts = Facts { refunded: event.refunded.map(amount), ..Facts::default() };
    tell(conn, delivery, Kind::Refund, delivery.event_id, order, &event.customer_id, facts).await
}

/// In one transaction with the inbox row.
async fn tell(
    conn: &mut Conn,
    delivery: &Delivery,
    kind: Kind,
    cause: Uuid,
    order: OrderId,
    customer: &str,
    facts: Facts,
) -> Result<(), pg::Error> {
    let customer = customer.parse().map_err(unreadable)?;
    if store::create(conn, &delivery.ctx, New { kind, cause, order, customer, facts }).await? {
        metrics::counter!("notification_messages_total", "kind" => format!("{kind:?}")).increment(1);
    }
    Ok(())
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
