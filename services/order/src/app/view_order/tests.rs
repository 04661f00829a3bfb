use std::time::Instant;

use anyhow::Result;
use contract::common::v1::Money;
use ctx::Cause;
use ids::TenantId;
use jiff::Timestamp;
use serve::Mesh;
use serve::auth::SigningKey;
use tokio::net::TcpListener;

use super::*;

fn ctx() -> Ctx {
    Ctx::service("test", TenantId::new(), Cause::default(), Timestamp::now())
}

/// An order that has heard of its money and of one parcel.
fn order() -> wire::Order {
    let money = |amount_minor| Some(Money { currency_code: "USD".into(), amount_minor });
    wire::Order {
        id: ids::OrderId::new().to_string(),
        payment: Some(wire::PaymentSummary {
            payment_id: "pay_1".into(),
            authorized: money(500),
            captured: money(500),
            ..Default::default()
        }),
        shipments: vec![wire::ShipmentSummary {
            tracking_number: "1Z".into(),
            state: "SHIPPED".into(),
            ..Default::default()
        }],
        update_time: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
        ..Default::default()
    }
}

#[tokio::test]
async fn ord_43_parts_whose_owners_are_gone_show_what_the_order_had_heard() -> Result<()> {
    let mesh = Mesh::new(SigningKey::from_pkcs8("test", &SigningKey::generate())?);
    let order = order();
    let view = compose(&ctx(), &mesh.peers("order"), order.clone()).await;
    assert!(view.partial);
    assert_eq!(view.order.as_ref(), Some(&order));
    let payment = view.payment.expect("always there");
    assert_eq!((payment.state(), payment.as_of_time), (wire::PartState::Stale, order.update_time));
    assert_eq!((payment.payment_id.as_str(), payment.captured), ("pay_1", order.payment.expect("heard").captured));
    assert!(!payment.reason.is_empty());
    let shipments = view.shipments.expect("always there");
    assert_eq!((shipments.state(), shipments.as_of_time), (wire::PartState::Stale, order.update_time));
    assert_eq!(shipments.parcels[0].tracking_number, "1Z");
    assert_eq!(view.tracking.expect("always there").state(), wire::PartState::Missing);

    let fresh = wire::Order { payment: None, shipments: Vec::new(), ..order };
    let view = compose(&ctx(), &mesh.peers("order"), fresh).await;
    let payment = view.payment.expect("always there");
    assert_eq!((payment.state(), payment.as_of_time), (wire::PartState::Missing, None), "nothing was heard yet");
    Ok(())
}

#[tokio::test]
async fn ord_43_a_part_that_does_not_answer_is_not_waited_for() -> Result<()> {
    let mesh = Mesh::new(SigningKey::from_pkcs8("test", &SigningKey::generate())?);
    let mute = TcpListener::bind("127.0.0.1:0").await?;
    for context in ["payment", "shipping"] {
        mesh.remote(context, format!("http://{}", mute.local_addr()?))?;
    }
    let begun = Instant::now();
    let view = compose(&ctx(), &mesh.peers("order"), order()).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(view.partial);
    assert_eq!(view.payment.expect("always there").reason, "SLOW");
    Ok(())
}
