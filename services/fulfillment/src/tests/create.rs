use fault::Kind;
use futures::future::join_all;
use ids::{OrderId, TenantId};

use super::{World, ctx_of, fault_rule, wish};
use crate::commands::create;
use crate::events;
use crate::mount::App;
use crate::queries;
use crate::state::State;
use crate::store::{Move, Store};

#[tokio::test]
async fn ful_01_twenty_parallel_wishes_for_the_same_work_make_one_order_at_the_warehouse() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    let calls = (0..20).map(|_| create::run(&world.app, &ctx, wish(order, "W1")));
    let mut ids = Vec::new();
    for work in join_all(calls).await {
        let work = work?;
        assert!(work.state >= State::Submitted);
        assert!(work.wms_order_id.starts_with("WMS-"));
        ids.push(work.id());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one fulfillment");
    assert_eq!(world.ledger("create").await?.len(), 1, "one order at the warehouse");
    assert_eq!(world.names().await?, ["FulfillmentRequested", "FulfillmentAccepted"]);
    Ok(())
}

#[tokio::test]
async fn ful_01_the_same_wish_at_two_processes_is_the_same_work() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let other = App { store: Store::new(world.db.pg("fulfillment"), super::vault(&world.db)?), ..world.app.clone() };
    let ctx = ctx_of(TenantId::new());
    for _ in 0..50 {
        let order = OrderId::new();
        create::run(&other, &ctx, wish(order, "W1")).await?;
        let here = create::run(&world.app, &ctx, wish(order, "W2"));
        let (here, there) = tokio::join!(here, create::run(&other, &ctx, wish(order, "W2")));
        assert_eq!(here?.id(), there?.id());
    }
    assert_eq!(world.ledger("create").await?.len(), 100, "one order for each work");
    Ok(())
}

#[tokio::test]
async fn ful_01_another_warehouse_of_the_same_order_is_other_work() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    let first = create::run(&world.app, &ctx, wish(order, "W1")).await?;
    let second = create::run(&world.app, &ctx, wish(order, "W2")).await?;
    assert_ne!(first.id(), second.id());
    assert_eq!(world.ledger("create").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn ful_06_after_any_failure_a_repeat_submits_the_same_reference_again() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    for (number, kind) in ["error500", "reset", "reset_after"].into_iter().enumerate() {
        let order = OrderId::new();
        world.faults(fault_rule("CreateOrder", kind, 1, 0)).await?;
        let fault = create::run(&world.app, &ctx, wish(order, "W1")).await.err().expect("the warehouse fails");
        assert_eq!((fault.kind(), fault.reason()), (Kind::Unavailable, "WMS_UNAVAILABLE"), "{kind}");
        let work = create::run(&world.app, &ctx, wish(order, "W1")).await?;
        assert_eq!(work.state, State::Submitted);
        let orders = world.ledger("create").await?;
        assert_eq!(orders.len(), number + 1, "{kind} made a second order");
        assert_eq!(orders[number]["reference"], work.id().to_string());
    }
    Ok(())
}

#[tokio::test]
async fn ful_01_a_warehouse_that_does_not_answer_in_time_is_unavailable_and_the_wish_is_kept() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (tenant, order) = (TenantId::new(), OrderId::new());
    world.faults(fault_rule("CreateOrder", "timeout_after", 1, 10_000)).await?;
    let hurried = ctx_of(tenant).within(std::time::Duration::from_secs(3));
    let fault = create::run(&world.app, &hurried, wish(order, "W1")).await.err().expect("no answer in time");
    assert_eq!(fault.reason(), "WMS_UNAVAILABLE");
    let kept = world.app.store.list(tenant, Some(order), None, 10).await?;
    assert_eq!(kept.iter().map(|work| work.state).collect::<Vec<_>>(), [State::Submitting]);
    create::run(&world.app, &ctx_of(tenant), wish(order, "W1")).await?;
    assert_eq!(world.ledger("create").await?.len(), 1, "what timed out had happened, and happened once");
    Ok(())
}

#[tokio::test]
async fn ful_01_what_is_answered_is_what_is_stored() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    let made = create::run(&world.app, &ctx, wish(OrderId::new(), "W1")).await?;
    assert_eq!((made.state, made.version), (State::Submitted, 2));
    assert!(!made.wms_order_id.is_empty() && made.observed_at.is_some());
    assert!(made == world.app.store.get(ctx.tenant, made.id()).await?, "the answer and the row differ");
    Ok(())
}

#[tokio::test]
async fn another_tenant_never_sees_a_fulfillment() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, foreign, order) = (ctx_of(TenantId::new()), ctx_of(TenantId::new()), OrderId::new());
    let work = create::run(&world.app, &ctx, wish(order, "W1")).await?;
    let fault = queries::get::run(&world.app, &foreign, work.id()).await.err().expect("not the caller's to see");
    assert_eq!(fault.reason(), "FULFILLMENT_NOT_FOUND");
    let query = || queries::list::List { size: 1, token: String::new(), order: None };
    assert!(queries::list::run(&world.app, &foreign, query()).await?.work.is_empty());
    let theirs = create::run(&world.app, &foreign, wish(order, "W1")).await?;
    assert_ne!(theirs.id(), work.id(), "the same order id of another tenant is another order");
    Ok(())
}

#[tokio::test]
async fn pages_show_every_fulfillment_once_newest_first() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(create::run(&world.app, &ctx, wish(OrderId::new(), &format!("W{number}"))).await?.id());
    }
    made.reverse();
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let query = queries::list::List { size: 2, token, order: None };
        let page = queries::list::run(&world.app, &ctx, query).await?;
        seen.extend(page.work.iter().map(crate::model::Fulfillment::id));
        token = page.next;
        if token.is_empty() {
            break;
        }
        let other = queries::list::List { size: 2, token: token.clone(), order: Some(OrderId::new()) };
        assert!(queries::list::run(&world.app, &ctx, other).await.is_err(), "a token of another filter was taken");
    }
    assert_eq!(seen, made);
    Ok(())
}

#[tokio::test]
async fn ful_03_of_many_moves_from_one_version_one_is_written_and_told() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    let other = create::run(&world.app, &ctx, wish(OrderId::new(), "W1")).await?;
    let work = create::run(&world.app, &ctx, wish(OrderId::new(), "W1")).await?;
    // While the other one is written, the twenty gather to one statement.
    let works = std::iter::once(&other).chain(std::iter::repeat_n(&work, 20));
    let moves = works.map(|work| {
        let mut picking = work.clone();
        picking.state = State::Picking;
        let step = Move {
            fulfillment: work.id(),
            expected: work.version,
            state: State::Picking,
            wms_order_id: String::new(),
            observed_at: Some(ctx.now),
            events: events::entered(&picking).into_iter().collect(),
        };
        let (store, ctx) = (&world.app.store, &ctx);
        async move { store.advance(ctx, &step).await }
    });
    let moved: Vec<bool> = join_all(moves).await.into_iter().collect::<Result<_, _>>()?;
    assert_eq!(moved, (0..21).map(|turn| turn < 2).collect::<Vec<_>>(), "the other one, and the first of the twenty");
    for made in [&other, &work] {
        assert_eq!(world.app.store.get(ctx.tenant, made.id()).await?.version, made.version + 1);
    }
    let told = world.names().await?.into_iter().filter(|name| name == "FulfillmentStarted").count();
    assert_eq!(told, 2);
    Ok(())
}
