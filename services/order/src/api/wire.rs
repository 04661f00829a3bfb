//! From messages to what the use cases take; the only place that reads requests.

use std::collections::BTreeMap;

use contract::order::v1 as pb;
use fault::{Fault, Violations};
use ids::OrderId;

use crate::app::cancel_order::CancelOrder;
use crate::app::create_order::CreateOrder;
use crate::app::update_order::UpdateOrder;
use crate::domain::basket::{Basket, Quote};
use crate::domain::promotion::Wanted;

pub fn order_id(text: &str) -> Result<OrderId, Fault> {
    text.parse().map_err(|error: ids::IdError| Fault::invalid("order_id", "ID_INVALID", error.to_string()))
}

pub fn create(request: pb::CreateOrderRequest) -> CreateOrder {
    CreateOrder {
        customer_id: request.customer_id,
        basket: Basket {
            items: request.items,
            currency_code: request.currency_code,
            address: request.shipping_address,
            service: service(request.shipping_service),
            agreed: BTreeMap::new(),
            kind: kind(request.kind),
            promotion: Wanted::of_code(request.promotion_code),
        },
        payment_method: request.payment_method,
        note: request.note,
        expected_total: request.expected_total,
        draft: request.draft,
        client_ip: request.client_ip,
        renewal: None,
    }
}

pub fn basket(request: pb::QuoteOrderRequest) -> Basket {
    Basket {
        items: request.items,
        currency_code: request.currency_code,
        address: request.shipping_address,
        service: service(request.shipping_service),
        agreed: BTreeMap::new(),
        kind: kind(request.kind),
        promotion: Wanted::of_code(request.promotion_code),
    }
}

fn kind(number: i32) -> Option<pb::OrderKind> {
    match pb::OrderKind::try_from(number) {
        Ok(pb::OrderKind::Unspecified) => Some(pb::OrderKind::Purchase),
        known => known.ok(),
    }
}

pub fn service(named: String) -> String {
    if named.is_empty() { "STANDARD".to_owned() } else { named }
}

pub fn quote(quote: Quote) -> pb::OrderQuote {
    pb::OrderQuote { lines: quote.lines, totals: Some(quote.totals) }
}

pub fn update(request: pb::UpdateOrderRequest) -> Result<UpdateOrder, Fault> {
    let id = order_id(&request.order_id)?;
    let Some(mask) = request.update_mask else {
        let note = (!request.note.is_empty()).then_some(request.note);
        return Ok(UpdateOrder { id, address: request.shipping_address, note, etag: request.etag });
    };
    let mut wrong = Violations::default();
    let mut update = UpdateOrder { id, address: None, note: None, etag: request.etag };
    for path in &mask.paths {
        match path.as_str() {
            "note" => update.note = Some(request.note.clone()),
            // Part of an address is not an address: whatever is named inside it, all of it is replaced.
            path if path == "shipping_address" || path.starts_with("shipping_address.") => {
                update.address = Some(request.shipping_address.clone().unwrap_or_default());
            }
            path => wrong.add("update_mask", "FIELD_NOT_UPDATABLE", format!("{path:?} cannot be changed")),
        }
    }
    wrong.finish()?;
    Ok(update)
}

pub fn cancel(request: pb::CancelOrderRequest) -> Result<CancelOrder, Fault> {
    Ok(CancelOrder { id: order_id(&request.order_id)?, reason: request.reason, etag: request.etag })
}
