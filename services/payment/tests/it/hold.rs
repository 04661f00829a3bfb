use anyhow::Result;
use contract::payment::v1::PaymentState;
use ctx::Role;
use futures::future::join_all;
use ids::{OrderId, ShipmentId};
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, minor, reason};

const OLD: &str = "UPDATE payments SET authorized_at = now() - interval '6 days 1 s', hold_at = now()";
const OVER: &str = "UPDATE payments SET authorized_at = now() - interval '7 days 1 s', hold_at = now()";

#[tokio::test]
async fn pay_02_a_hold_is_warned_of_a_day_before_its_end_and_let_go_at_its_end() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    let ends = held.hold_expire_time.expect("a hold ends");
    assert_eq!(ends.seconds - held.create_time.expect("a time").seconds, 7 * 86_400);
    world.start_jobs();
    assert_eq!((world.events("AuthorizationExpiring").await?, world.events("AuthorizationExpired").await?), (0, 0));
    world.tamper(OLD).await?;
    eventually(SOON, || async { Ok((world.events("AuthorizationExpiring").await? == 1).then_some(())) }).await?;
    assert_eq!(world.get(&held.id).await?.state(), PaymentState::Authorized, "it can still be captured");
    world.tamper(OVER).await?;
    eventually(SOON, || async { Ok((world.events("AuthorizationExpired").await? == 1).then_some(())) }).await?;
    eventually(SOON, || async { Ok((world.ledger("void", order).await? == [ASKED]).then_some(())) }).await?;
    eventually(SOON, || async { Ok((minor(&world.get(&held.id).await?.voided) == ASKED).then_some(())) }).await?;
    assert_eq!(world.get(&held.id).await?.state(), PaymentState::Expired);
    let late = world.capture(order, ShipmentId::new(), 1, false).await;
    assert!(["AUTHORIZATION_EXPIRED", "PAYMENT_NOT_AUTHORIZED"].contains(&reason(late).as_str()));
    assert_eq!(world.ledger("capture", order).await?, [0; 0]);
    assert_eq!((world.events("AuthorizationExpiring").await?, world.events("AuthorizationExpired").await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn pay_02_money_is_taken_at_once_where_that_is_the_policy_and_shipments_change_nothing() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let taken = world.authorize_now(order).await?;
    assert_eq!((taken.state(), amounts(&taken)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)));
    assert_eq!(world.capture(order, ShipmentId::new(), 4_000, false).await?, taken);
    assert_eq!(
        (world.ledger("authorize", order).await?, world.ledger("capture", order).await?),
        (vec![ASKED], vec![ASKED])
    );
    assert_eq!((world.events("PaymentAuthorized").await?, world.events("PaymentCaptured").await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn pay_02_a_hold_that_is_about_to_end_or_was_declined_is_asked_for_again() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(reason(world.reauthorize(&held.id, 2, "").await), "REAUTHORIZE_REFUSED", "it has a week left");
    assert_eq!(reason(world.reauthorize(&held.id, 3, "").await), "ATTEMPT_SKIPPED");
    world.tamper("UPDATE payments SET hold = 1, revision = revision + 1").await?;
    for again in join_all((0..8).map(|_| world.reauthorize(&held.id, 2, ""))).await {
        if let Err(fault) = again {
            assert!(fault.retryable() || fault.reason() == "REAUTHORIZE_REFUSED", "{fault:?}");
        }
    }
    eventually(SOON, || async {
        let now = world.reauthorize(&held.id, 2, "").await?;
        Ok((now.state() == PaymentState::Authorized && now.attempt == 2).then_some(()))
    })
    .await?;
    let now = world.get(&held.id).await?;
    assert_ne!(now.provider_reference, held.provider_reference);
    assert_eq!(
        (world.ledger("authorize", order).await?, world.ledger("void", order).await?),
        (vec![ASKED; 2], vec![ASKED])
    );
    // What the first attempt still has to say changes nothing.
    let all = world.event("evt_old", "payment_intent.canceled", &held.id).await?;
    assert!(String::from_utf8_lossy(&all).contains(&held.provider_reference));
    world.push_signed(&all).await?;
    assert_eq!(world.get(&held.id).await?.state(), PaymentState::Authorized);
    assert_eq!(world.capture(order, ShipmentId::new(), ASKED, true).await?.state(), PaymentState::Captured);
    assert_eq!(reason(world.reauthorize(&held.id, 3, "").await), "REAUTHORIZE_REFUSED");

    let order = OrderId::new();
    let declined = world.authorize(order, "pm_sim_declined").await?;
    let again = world.reauthorize(&declined.id, 2, "pm_sim_visa").await?;
    assert_eq!((again.state(), again.attempt), (PaymentState::Authorized, 2));
    Ok(())
}

#[tokio::test]
async fn pay_03_a_hold_is_raised_once_per_key_and_captured_up_to_its_new_sum() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    for raised in join_all((0..8).map(|_| world.increment(order, 2_500, "k1"))).await {
        match raised {
            Ok(payment) => assert!(amounts(&payment).0 <= ASKED + 2_500),
            Err(fault) => assert!(fault.retryable(), "{fault:?}"),
        }
    }
    let raised = world.increment(order, 2_500, "k1").await?;
    assert_eq!(amounts(&raised), (ASKED + 2_500, 0, 0, 0));
    assert_eq!(reason(world.increment(order, 1, "k1").await), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(
        (world.ledger("increment", order).await?, world.events("AuthorizationIncremented").await?),
        (vec![2_500], 1)
    );
    let taken = world.capture(order, ShipmentId::new(), ASKED + 2_500, true).await?;
    assert_eq!(amounts(&taken), (ASKED + 2_500, ASKED + 2_500, 0, 0));
    assert_eq!(reason(world.increment(order, 1, "k2").await), "PAYMENT_NOT_AUTHORIZED");
    assert_eq!(world.get(&held.id).await?.state(), PaymentState::Captured);
    Ok(())
}

#[tokio::test]
async fn pay_06_coming_back_from_a_challenge_asks_the_provider_at_once() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let challenged = world.authorize(order, "pm_sim_3ds_required").await?;
    assert_eq!(world.complete_action(&challenged.id, Role::Csr).await?.state(), PaymentState::RequiresAction);
    world.challenge(&challenged.provider_reference, "succeed").await?;
    assert_eq!(reason(world.complete_action(&challenged.id, Role::Customer).await), "PAYMENT_NOT_FOUND", "another's");
    assert_eq!(world.complete_action(&challenged.id, Role::Csr).await?.state(), PaymentState::Authorized);
    Ok(())
}
