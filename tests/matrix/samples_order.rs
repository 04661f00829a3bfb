//! Requests of the services around orders.

use contract::order;
use prost::Message;

use super::samples::{Make, address, unique};
use super::world::Known;

/// The services around orders.
pub(super) const ORDER: &[(&str, Make)] = &[
    ("OrderService/CreateOrder", |known| {
        order::v1::CreateOrderRequest {
            customer_id: known.customer.clone(),
            items: vec![item(known)],
            currency_code: "USD".into(),
            shipping_address: address(),
            shipping_service: "STANDARD".into(),
            payment_method: "pm_sim_visa".into(),
            note: "Ring twice".into(),
            expected_total: None,
            draft: false,
            client_ip: "203.0.113.7".into(),
            kind: order::v1::OrderKind::Purchase.into(),
            promotion_code: String::new(),
        }
        .encode_to_vec()
    }),
    ("OrderService/PlaceOrder", |known| {
        let (order_id, payment_method) = (known.order.clone(), "pm_sim_visa".into());
        order::v1::PlaceOrderRequest { order_id, payment_method, ..Default::default() }.encode_to_vec()
    }),
    ("OrderService/RetryPayment", |known| {
        let (order_id, payment_method) = (known.order.clone(), "pm_sim_visa".to_owned());
        let reason = "the bank was away".to_owned();
        order::v1::RetryPaymentRequest { order_id, payment_method, reason, etag: String::new() }.encode_to_vec()
    }),
    ("OrderService/AddOrderItem", |known| {
        let (order_id, item) = (known.order.clone(), Some(item(known)));
        order::v1::AddOrderItemRequest { order_id, item, etag: String::new() }.encode_to_vec()
    }),
    ("OrderService/UpdateOrderItem", |known| {
        let (order_id, line, quantity) = (known.order.clone(), 1, 2);
        order::v1::UpdateOrderItemRequest { order_id, line, quantity, etag: String::new() }.encode_to_vec()
    }),
    ("OrderService/RemoveOrderItem", |known| {
        order::v1::RemoveOrderItemRequest { order_id: known.order.clone(), line: 1, etag: String::new() }
            .encode_to_vec()
    }),
    ("OrderService/AddOrderNote", |known| {
        let (order_id, text) = (known.order.clone(), "called back".into());
        order::v1::AddOrderNoteRequest { order_id, text }.encode_to_vec()
    }),
    ("OrderService/HoldOrder", |known| {
        let (order_id, reason) = (known.order.clone(), "asks for another address".into());
        order::v1::HoldOrderRequest { order_id, reason, etag: String::new() }.encode_to_vec()
    }),
    ("OrderService/ReleaseOrderHold", |known| {
        order::v1::ReleaseOrderHoldRequest { order_id: known.order.clone(), etag: String::new() }.encode_to_vec()
    }),
    ("OrderService/CompleteService", |known| {
        order::v1::CompleteServiceRequest { order_id: known.order.clone(), etag: String::new() }.encode_to_vec()
    }),
    ("OrderService/RateOrder", |known| {
        let (order_id, stars, comment) = (known.order.clone(), 5, "fast".into());
        order::v1::RateOrderRequest { order_id, stars, comment, etag: String::new() }.encode_to_vec()
    }),
    ("SubscriptionService/CreateSubscription", |known| {
        order::v1::CreateSubscriptionRequest {
            customer_id: known.customer.clone(),
            items: vec![item(known)],
            currency_code: "USD".into(),
            shipping_address: address(),
            shipping_service: "STANDARD".into(),
            payment_method: "pm_sim_visa".into(),
            mandate_reference: "mandate-1".into(),
            interval: Some(order::v1::SubscriptionInterval { unit: order::v1::IntervalUnit::Month.into(), count: 1 }),
            start_time: None,
        }
        .encode_to_vec()
    }),
    ("SubscriptionService/GetSubscription", |known| {
        order::v1::GetSubscriptionRequest { subscription_id: known.subscription.clone() }.encode_to_vec()
    }),
    ("SubscriptionService/ListSubscriptions", |_| order::v1::ListSubscriptionsRequest::default().encode_to_vec()),
    ("SubscriptionService/UpdateSubscription", |known| {
        let (subscription_id, items) = (known.subscription.clone(), vec![item(known)]);
        let shipping_service = if unique().is_multiple_of(2) { "EXPRESS" } else { "STANDARD" }.into();
        order::v1::UpdateSubscriptionRequest { subscription_id, items, shipping_service, ..Default::default() }
            .encode_to_vec()
    }),
    ("SubscriptionService/PauseSubscription", |known| {
        let (subscription_id, reason) = (known.subscription.clone(), "on holiday".into());
        order::v1::PauseSubscriptionRequest { subscription_id, reason, etag: String::new() }.encode_to_vec()
    }),
    ("SubscriptionService/ResumeSubscription", |known| {
        let subscription_id = known.subscription.clone();
        order::v1::ResumeSubscriptionRequest { subscription_id, etag: String::new() }.encode_to_vec()
    }),
    ("SubscriptionService/SkipPeriod", |known| {
        let subscription_id = known.subscription.clone();
        order::v1::SkipPeriodRequest { subscription_id, period: 1, etag: String::new() }.encode_to_vec()
    }),
    ("SubscriptionService/CancelSubscription", |known| {
        let (subscription_id, reason) = (known.subscription.clone(), "moved away".into());
        order::v1::CancelSubscriptionRequest { subscription_id, reason, etag: String::new() }.encode_to_vec()
    }),
    ("SubscriptionService/RenewDue", |_| order::v1::RenewDueRequest { limit: 10 }.encode_to_vec()),
    ("OrderService/BatchCreateOrders", |known| {
        let request = order::v1::CreateOrderRequest {
            customer_id: known.customer.clone(),
            items: vec![item(known)],
            currency_code: "USD".into(),
            shipping_address: address(),
            payment_method: "pm_sim_visa".into(),
            ..Default::default()
        };
        order::v1::BatchCreateOrdersRequest { requests: vec![request] }.encode_to_vec()
    }),
    ("OrderService/QuoteOrder", |known| {
        order::v1::QuoteOrderRequest {
            items: vec![item(known)],
            currency_code: "USD".into(),
            shipping_address: address(),
            shipping_service: "EXPRESS".into(),
            kind: order::v1::OrderKind::Purchase.into(),
            promotion_code: String::new(),
        }
        .encode_to_vec()
    }),
    ("OrderService/UpdateOrder", |known| {
        let update_mask = Some(prost_types::FieldMask { paths: vec!["note".into()] });
        order::v1::UpdateOrderRequest {
            order_id: known.order.clone(),
            shipping_address: address(),
            note: "Ring thrice".into(),
            update_mask,
            etag: String::new(),
        }
        .encode_to_vec()
    }),
    ("OrderService/CancelOrder", |known| {
        let (order_id, reason) = (known.order.clone(), "changed my mind".into());
        order::v1::CancelOrderRequest { order_id, reason, etag: String::new() }.encode_to_vec()
    }),
    ("OrderService/VerifyOrder", |known| {
        order::v1::VerifyOrderRequest { order_id: known.order.clone() }.encode_to_vec()
    }),
    ("OrderChangeService/CreateOrderChange", |known| {
        let (order_id, edits, reason) = (known.order.clone(), edits(known), "one for a friend".into());
        order::v1::CreateOrderChangeRequest { order_id, edits, reason, ..Default::default() }.encode_to_vec()
    }),
    ("OrderChangeService/PreviewOrderChange", |known| {
        order::v1::PreviewOrderChangeRequest { order_id: known.order.clone(), edits: edits(known) }.encode_to_vec()
    }),
    ("OrderChangeService/ConfirmOrderChange", |known| {
        let (order_id, change_id) = (known.changed.clone(), known.change.clone());
        order::v1::ConfirmOrderChangeRequest { order_id, change_id }.encode_to_vec()
    }),
    ("OrderChangeService/DeclineOrderChange", |known| {
        let (order_id, change_id, reason) = (known.changed.clone(), known.change.clone(), "too dear".into());
        order::v1::DeclineOrderChangeRequest { order_id, change_id, reason }.encode_to_vec()
    }),
    ("OrderChangeService/GetOrderChange", |known| {
        let (order_id, change_id) = (known.changed.clone(), known.change.clone());
        order::v1::GetOrderChangeRequest { order_id, change_id }.encode_to_vec()
    }),
    ("OrderChangeService/ListOrderChanges", |known| {
        order::v1::ListOrderChangesRequest { order_id: known.changed.clone() }.encode_to_vec()
    }),
    ("OrderQueryService/GetOrder", |known| {
        order::v1::GetOrderRequest { order_id: known.order.clone() }.encode_to_vec()
    }),
    ("OrderQueryService/ListOrders", |known| {
        let customer_id = known.customer.clone();
        order::v1::ListOrdersRequest { page_size: 10, customer_id, ..Default::default() }.encode_to_vec()
    }),
    ("OrderQueryService/ListUserOrders", |known| {
        let user_id = known.customer.clone();
        order::v1::ListUserOrdersRequest { user_id, page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("OrderQueryService/SearchOrders", |known| {
        let criteria = Some(criteria(known));
        order::v1::SearchOrdersRequest { criteria, page_size: 10, page_token: String::new() }.encode_to_vec()
    }),
    ("OrderQueryService/CountOrders", |known| {
        order::v1::CountOrdersRequest { criteria: Some(criteria(known)) }.encode_to_vec()
    }),
    ("OrderQueryService/GetOrderView", |known| {
        order::v1::GetOrderViewRequest { order_id: known.order.clone() }.encode_to_vec()
    }),
    ("OrderQueryService/ListOrderEvents", |known| {
        order::v1::ListOrderEventsRequest { order_id: known.order.clone() }.encode_to_vec()
    }),
    ("OrderQueryService/WatchOrder", |known| {
        order::v1::WatchOrderRequest { order_id: known.order.clone(), etag: String::new() }.encode_to_vec()
    }),
    ("SagaService/GetSaga", |known| order::v1::GetSagaRequest { order_id: known.order.clone() }.encode_to_vec()),
    ("SagaService/ListSagas", |_| {
        order::v1::ListSagasRequest { page_size: 10, kinds: vec!["place".into()], ..Default::default() }.encode_to_vec()
    }),
    ("SagaService/WatchSaga", |known| {
        order::v1::WatchSagaRequest { saga_id: known.order.clone(), etag: String::new() }.encode_to_vec()
    }),
    // The saga of the sample's order is complete: these get as far as its state.
    ("SagaService/RetrySagaStep", |known| {
        order::v1::RetrySagaStepRequest { saga_id: known.order.clone(), reason: "it works again".into() }
            .encode_to_vec()
    }),
    ("SagaService/SkipSagaStep", |known| {
        let (saga_id, step) = (known.order.clone(), "reserve_stock".into());
        order::v1::SkipSagaStepRequest { saga_id, step, reason: "done by hand".into() }.encode_to_vec()
    }),
    ("SagaService/ForceCompensate", |known| {
        order::v1::ForceCompensateRequest { saga_id: known.order.clone(), reason: "wrong shop".into() }.encode_to_vec()
    }),
    ("SagaService/ResolveSaga", |known| {
        order::v1::ResolveSagaRequest { saga_id: known.order.clone(), reason: "done by hand".into() }.encode_to_vec()
    }),
];

fn criteria(known: &Known) -> order::v1::OrderCriteria {
    order::v1::OrderCriteria {
        status_retail: vec!["Pending Payment".into(), "Paid".into()],
        customer_ids: vec![known.customer.clone()],
        skus: vec![known.sku.clone()],
        currency_code: "USD".into(),
        total_min_minor: Some(1),
        ..Default::default()
    }
}

fn edits(known: &Known) -> Vec<order::v1::LineEdit> {
    vec![order::v1::LineEdit { sku: known.sku.clone(), quantity: 1, ..Default::default() }]
}

fn item(known: &Known) -> order::v1::OrderItem {
    order::v1::OrderItem { sku: known.sku.clone(), quantity: 1, expected_unit_price: None, slot_id: String::new() }
}
