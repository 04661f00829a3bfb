use anyhow::Result;
use contract::payment::v1::PaymentState;
use futures::future::join_all;
use ids::{OrderId, ShipmentId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, reason};

#[tokio::test]
async fn pay_04_a_void_before_the_authorization_refuses_it_when_it_comes() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    for _ in 0..2 {
        let mark = world.void(order).await?;
        assert_eq!((mark.state(), mark.amount), (PaymentState::Voided, None));
    }
    assert_eq!(reason(world.authorize(order, "pm_sim_visa").await), "PAYMENT_VOIDED");
    assert_eq!(world.ledger("authorize", order).await?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn sag_05_a_hold_is_let_go_once_however_many_ask() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    for payment in join_all((0..20).map(|_| world.void(order))).await {
        let payment = payment?;
        assert_eq!((payment.state(), amounts(&payment)), (PaymentState::Voided, (ASKED, 0, ASKED, 0)));
    }
    assert_eq!(world.ledger("void", order).await?, [ASKED]);
    assert_eq!(world.events("PaymentVoided").await?, 1);
    assert_eq!(reason(world.authorize(order, "pm_sim_visa").await), "PAYMENT_VOIDED");
    assert_eq!(reason(world.capture(order, ShipmentId::new(), 1, false).await), "PAYMENT_NOT_AUTHORIZED");
    Ok(())
}

#[tokio::test]
async fn an_unknown_outcome_is_inquired_before_it_is_voided() -> Result<()> {
    let world = World::start().await?;
    for (kind, held) in [("reset_after", vec![ASKED]), ("reset", vec![])] {
        let order = OrderId::new();
        world.faults(json!([{"op": "payment_intents.create", "kind": kind, "times": 3}])).await?;
        assert_eq!(world.authorize(order, "pm_sim_visa").await?.state(), PaymentState::Unknown);
        assert_eq!(world.void(order).await?.state(), PaymentState::Voided, "{kind}");
        assert_eq!((world.ledger("authorize", order).await?, world.ledger("void", order).await?), (held.clone(), held));
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_that_is_away_leaves_the_void_to_the_job() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = world.authorize(order, "pm_sim_visa").await?.id;
    world.faults(json!([{"op": "payment_intents.cancel", "kind": "error500", "times": 9}])).await?;
    assert_eq!(reason(world.void(order).await), "PAYMENT_OUTCOME_UNKNOWN");
    assert_eq!(world.get(&id).await?.state(), PaymentState::Authorized);
    world.faults(json!([])).await?;
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((world.get(&id).await?.state() == PaymentState::Voided).then_some(())) }).await?;
    assert_eq!(world.ledger("void", order).await?, [ASKED]);
    Ok(())
}

#[tokio::test]
async fn pay_04_a_void_after_captures_gives_everything_back() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let id = world.authorize(order, "pm_sim_visa").await?.id;
    world.capture(order, ShipmentId::new(), 6_000, false).await?;
    world.refund(&id, 1_000, "k1").await?;
    for _ in 0..2 {
        let payment = world.void(order).await?;
        assert_eq!((payment.state(), amounts(&payment)), (PaymentState::Refunded, (ASKED, 6_000, 4_000, 6_000)));
    }
    assert_eq!(
        (world.ledger("void", order).await?, world.ledger("refund", order).await?),
        (vec![4_000], vec![1_000, 5_000])
    );
    Ok(())
}

#[tokio::test]
async fn a_declined_payment_has_nothing_to_void() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_declined").await?;
    assert_eq!(world.void(order).await?.state(), PaymentState::Declined);
    Ok(())
}

#[tokio::test]
async fn pay_06_an_open_challenge_is_voided() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let challenged = world.authorize(order, "pm_sim_3ds_required").await?;
    assert_eq!(world.void(order).await?.state(), PaymentState::Voided);
    assert!(world.challenge(&challenged.provider_reference, "succeed").await.is_err(), "the provider has closed it");
    Ok(())
}

#[tokio::test]
async fn a_success_behind_the_void_is_let_go_by_whoever_learns_of_it() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "delay", "delay_ms": 1500}])).await?;
    let (authorized, voided) = tokio::join!(world.authorize(order, "pm_sim_visa"), async {
        eventually(SOON, || async {
            Ok((world.count("SELECT count(*) AS n FROM payments").await? == 1).then_some(()))
        })
        .await?;
        anyhow::Ok(world.void(order).await?)
    });
    assert_eq!(voided?.state(), PaymentState::Voided, "the provider knew nothing of it yet");
    let authorized = authorized?;
    assert_eq!((authorized.state(), amounts(&authorized)), (PaymentState::Voided, (ASKED, 0, ASKED, 0)));
    assert_eq!(
        (world.ledger("authorize", order).await?, world.ledger("void", order).await?),
        (vec![ASKED], vec![ASKED])
    );
    assert_eq!(world.events("PaymentAuthorized").await?, 0, "nobody is told of money that must not be held");
    Ok(())
}
