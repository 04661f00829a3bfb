//! The generated tables answer, and `Debug` never shows what is personal.
#![allow(clippy::unwrap_used, reason = "tests")]
use contract::common::v1::Address;
use contract::identity::v1::LoginRequest;
use contract::order::v1::{CreateOrderRequest, OrderCreated};
use contract::{EVENTS, Event, Exposure, IMAGE, POLICIES, Tenant, mask, policy};

#[test]
fn policies_are_sorted_and_found_by_path() {
    assert!(POLICIES.is_sorted_by(|a, b| a.path < b.path));
    for known in POLICIES {
        assert_eq!(policy(known.path), Some(known));
    }
    assert_eq!(policy("/ordermesh.order.v1.OrderService/Nothing"), None);
    let create = policy("/ordermesh.order.v1.OrderService/CreateOrder").unwrap();
    assert_eq!((create.context, create.tenant, create.exposure), ("order", Tenant::Required, Exposure::Customer));
    assert_eq!((create.http[0].verb, create.http[0].path, create.http[0].body), ("POST", "/api/v1/orders", Some("*")));
    assert!(create.idempotency.required);
}

#[test]
fn every_event_knows_its_topic_and_key() {
    let event = OrderCreated { order_id: "ord_1".to_owned(), ..Default::default() };
    assert_eq!(OrderCreated::TYPE, "ordermesh.order.v1.OrderCreated");
    assert_eq!((OrderCreated::NAME, OrderCreated::TOPIC, event.key()), ("OrderCreated", "order.v1", "ord_1"));
    assert!(EVENTS.is_sorted_by(|a, b| a.type_name < b.type_name));
    assert!(EVENTS.iter().any(|known| known.type_name == OrderCreated::TYPE && known.key_field == "order_id"));
}

#[test]
fn debug_shows_no_secret_and_no_person() {
    let login =
        LoginRequest { email: "jane@shop.example".to_owned(), password: "hunter2".to_owned(), ..Default::default() };
    let shown = format!("{login:?}");
    assert!(shown.contains("j***@shop.example") && !shown.contains("jane") && !shown.contains("hunter2"), "{shown}");
    let order = CreateOrderRequest {
        currency_code: "USD".to_owned(),
        payment_method: "pm_card_visa_4242".to_owned(),
        shipping_address: Some(Address {
            recipient: "Jane Doe".to_owned(),
            city: "Rome".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let shown = format!("{order:#?}");
    assert!(shown.contains("***4242") && shown.contains("Rome") && shown.contains("USD"), "{shown}");
    assert!(!shown.contains("visa") && !shown.contains("Jane"), "{shown}");
}

#[test]
fn masks_give_away_no_more_than_they_say() {
    assert_eq!((mask::redact("x"), mask::redact("")), ("***", ""));
    assert_eq!((mask::last4("12345678901").as_str(), mask::last4("123456789012").as_str()), ("***", "***9012"));
    assert_eq!(
        (mask::email("a@b"), mask::email("nobody"), mask::email("@b")),
        ("a***@b".into(), "***".into(), "***".into())
    );
}

#[test]
fn the_image_keeps_the_options() {
    assert!(IMAGE.windows(14).any(|window| window == b"/api/v1/orders"));
}
