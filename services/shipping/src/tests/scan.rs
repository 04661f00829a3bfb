use std::time::Duration;

use futures::future::try_join_all;
use ids::{ShipmentId, TenantId};

use super::{LIMIT, World, open, work};
use crate::api::{Webhook, ingest};
use crate::polling;
use crate::scans::State;

#[tokio::test]
async fn trk_04_the_same_event_fifty_times_at_once_delivers_once() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, shipment) = world.sent().await?;
    try_join_all((0..50).map(|_| world.scan(tenant, "evt_1", shipment.id(), "DELIVERED"))).await?;
    // Another event that says the same.
    world.scan(tenant, "evt_2", shipment.id(), "DELIVERED").await?;
    let delivered = world.events().await?.iter().filter(|name| *name == "ShipmentDelivered").count();
    assert_eq!(delivered, 1);
    let parcel = world.shipment(tenant).await?;
    assert_eq!((parcel.state, parcel.scans.len()), (State::Delivered, 1));
    Ok(())
}

#[tokio::test]
async fn trk_04_late_older_scans_are_kept_and_never_move_a_parcel_back() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, shipment) = world.sent().await?;
    let way = [
        ("OUT_FOR_DELIVERY", State::OutForDelivery),
        ("IN_TRANSIT", State::OutForDelivery),
        ("LOST_IN_SPACE", State::OutForDelivery),
        ("DELIVERED", State::Delivered),
        ("PICKED_UP", State::Delivered),
    ];
    for (number, (code, state)) in way.into_iter().enumerate() {
        world.scan(tenant, &format!("evt_{number}"), shipment.id(), code).await?;
        assert_eq!(world.shipment(tenant).await?.state, state, "after {code}");
    }
    assert_eq!(world.shipment(tenant).await?.scans.len(), way.len());
    Ok(())
}

#[tokio::test]
async fn a_delivery_that_is_reported_before_the_parcel_left_our_books_counts_afterwards() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = TenantId::new();
    world.others.notes().warehouse_away = true;
    world.packed(tenant, work()).await?;
    let shipment = testkit::eventually(LIMIT, async || {
        let shipment = world.shipment(tenant).await?;
        Ok((shipment.state == State::Labeled).then_some(shipment))
    })
    .await?;
    world.scan(tenant, "evt_1", shipment.id(), "DELIVERED").await?;
    assert_eq!(world.shipment(tenant).await?.state, State::Labeled, "it has not left");
    world.others.notes().warehouse_away = false;
    world.saga_is(tenant, "completed").await?;
    assert_eq!(world.shipment(tenant).await?.state, State::Delivered);
    let events = world.events().await?;
    assert_eq!(events[2..], ["ShipmentShipped", "ShipmentDelivered"]);
    Ok(())
}

#[tokio::test]
async fn only_the_tenants_own_fresh_signature_is_taken() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, shipment) = world.sent().await?;
    let foreign = TenantId::new();
    let good = || world.webhook(tenant, 0, "evt_1", shipment.id(), "DELIVERED");
    let swapped = Webhook { tenant: tenant.to_string(), ..world.webhook(foreign, 0, "e", shipment.id(), "DELIVERED") };
    for (name, webhook) in [
        ("unsigned", Webhook { signature: String::new(), ..good() }),
        ("changed", Webhook { body: [good().body, b" ".to_vec()].concat(), ..good() }),
        ("stale", world.webhook(tenant, -301, "e", shipment.id(), "DELIVERED")),
        ("early", world.webhook(tenant, 302, "e", shipment.id(), "DELIVERED")),
        ("another tenant's secret", swapped),
        ("another tenant's address", Webhook { tenant: foreign.to_string(), ..good() }),
        ("no tenant", Webhook { tenant: "x".into(), ..good() }),
        ("another carrier", Webhook { carrier: "ups".into(), ..good() }),
    ] {
        let fault = ingest(&world.app, open(), webhook).await.expect_err(name);
        assert_eq!((fault.kind(), fault.reason()), (fault::Kind::Unauthenticated, "WEBHOOK_SIGNATURE"), "{name}");
    }
    // A tenant that signs with its own secret reaches its own parcels only.
    ingest(&world.app, open(), world.webhook(foreign, 0, "e", shipment.id(), "DELIVERED")).await?;
    assert_eq!(world.shipment(tenant).await?.state, State::Shipped);
    Ok(())
}

#[tokio::test]
async fn a_signed_body_that_is_no_event_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, shipment) = world.sent().await?;
    for event in ["", "a\0b", &"x".repeat(201)] {
        let fault = world.scan(tenant, event, shipment.id(), "DELIVERED").await.expect_err("no event id");
        assert_eq!(fault.reason(), "INVALID_WEBHOOK");
    }
    world.scan(tenant, "evt_1", ShipmentId::new(), "DELIVERED").await?;
    assert_eq!(world.shipment(tenant).await?.state, State::Shipped);
    Ok(())
}

#[tokio::test]
async fn shp_08_without_webhooks_the_carrier_is_asked_and_the_parcel_arrives() -> anyhow::Result<()> {
    let mut world = World::start().await?;
    world.app.settings.carrier_poll = Duration::from_millis(1);
    let (tenant, shipment) = world.sent().await?;
    // The engine's saga set the first time of asking to ten minutes from now.
    assert_eq!(polling::round(&world.app).await?, 0, "nothing is asked before its time");
    // A scan by webhook moves it to a millisecond from now.
    world.scan(tenant, "evt_1", shipment.id(), "PICKED_UP").await?;
    testkit::eventually(LIMIT, async || {
        polling::round(&world.app).await?;
        Ok((world.shipment(tenant).await?.state == State::Delivered).then_some(()))
    })
    .await?;
    assert!(world.events().await?.ends_with(&["ShipmentDelivered".to_owned()]));
    assert_eq!(polling::round(&world.app).await?, 0, "what has arrived is not asked about");
    Ok(())
}

#[tokio::test]
async fn shp_08_a_carrier_that_tells_is_not_asked() -> anyhow::Result<()> {
    let world = World::start().await?;
    let (tenant, shipment) = world.sent().await?;
    world.scan(tenant, "evt_1", shipment.id(), "IN_TRANSIT").await?;
    assert_eq!(polling::round(&world.app).await?, 0);
    let now = jiff::Timestamp::now();
    assert_eq!(world.app.store.take_poll(tenant, shipment.id(), now).await?, None);
    Ok(())
}

#[tokio::test]
async fn pages_show_every_shipment_once_newest_first() -> anyhow::Result<()> {
    let world = World::start().await?;
    let tenant = TenantId::new();
    for _ in 0..5 {
        world.packed(tenant, work()).await?;
    }
    let all: Vec<_> = world.app.store.list(tenant, None, None, 10).await?.iter().map(|s| s.id()).collect();
    assert!(all.len() == 5 && all.is_sorted_by(|a, b| a > b));
    let ctx = open().in_tenant(tenant);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = crate::api::list(&world.app, &ctx, crate::api::List { size: 2, token, order: None }).await?;
        seen.extend(page.shipments.iter().map(crate::model::Shipment::id));
        token = page.next;
        if token.is_empty() {
            break;
        }
        let stolen = crate::api::List { size: 2, token: token.clone(), order: None };
        let foreign = open().in_tenant(TenantId::new());
        assert!(crate::api::list(&world.app, &foreign, stolen).await.is_err(), "another tenant's token was taken");
    }
    assert_eq!(seen, all);
    Ok(())
}
