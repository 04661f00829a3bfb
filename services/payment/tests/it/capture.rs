use anyhow::Result;
use contract::payment::v1::PaymentState;
use fault::Kind;
use futures::future::join_all;
use ids::{OrderId, ShipmentId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, reason};

#[tokio::test]
async fn pay_02_pay_03_shipments_are_captured_one_by_one_and_the_last_lets_the_rest_go() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    let first = ShipmentId::new();
    let part = world.capture(order, first, 4_000, false).await?;
    assert_eq!((part.state(), amounts(&part)), (PaymentState::PartiallyCaptured, (ASKED, 4_000, 0, 0)));
    assert_eq!(world.capture(order, first, 4_000, false).await?, part, "the same shipment again");
    let all = world.capture(order, ShipmentId::new(), 5_000, true).await?;
    assert_eq!((all.state(), amounts(&all)), (PaymentState::Captured, (ASKED, 9_000, 1_000, 0)));
    assert_eq!(world.ledger("capture", order).await?, [4_000, 5_000]);
    assert_eq!((world.events("PaymentCaptured").await?, world.events("PaymentVoided").await?), (2, 1));
    Ok(())
}

#[tokio::test]
async fn sag_05_one_shipment_captured_by_many_at_once_is_captured_once() -> Result<()> {
    let (world, order, shipment) = (World::start().await?, OrderId::new(), ShipmentId::new());
    world.authorize(order, "pm_sim_visa").await?;
    for payment in join_all((0..20).map(|_| world.capture(order, shipment, ASKED, true))).await {
        assert_eq!(amounts(&payment?), (ASKED, ASKED, 0, 0));
    }
    assert_eq!(world.ledger("capture", order).await?, [ASKED]);
    assert_eq!(world.events("PaymentCaptured").await?, 1);
    Ok(())
}

#[tokio::test]
async fn pay_03_captures_at_once_never_exceed_the_hold() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    let outcomes = join_all((0..20).map(|_| world.capture(order, ShipmentId::new(), 3_000, false))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    for fault in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!((fault.reason(), fault.kind()), ("CAPTURE_EXCEEDS_AUTHORIZATION", Kind::Precondition));
        assert!(fault.metadata().contains_key("remaining_minor"));
    }
    assert_eq!(world.ledger("capture", order).await?, [3_000; 3]);
    Ok(())
}

#[tokio::test]
async fn a_capture_of_unknown_outcome_is_unavailable_until_the_same_key_tells() -> Result<()> {
    let (world, order, shipment) = (World::start().await?, OrderId::new(), ShipmentId::new());
    world.authorize(order, "pm_sim_visa").await?;
    // Three tries of ours for each of the caller's three.
    world.faults(json!([{"op": "payment_intents.capture", "kind": "reset_after", "times": 9}])).await?;
    let lost = world.capture(order, shipment, ASKED, true).await.expect_err("nobody knows");
    assert_eq!((lost.kind(), lost.reason()), (Kind::Unavailable, "PAYMENT_OUTCOME_UNKNOWN"));
    world.faults(json!([])).await?;
    assert_eq!(world.capture(order, shipment, ASKED, true).await?.state(), PaymentState::Captured);
    assert_eq!(world.ledger("capture", order).await?, [ASKED]);
    Ok(())
}

#[tokio::test]
async fn a_capture_that_everybody_forgot_is_resolved_by_the_job() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = world.authorize(order, "pm_sim_visa").await?.id;
    world.faults(json!([{"op": "payment_intents.capture", "kind": "reset", "times": 9}])).await?;
    assert!(world.capture(order, ShipmentId::new(), 4_000, false).await.is_err());
    world.faults(json!([])).await?;
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((amounts(&world.get(&id).await?) == (ASKED, 4_000, 0, 0)).then_some(())) }).await?;
    assert_eq!(world.events("PaymentCaptured").await?, 1);
    Ok(())
}

#[tokio::test]
async fn pay_02_a_hold_older_than_seven_days_is_never_captured() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    world.tamper("UPDATE payments SET authorized_at = now() - interval '7 days 1 s'").await?;
    assert_eq!(reason(world.capture(order, ShipmentId::new(), 1, false).await), "AUTHORIZATION_EXPIRED");
    assert_eq!(world.ledger("capture", order).await?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn only_held_money_can_be_captured_and_a_shipment_keeps_its_amount() -> Result<()> {
    let (world, declined, held, shipment) = (World::start().await?, OrderId::new(), OrderId::new(), ShipmentId::new());
    assert_eq!(reason(world.capture(declined, shipment, 1, false).await), "PAYMENT_NOT_FOUND");
    world.authorize(declined, "pm_sim_declined").await?;
    assert_eq!(reason(world.capture(declined, shipment, 1, false).await), "PAYMENT_NOT_AUTHORIZED");
    world.authorize(held, "pm_sim_visa").await?;
    world.capture(held, shipment, 1_000, false).await?;
    assert_eq!(reason(world.capture(held, shipment, 1_001, false).await), "CAPTURE_DIFFERS");
    let fault = world.capture(held, shipment, 0, false).await.expect_err("must be refused");
    assert_eq!(fault.violations()[0].field, "amount.amount_minor");
    Ok(())
}

#[tokio::test]
async fn pay_02_a_capture_that_was_refused_is_taken_from_the_next_hold() -> Result<()> {
    let (world, order, shipment) = (World::start().await?, OrderId::new(), ShipmentId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    // We believe in more than the provider holds.
    world.tamper("UPDATE payments SET authorized = 12000, ceiling = 12000").await?;
    for _ in 0..2 {
        assert_eq!(reason(world.capture(order, shipment, 11_000, true).await), "CAPTURE_REFUSED");
    }
    world.tamper("UPDATE payments SET hold = 1, revision = revision + 1").await?;
    assert_eq!(amounts(&world.reauthorize(&held.id, 2, "").await?), (12_000, 0, 0, 0));
    for _ in 0..2 {
        assert_eq!(amounts(&world.capture(order, shipment, 11_000, true).await?), (12_000, 11_000, 1_000, 0));
    }
    assert_eq!((world.ledger("capture", order).await?, world.events("PaymentCaptured").await?), (vec![11_000], 1));
    Ok(())
}

#[tokio::test]
async fn pay_02_a_capture_without_an_outcome_ends_with_its_hold_as_what_was_done_in_time() -> Result<()> {
    let world = World::start().await?;
    for (kind, taken, unwanted) in
        [("reset", 0, false), ("reset", 0, true), ("reset_after", 4_000, false), ("reset_after", 4_000, true)]
    {
        let (order, shipment) = (OrderId::new(), ShipmentId::new());
        world.authorize(order, "pm_sim_visa").await?;
        world.faults(json!([{"op": "payment_intents.capture", "kind": kind, "times": 9}])).await?;
        assert_eq!(reason(world.capture(order, shipment, 4_000, false).await), "PAYMENT_OUTCOME_UNKNOWN");
        world.faults(json!([])).await?;
        if unwanted {
            world.void(order).await?;
        } else {
            world.tamper("UPDATE payments SET authorized_at = now() - interval '7 days 1 s'").await?;
        }
        let ended = world.capture(order, shipment, 4_000, false).await;
        assert_eq!(ended.is_ok(), taken > 0, "{kind} {unwanted}: {ended:?}");
        let captured = if taken > 0 { vec![taken] } else { vec![] };
        assert_eq!(world.ledger("capture", order).await?, captured, "{kind} {unwanted}");
        assert_eq!(world.ledger("void", order).await?, [ASKED - taken], "{kind} {unwanted}");
        assert_eq!(world.ledger("refund", order).await?, if unwanted { captured } else { vec![] });
        assert_eq!(world.count("SELECT count(*) AS n FROM captures WHERE state = 'PENDING'").await?, 0);
        assert_eq!(world.count("SELECT count(*) AS n FROM payments WHERE pending > 0").await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn pay_04_a_capture_that_everybody_forgot_is_not_made_up_for_after_a_void() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = world.authorize(order, "pm_sim_visa").await?.id;
    world
        .faults(json!([{"op": "payment_intents.capture", "kind": "reset", "times": 9},
        {"op": "payment_intents.cancel", "kind": "error500", "times": 9}]))
        .await?;
    assert!(world.capture(order, ShipmentId::new(), 4_000, false).await.is_err());
    assert_eq!(reason(world.void(order).await), "PAYMENT_OUTCOME_UNKNOWN");
    world.faults(json!([])).await?;
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((world.get(&id).await?.state() == PaymentState::Voided).then_some(())) }).await?;
    let ended = "SELECT count(*) AS n FROM captures WHERE state = 'FAILED'";
    eventually(SOON, || async { Ok((world.count(ended).await? == 1).then_some(())) }).await?;
    assert_eq!(
        (world.ledger("capture", order).await?, world.ledger("void", order).await?),
        (vec![], vec![ASKED]),
        "nothing is taken to be given back"
    );
    Ok(())
}
