//! What we publish.

use contract::Event;
use contract::shipping::v1 as pb;
use eventlog::NewEvent;
use ids::{FulfillmentId, OrderId, ShipmentId};

use crate::api::wire;
use crate::model::{Label, Shipment};

fn event<E: Event>(event: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, event.encode_to_vec())
}

pub(crate) fn created(order: OrderId, id: ShipmentId, fulfillment: FulfillmentId) -> NewEvent {
    event(&pb::ShipmentCreated {
        order_id: order.to_string(),
        shipment_id: id.to_string(),
        fulfillment_id: fulfillment.to_string(),
    })
}

pub(crate) fn label_purchased(shipment: &Shipment, label: &Label) -> NewEvent {
    event(&pb::LabelPurchased {
        order_id: shipment.order().to_string(),
        shipment_id: shipment.id().to_string(),
        carrier: label.carrier.clone(),
        tracking_number: label.tracking_number.clone(),
    })
}

pub(crate) fn shipped(shipment: &Shipment, label: &Label) -> NewEvent {
    event(&pb::ShipmentShipped {
        order_id: shipment.order().to_string(),
        shipment_id: shipment.id().to_string(),
        warehouse: shipment.body.warehouse.clone(),
        carrier: label.carrier.clone(),
        tracking_number: label.tracking_number.clone(),
        lines: wire::lines(&shipment.body.lines),
    })
}

pub(crate) fn delivered(shipment: &Shipment) -> NewEvent {
    event(&pb::ShipmentDelivered {
        order_id: shipment.order().to_string(),
        shipment_id: shipment.id().to_string(),
        lines: wire::lines(&shipment.body.lines),
    })
}
