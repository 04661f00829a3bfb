//! From messages of commands to what the use cases take.

use contract::order::v1 as pb;
use fault::{Fault, Violations};

use super::wire::{create, order_id};
use crate::app::change_order::Subject;
use crate::app::create_order::CreateOrder;
use crate::app::draft_order::PlaceOrder;
use crate::app::retry_payment::RetryPayment;
use crate::domain::draft::ItemChange;
use crate::domain::rules;

pub fn subject(id: &str, etag: String) -> Result<Subject, Fault> {
    Ok(Subject { id: order_id(id)?, etag })
}

pub fn place(request: pb::PlaceOrderRequest) -> Result<PlaceOrder, Fault> {
    Ok(PlaceOrder {
        subject: subject(&request.order_id, request.etag)?,
        payment_method: request.payment_method,
        expected_total: request.expected_total,
        promotion_code: request.promotion_code,
    })
}

pub fn retry_payment(request: pb::RetryPaymentRequest) -> Result<RetryPayment, Fault> {
    Ok(RetryPayment {
        subject: subject(&request.order_id, request.etag)?,
        payment_method: request.payment_method,
        reason: request.reason,
    })
}

pub fn add_item(request: pb::AddOrderItemRequest) -> Result<(Subject, ItemChange), Fault> {
    let subject = subject(&request.order_id, request.etag)?;
    let item = request.item.unwrap_or_default();
    let mut wrong = Violations::default();
    if !rules::is_sku(&item.sku) {
        wrong.add("item.sku", "SKU_INVALID", "1 to 64 of A-Z, a-z, 0-9, dot, hyphen and underscore");
    }
    check_quantity("item.quantity", item.quantity, &mut wrong);
    wrong.finish()?;
    Ok((subject, ItemChange::Add(item)))
}

pub fn set_item(request: pb::UpdateOrderItemRequest) -> Result<(Subject, ItemChange), Fault> {
    let subject = subject(&request.order_id, request.etag)?;
    let mut wrong = Violations::default();
    check_quantity("quantity", request.quantity, &mut wrong);
    wrong.finish()?;
    Ok((subject, ItemChange::Set { line: request.line, quantity: request.quantity }))
}

pub fn remove_item(request: pb::RemoveOrderItemRequest) -> Result<(Subject, ItemChange), Fault> {
    Ok((subject(&request.order_id, request.etag)?, ItemChange::Remove { line: request.line }))
}

fn check_quantity(field: &'static str, quantity: i32, wrong: &mut Violations) {
    if quantity < 1 {
        wrong.add(field, "QUANTITY_INVALID", "at least 1");
    }
}

pub fn batch(request: pb::BatchCreateOrdersRequest) -> Vec<CreateOrder> {
    request.requests.into_iter().map(create).collect()
}
