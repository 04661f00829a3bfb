//! Who cancels, and what happens when the warehouse begins at the same moment.

use std::time::Duration;

use contract::fulfillment::v1::{FulfillmentCancelled, FulfillmentShipped};
use ctx::Ctx;
use ids::{FulfillmentId, OrderId, TenantId};
use prost::Message;
use tokio::sync::watch;

use super::{World, all, ctx_of, wish};
use crate::commands::{cancel, create, ship};
use crate::state::State;

const ROUNDS: u32 = 60;
/// Rounds at most, until each side has won some.
const MOST_ROUNDS: u32 = 400;
const WON: u32 = 10;

/// How a fulfillment ends when its cancellation is asked for as soon as the warehouse was polled so often; every poll
/// ships what is packed.
async fn race(world: &World, ctx: &Ctx, order: OrderId, polls: u32) -> anyhow::Result<State> {
    let id = create::run(&world.app, ctx, wish(order, "W1")).await?.id();
    let (polled, mut seen) = watch::channel(0);
    let warehouse = async move {
        let (one, other) = (world.poller(), world.poller());
        loop {
            let (asked, also) = tokio::join!(one.round(), other.round());
            let asked = asked? + also?;
            polled.send_modify(|polls| *polls += u32::from(asked > 0));
            let parcel = ship::Ship { fulfillment: id, carrier: "fedex".into(), tracking_number: "794".into() };
            match ship::run(&world.app, ctx, parcel).await {
                Ok(work) => return anyhow::Ok(work.state),
                Err(fault) if fault.reason() == "FULFILLMENT_CANCELLED" => return Ok(State::Cancelled),
                Err(fault) if fault.reason() == "FULFILLMENT_NOT_PACKED" => {}
                Err(fault) => return Err(fault.into()),
            }
        }
    };
    let customer = async {
        // A warehouse that was done before so many polls makes no more of them.
        let _done = seen.wait_for(|seen| *seen >= polls).await.is_err();
        anyhow::Ok(cancel::run(&world.app, ctx, all(order)).await)
    };
    let both = async { tokio::join!(warehouse, customer) };
    let (warehouse, customer) = tokio::time::timeout(Duration::from_secs(60), both).await?;
    let ended = warehouse?;
    match customer? {
        Ok(taken) => {
            assert_eq!((taken.len(), ended), (1, State::Cancelled), "the caller was told that it is cancelled")
        }
        Err(fault) => assert_eq!((fault.reason(), ended), ("ORDER_IN_PICKING", State::Shipped)),
    }
    assert_eq!(world.app.store.get(ctx.tenant, id).await?.state, ended);
    Ok(ended)
}

#[tokio::test]
async fn of_a_cancellation_and_a_warehouse_that_begins_exactly_one_wins_and_the_events_say_which() -> anyhow::Result<()>
{
    let world = World::start(200.0).await?;
    let ctx = ctx_of(TenantId::new());
    let (mut cancelled, mut shipped, mut polls) = (0, 0, 0_u32);
    let mut rounds = 0;
    while rounds < ROUNDS || cancelled.min(shipped) < WON {
        assert!(rounds < MOST_ROUNDS, "{cancelled} cancelled and {shipped} shipped: one side always wins");
        rounds += 1;
        // Whoever has won begins later the next time, so that the two come as close as they can.
        match race(&world, &ctx, OrderId::new(), polls).await? {
            State::Cancelled => (cancelled, polls) = (cancelled + 1, polls + 1),
            _ => (shipped, polls) = (shipped + 1, polls.saturating_sub(1)),
        }
    }
    let mut ends: Vec<(String, State)> = Vec::new();
    for (name, payload, _) in world.events().await? {
        match name.as_str() {
            "FulfillmentCancelled" => {
                let event = FulfillmentCancelled::decode(payload.as_slice())?;
                assert!(!event.by_warehouse, "we asked for it, whoever wrote it down");
                ends.push((event.order_id, State::Cancelled));
            }
            "FulfillmentShipped" => {
                ends.push((FulfillmentShipped::decode(payload.as_slice())?.order_id, State::Shipped));
            }
            _ => {}
        }
    }
    let count = |state| ends.iter().filter(|(_, end)| *end == state).count();
    assert_eq!([count(State::Cancelled), count(State::Shipped)], [cancelled as usize, shipped as usize]);
    ends.sort();
    ends.dedup_by(|one, other| one.0 == other.0);
    assert_eq!(ends.len(), rounds as usize, "each order has one end");
    let told = [world.ledger("cancel").await?.len(), world.ledger("release").await?.len()];
    assert_eq!(told, [cancelled as usize, shipped as usize], "the warehouse did the same");
    Ok(())
}

/// The only cancellation that was published.
async fn cancelled(world: &World) -> anyhow::Result<FulfillmentCancelled> {
    let events = world.events().await?;
    let mut cancelled = events.iter().filter(|(name, ..)| name == "FulfillmentCancelled");
    let (Some((_, payload, _)), None) = (cancelled.next(), cancelled.next()) else { anyhow::bail!("not once") };
    Ok(FulfillmentCancelled::decode(payload.as_slice())?)
}

async fn submitted(world: &World, ctx: &Ctx, revision: i32) -> anyhow::Result<(OrderId, FulfillmentId)> {
    let order = OrderId::new();
    let wish = create::Create { revision, ..wish(order, "W1") };
    Ok((order, create::run(&world.app, ctx, wish).await?.id()))
}

#[tokio::test]
async fn what_the_warehouse_cancels_by_itself_is_published_as_its_own_doing_and_of_which_revision_it_was()
-> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    let (order, id) = submitted(&world, &ctx, 8).await?;
    // Behind our back.
    world.app.wms.cancel(&ctx, id).await.expect("not begun");
    world.poll().await?;
    assert_eq!(world.app.store.get(ctx.tenant, id).await?.state, State::Cancelled);
    let event = cancelled(&world).await?;
    assert_eq!((event.by_warehouse, event.revision), (true, 8));
    assert_eq!((event.order_id, event.fulfillment_id), (order.to_string(), id.to_string()));
    Ok(())
}

#[tokio::test]
async fn what_we_asked_for_is_published_as_ours_even_when_a_poll_sees_it_first() -> anyhow::Result<()> {
    let world = World::start(1.0).await?;
    let ctx = ctx_of(TenantId::new());
    let (order, id) = submitted(&world, &ctx, 0).await?;
    // A cancellation that dies before it has written down the warehouse's answer.
    world.app.store.cancel_order(ctx.tenant, order, i32::MAX).await?;
    world.app.wms.cancel(&ctx, id).await.expect("not begun");
    world.poll().await?;
    assert!(!cancelled(&world).await?.by_warehouse);
    assert_eq!(cancel::run(&world.app, &ctx, all(order)).await?[0].state, State::Cancelled);
    assert!(!cancelled(&world).await?.by_warehouse, "and once");
    Ok(())
}
