//! Refunds that banks take days for, and those that come back.

use anyhow::{Context as _, Result};
use contract::payment::v1::{DiscrepancyClass as Class, Payment, PaymentState, RefundFailed};
use ids::{OrderId, ShipmentId, TenantId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, minor, reason};

const SLOW: &str = "pm_sim_refund_pending";

async fn captured(world: &World, order: OrderId, method: &str) -> Result<Payment> {
    world.authorize(order, method).await?;
    Ok(world.capture(order, ShipmentId::new(), ASKED, true).await?)
}

#[tokio::test]
async fn pay_04_a_refund_that_the_bank_is_busy_with_is_pending_until_the_provider_tells_how_it_ended() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = captured(&world, order, SLOW).await?.id;
    let (refund, _) = world.refund(&id, 4_000, "k1").await?;
    let under_way = world.get(&id).await?;
    assert_eq!(
        (refund.state.as_str(), minor(&under_way.refund_pending), minor(&under_way.refunded)),
        ("PENDING", 4_000, 0)
    );
    assert_eq!(
        world.refund(&id, 4_000, "k1").await?.0.state,
        "PENDING",
        "the same key asks the provider, who knows it"
    );
    let fault = world.refund(&id, 6_001, "k2").await.expect_err("what is under way has its place");
    assert_eq!((fault.reason(), fault.metadata()["remaining_minor"].as_str()), ("REFUND_EXCEEDS_CAPTURE", "6000"));
    assert_eq!(world.events("RefundSucceeded").await?, 0);
    let theirs = world.end_refund(&under_way.provider_reference, "succeed").await?;
    let event = World::refund_event("evt_1", "refund.updated", &theirs);
    world.as_tenant(TenantId::new()).push_signed(&event).await?;
    assert_eq!(world.get_refund(&refund.id).await?.state, "PENDING", "another tenant's endpoint");
    for _ in 0..2 {
        world.push_signed(&event).await?;
    }
    let payment = world.get(&id).await?;
    assert_eq!((minor(&payment.refund_pending), minor(&payment.refunded)), (0, 4_000));
    assert_eq!(world.get_refund(&refund.id).await?.state, "SUCCEEDED");
    assert_eq!((world.events("RefundSucceeded").await?, world.ledger("refund", order).await?), (1, vec![4_000]));
    Ok(())
}

#[tokio::test]
async fn pay_04_a_refund_that_fails_later_is_failed_and_its_sum_may_be_given_back_again() -> Result<()> {
    for (method, first) in [(SLOW, "PENDING"), ("pm_sim_visa", "SUCCEEDED")] {
        let (world, order) = (World::start().await?, OrderId::new());
        let held = captured(&world, order, method).await?;
        let (refund, _) = world.refund(&held.id, 4_000, "k1").await?;
        assert_eq!(refund.state, first);
        let earlier = world.their_refund(&held.provider_reference).await?;
        let theirs = world.end_refund(&held.provider_reference, "fail").await?;
        world.push_signed(&World::refund_event("evt_1", "refund.failed", &theirs)).await?;
        assert_eq!(world.get_refund(&refund.id).await?.state, "FAILED", "{method}");
        // What was told before it failed comes late, and changes nothing.
        let counted = json!({"object": "charge", "payment_intent": held.provider_reference, "amount": ASKED,
            "amount_captured": ASKED, "amount_refunded": 4_000, "currency": "usd",
            "metadata": {"tenant": world.tenant, "payment": held.id}});
        let done =
            json!({"status": "succeeded", "id": earlier["id"], "object": "refund", "metadata": earlier["metadata"]});
        world.push_signed(&World::refund_event("evt_2", "charge.refunded", &counted)).await?;
        world.push_signed(&World::refund_event("evt_3", "refund.updated", &done)).await?;
        let payment = world.get(&held.id).await?;
        assert_eq!((payment.state(), amounts(&payment)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)), "{method}");
        assert_eq!((world.events("RefundFailed").await?, minor(&payment.refund_pending)), (1, 0), "{method}");
        assert_eq!(reason(world.refund(&held.id, 4_000, "k1").await), "REFUND_REFUSED", "it is over");
        let failed: Vec<RefundFailed> = world.told().await?;
        let failed: Vec<_> = failed.iter().map(|told| (told.refund_id.as_str(), told.returned)).collect();
        assert_eq!(
            failed,
            [(refund.id.as_str(), first == "SUCCEEDED")],
            "{method}: back only when it was told as done"
        );
        world.refund(&held.id, ASKED, "k2").await?;
        assert_eq!(world.ledger("refund", order).await?, [4_000, ASKED], "{method}");
        let told = world.history(&held.id).await?;
        assert!(told.iter().any(|event| event.action == "REFUND_RETURNED" && event.note == "lost_or_stolen_card"));
    }
    Ok(())
}

#[tokio::test]
async fn pay_04_how_a_refund_ended_is_asked_for_where_no_webhook_tells() -> Result<()> {
    let (world, mut refunds) = (World::start().await?, Vec::new());
    for (outcome, state) in [("succeed", "SUCCEEDED"), ("fail", "FAILED")] {
        let held = captured(&world, OrderId::new(), SLOW).await?;
        refunds.push((world.refund(&held.id, 4_000, state).await?.0.id, state));
        world.end_refund(&held.provider_reference, outcome).await?;
    }
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s' WHERE check_at IS NOT NULL").await?;
    world.start_jobs();
    for (refund, state) in refunds {
        eventually(SOON, || async { Ok((world.get_refund(&refund).await?.state == state).then_some(())) }).await?;
    }
    assert_eq!((world.events("RefundSucceeded").await?, world.events("RefundFailed").await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn pay_04_a_void_does_not_wait_for_the_bank_and_gives_back_once() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = world.authorize(order, SLOW).await?.id;
    world.capture(order, ShipmentId::new(), 6_000, false).await?;
    world.refund(&id, 1_000, "k1").await?;
    for _ in 0..2 {
        let payment = world.void(order).await?;
        // The provider counts the first one while it is under way.
        assert_eq!((amounts(&payment), minor(&payment.refund_pending)), ((ASKED, 6_000, 4_000, 1_000), 6_000));
    }
    assert_eq!(world.ledger("refund", order).await?, [1_000, 5_000]);
    Ok(())
}

#[tokio::test]
async fn pay_11_a_refund_that_came_back_untold_is_found_in_the_books_and_taken_in() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = captured(&world, order, "pm_sim_visa").await?;
    world.refund(&held.id, 4_000, "k1").await?;
    world.end_refund(&held.provider_reference, "fail").await?;
    assert_eq!(world.reconcile(&World::today()).await?.amount_differs, 1);
    let found = world.discrepancies().await?.pop().context("a discrepancy")?;
    assert_eq!((found.class(), found.payment_id.as_str()), (Class::AmountDiffers, held.id.as_str()));
    assert_eq!(world.settle(&found.id, false).await?.resolution, "REDRIVEN");
    assert_eq!(amounts(&world.get(&held.id).await?), (ASKED, ASKED, 0, 0));
    Ok(())
}
