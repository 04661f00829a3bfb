//! What providers refuse, and what nobody should ask for, each by its reason.

use anyhow::Result;
use contract::payment::v1::PaymentState;
use fault::Kind;
use ids::{OrderId, ShipmentId};

use crate::world::{ASKED, World, amounts, reason};

#[tokio::test]
async fn pay_03_a_capture_that_the_provider_refuses_is_refused_with_its_code_and_takes_nothing() -> Result<()> {
    let (world, order, shipment) = (World::start().await?, OrderId::new(), ShipmentId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    world.behind_our_back(&format!("payment_intents/{}/cancel", held.provider_reference)).await?;
    for _ in 0..2 {
        let fault = world.capture(order, shipment, 4_000, false).await.expect_err("the hold is gone");
        assert_eq!((fault.kind(), fault.reason()), (Kind::Precondition, "CAPTURE_REFUSED"));
        assert_eq!(fault.metadata()["code"].as_str(), "payment_intent_unexpected_state");
    }
    assert_eq!(amounts(&world.get(&held.id).await?), (ASKED, 0, ASKED, 0));
    Ok(())
}

#[tokio::test]
async fn pay_04_a_refund_that_the_provider_refuses_is_refused_with_its_code_and_frees_its_sum() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    // As if it had been captured: the provider knows better.
    world.tamper("UPDATE payments SET captured = authorized, closed = true, state = 'CAPTURED'").await?;
    for _ in 0..2 {
        let fault = world.refund(&held.id, 4_000, "k1").await.expect_err("nothing was captured");
        assert_eq!((fault.kind(), fault.reason()), (Kind::Precondition, "REFUND_REFUSED"));
    }
    let payment = world.get(&held.id).await?;
    assert_eq!((amounts(&payment).3, payment.refund_pending.map(|sum| sum.amount_minor)), (0, Some(0)));
    Ok(())
}

#[tokio::test]
async fn pay_04_a_void_that_the_provider_refuses_is_refused_with_its_code() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    world.tamper("UPDATE payments SET provider_reference = 'pi_gone'").await?;
    let fault = world.void(order).await.expect_err("the provider has no such hold");
    assert_eq!((fault.kind(), fault.reason()), (Kind::Precondition, "VOID_REFUSED"));
    assert_eq!(fault.metadata()["code"].as_str(), "resource_missing");
    assert_eq!(world.get(&held.id).await?.state(), PaymentState::Authorized);
    Ok(())
}

#[tokio::test]
async fn pay_10_a_provider_that_nobody_knows_is_refused_by_its_name() -> Result<()> {
    let world = World::start().await?;
    let body = br#"{"id":"evt_1"}"#;
    let pushed = world.push_to("nobody", body, "t=1,v1=00").await;
    for fault in
        [pushed.expect_err("must be refused"), world.reconcile_with("nobody", &World::today()).await.expect_err("too")]
    {
        assert_eq!((fault.kind(), fault.reason()), (Kind::Invalid, "UNKNOWN_PROVIDER"));
        assert_eq!(fault.violations()[0].field, "provider");
    }
    Ok(())
}

#[tokio::test]
async fn pay_04_money_of_another_currency_is_neither_given_back_nor_taken() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    world.capture(order, ShipmentId::new(), ASKED, true).await?;
    let fault = world.refund_in("EUR", &held.id, 1_000).await.expect_err("it was paid in USD");
    assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), ("CURRENCY_MISMATCH", "amount.currency_code"));
    assert!(world.ledger("refund", order).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn pay_03_an_increment_beyond_what_can_be_counted_is_refused_before_anybody_is_asked() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    let fault = world.increment(order, i64::MAX, "k1").await.expect_err("no such sum");
    assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), ("TOO_LARGE", "amount.amount_minor"));
    assert_eq!(world.calls("payment_intents.increment").await?, 0);
    assert_eq!(reason(world.increment(order, i64::MAX - ASKED + 1, "k2").await), "TOO_LARGE");
    Ok(())
}

#[tokio::test]
async fn pay_18_a_round_below_none_is_refused_by_its_name() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let authorized = world.authorize_round(order, -5, "pm_sim_visa", false).await.map(|_| ());
    let inquired = world.inquire_round(order, -5).await.map(|_| ());
    let voided = world.void_round(order, i32::MIN).await.map(|_| ());
    for refused in [authorized, inquired, voided] {
        let fault = refused.expect_err("must be refused");
        let violation = &fault.violations()[0];
        assert_eq!(
            (fault.kind(), violation.field.as_str(), &*violation.reason),
            (Kind::Invalid, "round", "OUT_OF_RANGE")
        );
    }
    assert_eq!(world.count("SELECT count(*) AS n FROM payments").await?, 0);
    Ok(())
}
