//! Messages to values and back.

use std::str::FromStr;

use contract::common::v1 as common;
use contract::fulfillment::v1 as fulfillment;
use contract::inventory::v1::DemandLine;
use contract::shipping::v1 as pb;
use fault::Fault;
use ids::{FulfillmentId, OrderId, ShipmentId};
use jiff::Timestamp;
use tonic::Request;

use super::ingest::Webhook;
use super::list::List;
use crate::model::{Address, Amount, Body, Line, Scan, Shipment};
use crate::scans::State;

/// Where carriers put their signature.
const SIGNATURE: &str = "x-carrier-signature";

pub(crate) fn shipment_id(text: &str) -> Result<ShipmentId, Fault> {
    id("shipment_id", text)
}

fn id<T: FromStr<Err = ids::IdError>>(field: &'static str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error: ids::IdError| Fault::invalid(field, "INVALID_ID", error.to_string()))
}

pub(crate) fn list(request: pb::ListShipmentsRequest) -> Result<List, Fault> {
    let size = serve::page::size(request.page_size)?;
    let order = match request.order_id.as_str() {
        "" => None,
        text => Some(id("order_id", text)?),
    };
    Ok(List { size, token: request.page_token, order })
}

/// A signature that is missing or not text is an empty one, which never fits.
pub(crate) fn webhook(request: Request<pb::IngestCarrierWebhookRequest>) -> Webhook {
    let signature = request.metadata().get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let message = request.into_inner();
    let body = message.payload.map(|payload| payload.data.to_vec()).unwrap_or_default();
    Webhook { carrier: message.carrier, tenant: message.tenant_id, signature, body }
}

/// What an event of fulfillment says about the parcel.
pub(crate) fn packed(work: fulfillment::Fulfillment) -> Result<(OrderId, FulfillmentId, Body), Fault> {
    let Some(capture) = work.capture_amount else {
        return Err(Fault::internal("a packed fulfillment without money"));
    };
    let line = |line: fulfillment::FulfillmentLine| Line { line: line.line, sku: line.sku, quantity: line.quantity };
    let body = Body {
        warehouse: work.warehouse,
        lines: work.lines.into_iter().map(line).collect(),
        service: work.shipping_service,
        capture: Amount { currency: capture.currency_code, minor: capture.amount_minor },
        final_capture: work.final_capture,
        weight_grams: work.weight_grams,
    };
    Ok((id("order_id", &work.order_id)?, id("fulfillment.id", &work.id)?, body))
}

pub(crate) fn address(address: common::Address) -> Address {
    let common::Address { recipient, line1, line2, city, region, postal_code, country_code, .. } = address;
    Address { recipient, line1, line2, city, region, postal_code, country_code }
}

pub(crate) fn money(amount: &Amount) -> common::Money {
    common::Money { currency_code: amount.currency.clone(), amount_minor: amount.minor }
}

pub(crate) fn lines(lines: &[Line]) -> Vec<fulfillment::FulfillmentLine> {
    lines
        .iter()
        .map(|line| fulfillment::FulfillmentLine { line: line.line, sku: line.sku.clone(), quantity: line.quantity })
        .collect()
}

pub(crate) fn demand(lines: &[Line]) -> Vec<DemandLine> {
    lines
        .iter()
        .map(|line| DemandLine { sku: line.sku.clone(), quantity: line.quantity, slot_id: String::new() })
        .collect()
}

/// `scans` are those of the shipment, opened.
pub(crate) fn shipment(shipment: &Shipment, scans: Vec<Scan>) -> pb::Shipment {
    let label = shipment.label.as_ref();
    let scan = |Scan { code, at, location }| pb::Scan { code, location, occur_time: Some(timestamp(at)) };
    pb::Shipment {
        id: shipment.id().to_string(),
        order_id: shipment.order().to_string(),
        fulfillment_id: shipment.fulfillment().to_string(),
        warehouse: shipment.body.warehouse.clone(),
        state: state(shipment.state).into(),
        lines: lines(&shipment.body.lines),
        carrier: label.map_or_else(String::new, |label| label.carrier.clone()),
        service: shipment.body.service.clone(),
        tracking_number: label.map_or_else(String::new, |label| label.tracking_number.clone()),
        label_cost: label.map(|label| money(&label.cost)),
        scans: scans.into_iter().map(scan).collect(),
        create_time: Some(timestamp(shipment.created_at)),
    }
}

fn state(state: State) -> pb::ShipmentState {
    match state {
        State::Created => pb::ShipmentState::Created,
        State::Labeled => pb::ShipmentState::Labeled,
        State::Shipped => pb::ShipmentState::Shipped,
        State::InTransit => pb::ShipmentState::InTransit,
        State::OutForDelivery => pb::ShipmentState::OutForDelivery,
        State::Delivered => pb::ShipmentState::Delivered,
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
