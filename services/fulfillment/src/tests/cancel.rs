use std::time::Duration;

use diesel::dsl::sql;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use futures::future::join_all;
use ids::{OrderId, TenantId};

use super::{World, all, ctx_of, fault_rule, wish};
use crate::commands::{cancel, create, ship};
use crate::state::State;

#[tokio::test]
async fn a_cancelled_order_refuses_late_work() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    assert!(cancel::run(&world.app, &ctx, all(order)).await?.is_empty(), "nothing was there to take back");
    let fault = create::run(&world.app, &ctx, wish(order, "W1")).await.err().expect("too late");
    assert_eq!(fault.reason(), "FULFILLMENT_CANCELLED");
    assert!(world.ledger("create").await?.is_empty(), "the warehouse heard nothing of it");
    Ok(())
}

#[tokio::test]
async fn work_that_has_not_begun_is_taken_back_once() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    for warehouse in ["W1", "W2"] {
        create::run(&world.app, &ctx, wish(order, warehouse)).await?;
    }
    for _ in 0..2 {
        let taken = cancel::run(&world.app, &ctx, all(order)).await?;
        assert_eq!(taken.iter().map(|work| work.state).collect::<Vec<_>>(), [State::Cancelled; 2]);
    }
    assert_eq!(world.ledger("cancel").await?.len(), 2);
    let cancelled = world.names().await?.iter().filter(|name| *name == "FulfillmentCancelled").count();
    assert_eq!(cancelled, 2);
    let fault = create::run(&world.app, &ctx, wish(order, "W1")).await.err().expect("cancelled");
    assert_eq!(fault.reason(), "FULFILLMENT_CANCELLED");
    Ok(())
}

#[tokio::test]
async fn a_warehouse_that_picks_refuses_and_the_order_goes_on() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    for warehouses in [&["W1"][..], &["W1", "W2"]] {
        world.sims.set_speed(1.0);
        let order = OrderId::new();
        for warehouse in warehouses {
            create::run(&world.app, &ctx, wish(order, warehouse)).await?;
        }
        world.sims.set_speed(1e9);
        let fault = cancel::run(&world.app, &ctx, all(order)).await.err().expect("picking has begun");
        assert_eq!((fault.kind(), fault.reason()), (fault::Kind::Precondition, "ORDER_IN_PICKING"));
        assert!(world.ledger("cancel").await?.is_empty(), "half of it was taken back");
        create::run(&world.app, &ctx, wish(order, "W1")).await?;
        world.poll().await?;
        for work in world.app.store.list(ctx.tenant, Some(order), None, 10).await? {
            assert_eq!(work.state, State::Packed);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_cancellation_during_a_submission_leaves_nothing_at_the_warehouse() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    for _ in 0..10 {
        let order = OrderId::new();
        let creates = (0..3).map(|_| create::run(&world.app, &ctx, wish(order, "W1")));
        let (created, cancelled) = tokio::join!(join_all(creates), cancel::run(&world.app, &ctx, all(order)));
        cancelled?;
        for fault in created.into_iter().filter_map(Result::err) {
            assert_eq!(fault.reason(), "FULFILLMENT_CANCELLED");
        }
        let fault = create::run(&world.app, &ctx, wish(order, "W1")).await.err().expect("cancelled for good");
        assert_eq!(fault.reason(), "FULFILLMENT_CANCELLED");
        for work in world.app.store.list(ctx.tenant, Some(order), None, 10).await? {
            assert_eq!(work.state, State::Cancelled);
        }
    }
    let count = |lines: Vec<serde_json::Value>| lines.iter().filter(|line| !line["wms_order_id"].is_null()).count();
    assert_eq!(
        count(world.ledger("create").await?),
        count(world.ledger("cancel").await?),
        "every order was taken back"
    );
    Ok(())
}

#[tokio::test]
async fn a_wish_that_comes_during_a_cancellation_waits_for_it_and_is_refused() -> anyhow::Result<()> {
    const WAITING: &str =
        "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    create::run(&world.app, &ctx, wish(order, "W1")).await?;
    let mut canceller = world.db.admin().await?;
    let cancel = format!("SELECT order_cancel('{}', '{}', {})", ctx.tenant.uuid(), order.uuid(), i32::MAX);
    canceller.batch_execute(&format!("SET search_path = om_fulfillment; BEGIN; {cancel}")).await?;
    let commit = async {
        testkit::eventually(Duration::from_secs(30), async || {
            let waiting: i64 = diesel::select(sql::<BigInt>(WAITING)).get_result(&mut world.db.admin().await?).await?;
            Ok((waiting > 0).then_some(()))
        })
        .await?;
        anyhow::Ok(canceller.batch_execute("COMMIT").await?)
    };
    let (wished, committed) = tokio::join!(create::run(&world.app, &ctx, wish(order, "W2")), commit);
    committed?;
    assert_eq!(wished.err().expect("cancelled").reason(), "FULFILLMENT_CANCELLED");
    assert_eq!(world.ledger("create").await?.len(), 1, "the warehouse heard nothing of it");
    Ok(())
}

#[tokio::test]
async fn an_unreachable_warehouse_keeps_the_mark_and_a_repeat_finishes_the_cancellation() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    create::run(&world.app, &ctx, wish(order, "W1")).await?;
    world.faults(fault_rule("CancelOrder", "error500", 1, 0)).await?;
    let fault = cancel::run(&world.app, &ctx, all(order)).await.err().expect("unreachable");
    assert_eq!(fault.reason(), "WMS_UNAVAILABLE");
    assert_eq!(cancel::run(&world.app, &ctx, all(order)).await?[0].state, State::Cancelled);
    Ok(())
}

fn label(id: ids::FulfillmentId, tracking_number: &str) -> ship::Ship {
    ship::Ship { fulfillment: id, carrier: "fedex".into(), tracking_number: tracking_number.into() }
}

#[tokio::test]
async fn shp_09_a_parcel_leaves_only_packed_and_with_its_label_and_only_once() -> anyhow::Result<()> {
    let world = World::start(0.0).await?;
    let ctx = ctx_of(TenantId::new());
    let work = create::run(&world.app, &ctx, wish(OrderId::new(), "W1")).await?;
    let fault = ship::run(&world.app, &ctx, label(work.id(), "")).await.err().expect("no label");
    assert_eq!((fault.kind(), fault.reason()), (fault::Kind::Precondition, "LABEL_NOT_PURCHASED"));
    let fault = ship::run(&world.app, &ctx, label(work.id(), "794")).await.err().expect("not packed");
    assert_eq!(fault.reason(), "FULFILLMENT_NOT_PACKED");
    world.poll().await?;
    let calls = (0..10).map(|_| ship::run(&world.app, &ctx, label(work.id(), "794")));
    for shipped in join_all(calls).await {
        assert_eq!(shipped?.state, State::Shipped);
    }
    assert_eq!(world.ledger("release").await?.len(), 1);
    let shipped = world.names().await?.iter().filter(|name| *name == "FulfillmentShipped").count();
    assert_eq!(shipped, 1);
    let fault = cancel::run(&world.app, &ctx, all(work.order())).await.err().expect("it has left");
    assert_eq!(fault.reason(), "ORDER_IN_PICKING");
    Ok(())
}
