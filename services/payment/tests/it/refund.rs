use anyhow::Result;
use contract::payment::v1::{Payment, PaymentState};
use futures::future::join_all;
use ids::{OrderId, PaymentId, ShipmentId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, reason};

async fn captured(world: &World, order: OrderId) -> Result<Payment> {
    world.authorize(order, "pm_sim_visa").await?;
    Ok(world.capture(order, ShipmentId::new(), ASKED, true).await?)
}

#[tokio::test]
async fn pay_04_captured_money_is_given_back_in_parts_until_nothing_is_left() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = captured(&world, order).await?.id;
    let (refund, replayed) = world.refund(&id, 4_000, "k1").await?;
    assert_eq!((refund.state.as_str(), refund.payment_id.as_str(), replayed), ("SUCCEEDED", id.as_str(), false));
    assert_eq!(world.get(&id).await?.state(), PaymentState::PartiallyRefunded);
    let fault = world.refund(&id, 6_001, "k2").await.expect_err("more than is left");
    assert_eq!((fault.reason(), fault.metadata()["remaining_minor"].as_str()), ("REFUND_EXCEEDS_CAPTURE", "6000"));
    world.refund(&id, 6_000, "k3").await?;
    let payment = world.get(&id).await?;
    assert_eq!((payment.state(), amounts(&payment)), (PaymentState::Refunded, (ASKED, ASKED, 0, ASKED)));
    assert_eq!(world.ledger("refund", order).await?, [4_000, 6_000]);
    assert_eq!(world.events("RefundSucceeded").await?, 2);
    Ok(())
}

#[tokio::test]
async fn sag_05_a_refund_is_made_once_per_key() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = captured(&world, order).await?.id;
    let answers = join_all((0..20).map(|_| world.refund(&id, 1_000, "k1"))).await;
    let mut refunds: Vec<_> =
        answers.into_iter().map(|answer| answer.map(|(refund, _)| refund.id)).collect::<Result<_, _>>()?;
    refunds.dedup();
    assert_eq!(refunds.len(), 1);
    assert!(world.refund(&id, 1_000, "k1").await?.1, "marked as a repeat");
    assert_eq!(reason(world.refund(&id, 1_001, "k1").await), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(world.ledger("refund", order).await?, [1_000]);
    Ok(())
}

#[tokio::test]
async fn pay_04_refunds_at_once_never_exceed_the_capture() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = captured(&world, order).await?.id;
    let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
    let outcomes = join_all(keys.iter().map(|key| world.refund(&id, 6_000, key))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for fault in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!((fault.reason(), fault.metadata()["remaining_minor"].as_str()), ("REFUND_EXCEEDS_CAPTURE", "4000"));
    }
    assert_eq!(world.ledger("refund", order).await?, [6_000]);
    Ok(())
}

#[tokio::test]
async fn a_refund_of_unknown_outcome_is_pending_until_the_same_key_tells() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = captured(&world, order).await?.id;
    world.faults(json!([{"op": "refunds.create", "kind": "reset_after", "times": 3}])).await?;
    assert_eq!(world.refund(&id, 1_000, "k1").await?.0.state, "PENDING");
    assert_eq!(reason(world.refund(&id, 9_001, "k2").await), "REFUND_EXCEEDS_CAPTURE");
    let (refund, replayed) = world.refund(&id, 1_000, "k1").await?;
    assert_eq!((refund.state.as_str(), replayed), ("SUCCEEDED", true));
    assert_eq!(world.ledger("refund", order).await?, [1_000]);
    Ok(())
}

#[tokio::test]
async fn a_refund_that_everybody_forgot_is_resolved_by_the_job() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = captured(&world, order).await?.id;
    world.faults(json!([{"op": "refunds.create", "kind": "reset", "times": 3}])).await?;
    assert_eq!(world.refund(&id, 1_000, "k1").await?.0.state, "PENDING");
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((amounts(&world.get(&id).await?).3 == 1_000).then_some(())) }).await?;
    assert_eq!(world.refund(&id, 1_000, "k1").await?.0.state, "SUCCEEDED");
    Ok(())
}

#[tokio::test]
async fn refunds_of_nothing_of_nobody_or_without_a_reason_are_refused() -> Result<()> {
    let world = World::start().await?;
    let payment = PaymentId::new().to_string();
    assert_eq!(reason(world.refund(&payment, 1, "k1").await), "PAYMENT_NOT_FOUND");
    for minor in [0, -1, i64::MIN] {
        let fault = world.refund(&payment, minor, "k2").await.expect_err("must be refused");
        assert_eq!(fault.violations()[0].field, "amount.amount_minor");
    }
    let held = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    let fault = world.refund(&held.id, i64::MAX, "k3").await.expect_err("nothing was captured");
    assert_eq!((fault.reason(), fault.metadata()["remaining_minor"].as_str()), ("REFUND_EXCEEDS_CAPTURE", "0"));
    Ok(())
}
