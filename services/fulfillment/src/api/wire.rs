//! Messages to values and back.

use std::str::FromStr;

use contract::common::v1 as common;
use contract::fulfillment::v1 as pb;
use ctx::Ctx;
use fault::{Fault, Violations};
use ids::{FulfillmentId, OrderId};
use jiff::Timestamp;
use money::Currency;

use crate::commands::cancel::Cancel;
use crate::commands::create::Create;
use crate::commands::ship::Ship;
use crate::model::{Address, Amount, Body, Fulfillment, Line};
use crate::queries::list::List;
use crate::state::State;

/// Order lines of one fulfillment; an order has no more.
const MOST_LINES: usize = 100;
const SERVICES: [&str; 3] = ["STANDARD", "EXPRESS", "OVERNIGHT"];
/// Longest carrier name or tracking number.
const LONGEST_NAME: usize = 64;

pub(crate) fn order_id(text: &str) -> Result<OrderId, Fault> {
    id("order_id", text)
}

pub(crate) fn fulfillment_id(text: &str) -> Result<FulfillmentId, Fault> {
    id("fulfillment_id", text)
}

fn id<T: FromStr<Err = ids::IdError>>(field: &'static str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error: ids::IdError| Fault::invalid(field, "INVALID_ID", error.to_string()))
}

pub(crate) fn create(request: pb::CreateFulfillmentRequest, ctx: &Ctx) -> Result<Create, Fault> {
    let mut wrong = Violations::default();
    let order = order_id(&request.order_id).map_err(|_| wrong.add("order_id", "INVALID_ID", "not an order id"));
    let of_code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=32).contains(&request.warehouse.len()) || !request.warehouse.bytes().all(of_code) {
        wrong.add("warehouse", "INVALID_WAREHOUSE", "must be 1 to 32 of A-Z, 0-9 and hyphen");
    }
    if !SERVICES.contains(&request.shipping_service.as_str()) {
        wrong.add("shipping_service", "UNKNOWN_SERVICE", "must be STANDARD, EXPRESS or OVERNIGHT");
    }
    if request.weight_grams < 0 {
        wrong.add("weight_grams", "NEGATIVE", "must not be negative");
    }
    check_revision(request.revision, &mut wrong);
    let lines = lines(request.lines, &mut wrong);
    let ship_to = address(request.ship_to, &mut wrong);
    let capture = amount(request.capture_amount, &mut wrong);
    wrong.finish()?;
    let (Ok(order), Some(ship_to), Some(capture)) = (order, ship_to, capture) else {
        return Err(Fault::internal("a wrong field was not noted"));
    };
    let body = Body {
        lines,
        shipping_service: request.shipping_service,
        capture,
        final_capture: request.final_capture,
        weight_grams: request.weight_grams,
        correlation_id: ctx.cause.correlation_id.clone(),
        traceparent: ctx.cause.traceparent.clone(),
    };
    Ok(Create { order, warehouse: request.warehouse, revision: request.revision, body, ship_to })
}

pub(crate) fn cancel(request: &pb::CancelFulfillmentRequest) -> Result<Cancel, Fault> {
    let mut wrong = Violations::default();
    check_revision(request.revision, &mut wrong);
    wrong.finish()?;
    Ok(Cancel { order: order_id(&request.order_id)?, revision: request.revision })
}

/// The highest number there is stands for all of them.
fn check_revision(revision: i32, wrong: &mut Violations) {
    if !(0..i32::MAX).contains(&revision) {
        wrong.add("revision", "INVALID_REVISION", "must be 0 or higher");
    }
}

fn lines(lines: Vec<pb::FulfillmentLine>, wrong: &mut Violations) -> Vec<Line> {
    if lines.is_empty() || lines.len() > MOST_LINES {
        wrong.add("lines", "INVALID_LINES", format!("must have 1 to {MOST_LINES} lines"));
    }
    let of_sku = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    for (index, line) in lines.iter().enumerate().take(MOST_LINES) {
        if !(1..=64).contains(&line.sku.len()) || !line.sku.bytes().all(of_sku) {
            let text = "must be 1 to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore";
            wrong.add(format!("lines[{index}].sku"), "INVALID_SKU", text);
        }
        if line.quantity < 1 {
            wrong.add(format!("lines[{index}].quantity"), "INVALID_QUANTITY", "must be at least 1");
        }
    }
    lines.into_iter().map(|line| Line { line: line.line, sku: line.sku, quantity: line.quantity }).collect()
}

fn address(address: Option<common::Address>, wrong: &mut Violations) -> Option<Address> {
    let Some(address) = address else {
        wrong.add("ship_to", "REQUIRED", "must be given");
        return None;
    };
    if address.sealed.is_some() {
        wrong.add("ship_to.sealed", "SEALED_ADDRESS", "an address is sent as it is, not sealed");
    }
    let texts = [
        ("ship_to.recipient", &address.recipient, 1, 200),
        ("ship_to.line1", &address.line1, 1, 200),
        ("ship_to.line2", &address.line2, 0, 200),
        ("ship_to.city", &address.city, 1, 100),
        ("ship_to.region", &address.region, 0, 40),
        ("ship_to.postal_code", &address.postal_code, 0, 20),
        ("ship_to.country_code", &address.country_code, 2, 2),
    ];
    for (field, text, least, most) in texts {
        let length = text.trim().chars().count();
        if length < least {
            wrong.add(field, "REQUIRED", "must be given");
        } else if text.chars().count() > most {
            wrong.add(field, "TOO_LONG", format!("must have at most {most} characters"));
        } else if has_control(text) {
            // The warehouse system's XML has no room for them (XML 1.0 section 2.2), nor has PostgreSQL for NUL.
            wrong.add(field, "CONTROL_CHARACTER", "must have no control characters");
        }
    }
    let common::Address { recipient, line1, line2, city, region, postal_code, country_code, .. } = address;
    Some(Address { recipient, line1, line2, city, region, postal_code, country_code })
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn amount(amount: Option<common::Money>, wrong: &mut Violations) -> Option<Amount> {
    let Some(amount) = amount else {
        wrong.add("capture_amount", "REQUIRED", "must be given");
        return None;
    };
    if amount.currency_code.parse::<Currency>().is_err() {
        wrong.add("capture_amount.currency_code", "UNKNOWN_CURRENCY", "not an ISO 4217 currency code");
    }
    if amount.amount_minor < 0 {
        wrong.add("capture_amount.amount_minor", "NEGATIVE", "must not be negative");
    }
    Some(Amount { currency: amount.currency_code, minor: amount.amount_minor })
}

pub(crate) fn ship(request: pb::ShipFulfillmentRequest) -> Result<Ship, Fault> {
    let fulfillment = fulfillment_id(&request.fulfillment_id)?;
    let mut wrong = Violations::default();
    for (field, text) in [("carrier", &request.carrier), ("tracking_number", &request.tracking_number)] {
        if text.len() > LONGEST_NAME {
            wrong.add(field, "TOO_LONG", format!("must have at most {LONGEST_NAME} characters"));
        } else if has_control(text) {
            wrong.add(field, "CONTROL_CHARACTER", "must have no control characters");
        }
    }
    wrong.finish()?;
    Ok(Ship { fulfillment, carrier: request.carrier, tracking_number: request.tracking_number })
}

pub(crate) fn list(request: pb::ListFulfillmentsRequest) -> Result<List, Fault> {
    let size = serve::page::size(request.page_size)?;
    let order = match request.order_id.as_str() {
        "" => None,
        text => Some(order_id(text)?),
    };
    Ok(List { size, token: request.page_token, order })
}

/// `ship_to` is the opened address, or none where nobody may see it.
pub(crate) fn fulfillment(work: &Fulfillment, ship_to: Option<Address>) -> pb::Fulfillment {
    let body = &work.body;
    pb::Fulfillment {
        id: work.id().to_string(),
        order_id: work.order().to_string(),
        warehouse: work.warehouse.clone(),
        state: state(work.state).into(),
        lines: body
            .lines
            .iter()
            .map(|line| pb::FulfillmentLine { line: line.line, sku: line.sku.clone(), quantity: line.quantity })
            .collect(),
        ship_to: ship_to.map(|to| common::Address {
            recipient: to.recipient,
            line1: to.line1,
            line2: to.line2,
            city: to.city,
            region: to.region,
            postal_code: to.postal_code,
            country_code: to.country_code,
            ..common::Address::default()
        }),
        shipping_service: body.shipping_service.clone(),
        capture_amount: Some(common::Money {
            currency_code: body.capture.currency.clone(),
            amount_minor: body.capture.minor,
        }),
        final_capture: body.final_capture,
        weight_grams: body.weight_grams,
        wms_order_id: work.wms_order_id.clone(),
        observe_time: work.observed_at.map(timestamp),
        create_time: Some(timestamp(work.created_at)),
    }
}

fn state(state: State) -> pb::FulfillmentState {
    match state {
        State::Submitting => pb::FulfillmentState::Submitting,
        State::Submitted => pb::FulfillmentState::Submitted,
        State::Picking => pb::FulfillmentState::Picking,
        State::Packed => pb::FulfillmentState::Packed,
        State::Shipped => pb::FulfillmentState::Shipped,
        State::Cancelled => pb::FulfillmentState::Cancelled,
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
