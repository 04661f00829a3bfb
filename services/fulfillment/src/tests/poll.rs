use std::time::Duration;

use contract::fulfillment::v1::{FulfillmentPacked, FulfillmentState};
use futures::future::join_all;
use ids::{OrderId, TenantId};
use prost::Message;
use serde_json::json;

use super::{World, ctx_of, fault_rule, wish};
use crate::commands::create;
use crate::state::State;

#[tokio::test]
async fn ful_12_a_state_that_was_skipped_is_published_before_the_one_that_was_seen() -> anyhow::Result<()> {
    let world = World::start(0.0).await?;
    let ctx = ctx_of(TenantId::new());
    let work = create::run(&world.app, &ctx, wish(OrderId::new(), "W1")).await?;
    world.poll().await?;
    world.poller().round().await?;
    let events = world.events().await?;
    let names: Vec<&str> = events.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["FulfillmentRequested", "FulfillmentAccepted", "FulfillmentStarted", "FulfillmentPacked"]);
    assert!(
        events.iter().all(|(_, _, correlation)| correlation == "story"),
        "polled news belongs to the order's story"
    );
    let packed = FulfillmentPacked::decode(events[3].1.as_slice())?;
    let whole = packed.fulfillment.expect("all of it");
    assert_eq!(whole.id, work.id().to_string());
    assert_eq!(whole.state(), FulfillmentState::Packed);
    assert_eq!(whole.capture_amount.expect("money").amount_minor, 1999);
    assert!(whole.ship_to.is_none(), "nobody's address is published (PAY-12)");
    assert!(whole.observe_time.is_some());
    Ok(())
}

#[tokio::test]
async fn ful_02_one_poller_per_tenant_at_a_time_over_processes() -> anyhow::Result<()> {
    let world = World::start(0.0).await?;
    let tenant = TenantId::new();
    create::run(&world.app, &ctx_of(tenant), wish(OrderId::new(), "W1")).await?;
    let (mine, theirs, hold) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7(), Duration::from_secs(60));
    let store = &world.app.store;
    assert!(store.take(tenant, mine, hold, Duration::ZERO).await?);
    assert!(!store.take(tenant, theirs, hold, Duration::ZERO).await?, "somebody holds it");
    assert_eq!(store.due(Duration::ZERO, 10).await?, []);
    assert!(store.keep(tenant, mine, hold).await? && !store.keep(tenant, theirs, hold).await?);
    store.release(tenant, mine, Duration::from_secs(300), hold, false).await?;
    assert!(!store.take(tenant, theirs, hold, Duration::from_secs(1)).await?, "it is not the tenant's turn");
    assert!(store.take(tenant, theirs, hold, Duration::from_secs(301)).await?);
    Ok(())
}

#[tokio::test]
async fn ful_02_many_pollers_publish_every_step_once() -> anyhow::Result<()> {
    let world = World::start(0.0).await?;
    let ctx = ctx_of(TenantId::new());
    let orders =
        join_all((0..250).map(|n| create::run(&world.app, &ctx, wish(OrderId::new(), &format!("W{n}"))))).await;
    let orders = orders.into_iter().collect::<Result<Vec<_>, _>>()?;
    let pollers: Vec<_> = (0..4).map(|_| world.poller()).collect();
    testkit::eventually(Duration::from_secs(60), async || {
        for round in join_all(pollers.iter().map(crate::wms::poller::Poller::round)).await {
            round?;
        }
        Ok(world.app.store.open(ctx.tenant, None, 1).await?.is_empty().then_some(()))
    })
    .await?;
    let names = world.names().await?;
    for step in ["FulfillmentStarted", "FulfillmentPacked"] {
        assert_eq!(names.iter().filter(|name| *name == step).count(), orders.len(), "{step}");
    }
    Ok(())
}

#[tokio::test]
async fn ful_02_a_failing_tenant_does_not_stop_the_others() -> anyhow::Result<()> {
    let world = World::start(0.0).await?;
    let (broken, well) = (ctx_of(TenantId::new()), ctx_of(TenantId::new()));
    let stuck = create::run(&world.app, &broken, wish(OrderId::new(), "W1")).await?;
    let fine = create::run(&world.app, &well, wish(OrderId::new(), "W1")).await?;
    let tenant = broken.tenant.to_string();
    world.faults(json!([{"op": "GetStatus", "match": tenant, "kind": "error500", "times": 1000}])).await?;
    testkit::eventually(Duration::from_secs(60), async || {
        world.poller().round().await?;
        Ok((world.app.store.get(well.tenant, fine.id()).await?.state == State::Packed).then_some(()))
    })
    .await?;
    assert_eq!(world.app.store.get(broken.tenant, stuck.id()).await?.state, State::Submitted);
    world.faults(json!([])).await?;
    testkit::eventually(Duration::from_secs(60), async || {
        world.poller().round().await?;
        Ok((world.app.store.get(broken.tenant, stuck.id()).await?.state == State::Packed).then_some(()))
    })
    .await
}

#[tokio::test]
async fn ful_03_without_the_warehouse_the_last_status_and_its_time_stay_known() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    let work = create::run(&world.app, &ctx, wish(OrderId::new(), "W1")).await?;
    world.faults(fault_rule("", "reset", 1000, 0)).await?;
    world.poller().round().await?;
    let known = crate::queries::get::run(&world.app, &ctx, work.id()).await?;
    assert_eq!((known.state, known.observed_at), (State::Submitted, work.observed_at));
    assert!(known.observed_at.is_some());
    Ok(())
}
