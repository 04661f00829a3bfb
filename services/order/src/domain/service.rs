//! Service requests: time is booked and given, nothing is packed or sent (ORD-46).

use contract::order::v1 as wire;
use contract::order::v1::{OrderKind, OrderState};

use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};

impl Order {
    /// The booked service was given: all units of all lines at once.
    ///
    /// # Errors
    /// [`Refusal::Already`] when it was said before; [`Refusal::State`] for goods, and before it is booked.
    pub fn complete_service(&self) -> Result<Vec<OrderEvent>, Refusal> {
        match (self.doc.kind(), self.state()) {
            (OrderKind::ServiceRequest, OrderState::Delivered) => return Err(Refusal::Already),
            (OrderKind::ServiceRequest, OrderState::FulfillmentPending) => {}
            (_, state) => return Err(Refusal::State(state)),
        }
        let (order_id, customer_id) = self.names();
        let given = |line: &wire::OrderLine| wire::LineQuantity {
            line: line.line,
            quantity: line.quantity - line.cancelled - line.delivered,
        };
        let lines: Vec<_> = self.doc.lines.iter().map(given).collect();
        let begun = wire::OrderShipped {
            order_id: order_id.clone(),
            shipment: None,
            lines: lines.clone(),
            customer_id: customer_id.clone(),
        };
        let given = wire::OrderDelivered { order_id, shipment_id: String::new(), lines, customer_id };
        let begun = OrderEvent::Shipped(begun);
        let after = self.after(std::slice::from_ref(&begun), prost_types::Timestamp::default());
        let mut events = vec![begun];
        events.extend(after.with_derived_state(OrderEvent::Delivered(given))?);
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn booked(kind: OrderKind) -> Order {
        let line = wire::OrderLine { line: 1, sku: "CUT".to_owned(), quantity: 2, ..Default::default() };
        let created = wire::OrderCreated { lines: vec![line], kind: kind.into(), ..Default::default() };
        Order::default().after(&Order::place(created), Timestamp::default())
    }

    fn at(order: Order, state: OrderState) -> Order {
        let changed = wire::OrderStatusChanged { to: state.into(), ..Default::default() };
        order.after(&[OrderEvent::StatusChanged(changed)], Timestamp::default())
    }

    #[test]
    fn ord_46_a_booked_service_is_given_at_once_and_goods_never_are() {
        let order = at(booked(OrderKind::ServiceRequest), OrderState::FulfillmentPending);
        let given = order.after(&order.complete_service().expect("it is booked"), Timestamp::default());
        assert_eq!(given.state(), OrderState::Delivered);
        assert_eq!((given.doc.lines[0].shipped, given.doc.lines[0].delivered), (2, 2));
        assert_eq!(given.complete_service(), Err(Refusal::Already));
        let early = booked(OrderKind::ServiceRequest);
        assert_eq!(early.complete_service(), Err(Refusal::State(OrderState::Pending)));
        let goods = at(booked(OrderKind::Purchase), OrderState::FulfillmentPending);
        assert_eq!(goods.complete_service(), Err(Refusal::State(OrderState::FulfillmentPending)));
    }
}
