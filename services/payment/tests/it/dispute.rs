use anyhow::Result;
use contract::payment::v1::{Payment, PaymentState};
use futures::future::join_all;
use ids::{OrderId, ShipmentId};

use crate::world::{ASKED, World, minor, reason};

async fn captured(world: &World, order: OrderId) -> Result<Payment> {
    world.authorize(order, "pm_sim_visa").await?;
    Ok(world.capture(order, ShipmentId::new(), ASKED, true).await?)
}

#[tokio::test]
async fn pay_10_disputes_are_folded_in_any_order_and_never_exceed_what_was_captured() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let paid = captured(&world, order).await?;
    let reference = &paid.provider_reference;
    world.refund(&paid.id, 4_000, "k1").await?;
    // The end comes before the beginning, and everything twice; the bank wants more than there is.
    for (event, status) in [("e1", "lost"), ("e2", "needs_response"), ("e1", "lost"), ("e2", "needs_response")] {
        world.push_signed(&World::dispute(event, "dp_1", reference, ASKED, status)).await?;
        let now = world.get(&paid.id).await?;
        assert_eq!((now.state(), minor(&now.disputed)), (PaymentState::Disputed, 6_000));
    }
    let fault = world.refund(&paid.id, 1, "k2").await.expect_err("nothing is left");
    assert_eq!((fault.reason(), fault.metadata()["remaining_minor"].as_str()), ("REFUND_EXCEEDS_CAPTURE", "0"));
    assert_eq!((world.events("ChargebackOpened").await?, world.events("ChargebackClosed").await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn pay_10_a_dispute_that_is_won_gives_the_money_free_again() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let paid = captured(&world, order).await?;
    let event = |name, status| World::dispute(name, "dp_1", &paid.provider_reference, 3_000, status);
    for pushed in join_all((0..10).map(|_| async { world.push_signed(&event("e1", "needs_response")).await })).await {
        pushed?;
    }
    assert_eq!(minor(&world.get(&paid.id).await?.disputed), 3_000);
    assert_eq!(reason(world.refund(&paid.id, 7_001, "k1").await), "REFUND_EXCEEDS_CAPTURE");
    world.push_signed(&event("e2", "won")).await?;
    let now = world.get(&paid.id).await?;
    assert_eq!((now.state(), minor(&now.disputed)), (PaymentState::Captured, 0));
    world.refund(&paid.id, ASKED, "k2").await?;
    assert_eq!((world.events("ChargebackOpened").await?, world.events("ChargebackClosed").await?), (1, 1));
    Ok(())
}
