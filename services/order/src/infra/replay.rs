//! An order out of its events: from its newest snapshot, or from the first (ORD-37, ORD-38).
//!
//! The schema's `project` keeps the picture as a snapshot at every fiftieth event, in the commit of that event.

mod upcasts;

use contract::order::v1 as wire;
use eventlog::{Fold, Recorded, Replay};
use fault::Fault;
use ids::{OrderId, TenantId};
use pg::Conn;
use prost::Message;

use self::upcasts::UPCASTS;
use crate::domain::event::OrderEvent;
use crate::domain::order::Order;
use crate::infra::store::wire_time;

const ORDER: Fold<Order> = Fold { schema_rev: Order::REV, upcasts: &UPCASTS, open, apply };

fn open(state: &[u8]) -> Option<Order> {
    wire::Order::decode(state).ok().map(Order::of_doc)
}

fn apply(order: &mut Order, event: &Recorded) -> Result<(), Fault> {
    let decoded = OrderEvent::decode(&event.type_name, &event.payload)
        .ok_or_else(|| Fault::internal(format!("event {} of an order cannot be read", event.event_id)))?;
    order.apply(&decoded, wire_time(event.occurred_at));
    Ok(())
}

/// Adds up an order from its snapshot and the at most fifty events behind it.
///
/// # Errors
/// Internal when an event cannot be read.
pub async fn replay(conn: &mut Conn, tenant: TenantId, id: OrderId) -> Result<Replay<Order>, pg::Error> {
    eventlog::replay(conn, tenant, id.uuid(), &ORDER).await
}

/// Adds up an order from its first event.
///
/// # Errors
/// As [`replay`].
pub async fn replay_from_first(conn: &mut Conn, tenant: TenantId, id: OrderId) -> Result<Replay<Order>, pg::Error> {
    eventlog::replay_from_first(conn, tenant, id.uuid(), &ORDER).await
}

/// The picture without the time of its last change: who decides and who writes it down look at different clocks.
pub fn timeless(order: &Order) -> wire::Order {
    wire::Order { update_time: None, ..order.doc.clone() }
}

#[cfg(test)]
mod tests;
