//! What we publish.

use contract::Event;
use contract::fulfillment::v1 as pb;
use eventlog::NewEvent;

use crate::api::wire;
use crate::model::Fulfillment;
use crate::state::State;

fn event<E: Event>(event: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, event.encode_to_vec())
}

pub(crate) fn requested(order: ids::OrderId, id: ids::FulfillmentId, warehouse: &str) -> NewEvent {
    event(&pb::FulfillmentRequested {
        order_id: order.to_string(),
        fulfillment_id: id.to_string(),
        warehouse: warehouse.to_owned(),
    })
}

pub(crate) fn accepted(work: &Fulfillment, wms_order_id: &str) -> NewEvent {
    event(&pb::FulfillmentAccepted {
        order_id: work.order().to_string(),
        fulfillment_id: work.id().to_string(),
        wms_order_id: wms_order_id.to_owned(),
    })
}

/// The event of entering a state; `work` is already in it. Entering the first two is told by the commands themselves.
pub(crate) fn entered(work: &Fulfillment) -> Option<NewEvent> {
    let (order_id, fulfillment_id) = (work.order().to_string(), work.id().to_string());
    Some(match work.state {
        State::Submitting | State::Submitted => return None,
        State::Picking => event(&pb::FulfillmentStarted { order_id, fulfillment_id }),
        State::Packed => {
            // Who sends the parcel asks for the address: what is published stays in logs for ever (PAY-12).
            let fulfillment = Some(wire::fulfillment(work, None));
            event(&pb::FulfillmentPacked { order_id, fulfillment_id, fulfillment })
        }
        State::Shipped => event(&pb::FulfillmentShipped { order_id, fulfillment_id }),
        State::Cancelled => {
            let by_warehouse = !work.cancel_requested;
            event(&pb::FulfillmentCancelled { order_id, fulfillment_id, by_warehouse, revision: work.revision })
        }
    })
}
