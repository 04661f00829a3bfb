use futures::future::join_all;
use ids::{OrderId, TenantId};

use super::{World, all, ctx_of, wish};
use crate::commands::cancel::{self, Cancel};
use crate::commands::create::{self, Create};
use crate::model::Line;
use crate::state::State;

/// A wish for other units.
fn again(order: OrderId, warehouse: &str, revision: i32, quantity: i32) -> Create {
    let mut wish = wish(order, warehouse);
    wish.body.lines = vec![Line { line: 1, sku: "SKU-1".into(), quantity }];
    Create { revision, ..wish }
}

fn below(order: OrderId, revision: i32) -> Cancel {
    Cancel { order, revision }
}

#[tokio::test]
async fn ord_44_recalled_work_is_asked_for_again_under_a_reference_of_its_own_and_once() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    let first = create::run(&world.app, &ctx, wish(order, "W1")).await?;
    for _ in 0..2 {
        assert_eq!(cancel::run(&world.app, &ctx, below(order, 8)).await?[0].state, State::Cancelled);
    }
    let calls = (0..10).map(|_| create::run(&world.app, &ctx, again(order, "W1", 8, 5)));
    let mut ids = Vec::new();
    for work in join_all(calls).await {
        let work = work?;
        assert_eq!((work.revision, work.state, work.body.lines[0].quantity), (8, State::Submitted, 5));
        ids.push(work.id());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one fulfillment");
    assert_ne!(ids[0], first.id());
    let orders = world.ledger("create").await?;
    assert_eq!(orders.len(), 2, "one more order at the warehouse");
    assert_ne!(orders[0]["reference"], orders[1]["reference"]);
    assert_eq!(world.ledger("cancel").await?.len(), 1);
    // A recall that is repeated late does not take back what was asked for behind it.
    assert!(cancel::run(&world.app, &ctx, below(order, 8)).await?.iter().all(|work| work.state == State::Cancelled));
    assert_eq!(create::run(&world.app, &ctx, again(order, "W1", 8, 5)).await?.state, State::Submitted);
    let names = world.names().await?;
    let count = |name: &str| names.iter().filter(|known| *known == name).count();
    assert_eq!([count("FulfillmentRequested"), count("FulfillmentAccepted"), count("FulfillmentCancelled")], [2, 2, 1]);
    Ok(())
}

#[tokio::test]
async fn ord_44_a_late_wish_of_a_lower_revision_changes_nothing() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    create::run(&world.app, &ctx, wish(order, "W1")).await?;
    cancel::run(&world.app, &ctx, below(order, 8)).await?;
    let late = || async {
        for (warehouse, revision) in [("W1", 0), ("W1", 7), ("W2", 0), ("W2", 7)] {
            let fault = create::run(&world.app, &ctx, again(order, warehouse, revision, 9)).await.err().expect("late");
            assert_eq!(fault.reason(), "FULFILLMENT_CANCELLED", "{warehouse} {revision}");
        }
    };
    late().await;
    let new = create::run(&world.app, &ctx, again(order, "W1", 8, 5)).await?;
    late().await;
    let known = world.app.store.list(ctx.tenant, Some(order), None, 10).await?;
    assert_eq!(known.iter().map(|work| work.revision).collect::<Vec<_>>(), [8, 0]);
    assert_eq!((known[0].id(), known[0].version), (new.id(), new.version));
    // Cancelled for good: no revision comes back.
    cancel::run(&world.app, &ctx, all(order)).await?;
    let fault = create::run(&world.app, &ctx, again(order, "W1", 1_000_000, 1)).await.err().expect("over");
    assert_eq!(fault.reason(), "FULFILLMENT_CANCELLED");
    assert_eq!(world.ledger("create").await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn ord_44_a_warehouse_that_has_begun_stops_a_recall_and_what_was_called_off_is_asked_for_again()
-> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let (ctx, order) = (ctx_of(TenantId::new()), OrderId::new());
    let first = create::run(&world.app, &ctx, wish(order, "W1")).await?;
    let second = create::run(&world.app, &ctx, wish(order, "W2")).await?;
    // One was called off, and the other begins before it is asked.
    world.app.wms.cancel(&ctx, first.id()).await.expect("not begun");
    cancel::mark(&world.app, &ctx, first.clone(), true).await?;
    world.sims.set_speed(1e9);
    let fault = cancel::run(&world.app, &ctx, below(order, 8)).await.err().expect("picking has begun");
    assert_eq!(fault.reason(), "ORDER_IN_PICKING");
    world.sims.set_speed(1.0);
    let stands = create::run(&world.app, &ctx, again(order, "W2", 9, 2)).await?;
    assert_eq!((stands.id(), stands.revision), (second.id(), 0), "what is not cancelled is the answer");
    let back = create::run(&world.app, &ctx, again(order, "W1", 9, 2)).await?;
    assert_eq!((back.revision, back.state), (9, State::Submitted));
    assert_ne!(back.id(), first.id());
    assert_eq!(world.ledger("create").await?.len(), 3);
    // The old one was replaced: a cancellation that comes too late does not speak of it.
    let fault = cancel::run(&world.app, &ctx, all(order)).await.err().expect("picking has begun");
    assert_eq!(fault.reason(), "ORDER_IN_PICKING");
    assert!(fault.metadata().get("cancelled").is_none_or(String::is_empty), "{fault:?}");
    Ok(())
}
