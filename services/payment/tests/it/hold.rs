use anyhow::Result;
use contract::payment::v1::PaymentState;
use ctx::Role;
use futures::future::join_all;
use ids::{OrderId, ShipmentId};
use serde_json::json;
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

#[tokio::test]
async fn pay_02_a_hold_is_not_let_go_for_another_while_a_capture_is_taken_from_it() -> Result<()> {
    let (world, order, shipment) = (World::start().await?, OrderId::new(), ShipmentId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    world.faults(json!([{"op": "payment_intents.capture", "kind": "reset", "times": 9}])).await?;
    assert_eq!(reason(world.capture(order, shipment, ASKED, true).await), "PAYMENT_OUTCOME_UNKNOWN");
    world.faults(json!([])).await?;
    world.tamper("UPDATE payments SET hold = 1, revision = revision + 1").await?;
    assert_eq!(reason(world.reauthorize(&held.id, 2, "").await), "ATTEMPT_IN_PROGRESS");
    assert_eq!(world.ledger("void", order).await?, [0; 0]);
    let taken = world.capture(order, shipment, ASKED, true).await?;
    assert_eq!((taken.state(), taken.attempt), (PaymentState::Captured, 1));
    assert_eq!(reason(world.reauthorize(&held.id, 2, "").await), "REAUTHORIZE_REFUSED");
    Ok(())
}

#[tokio::test]
async fn pay_02_the_next_hold_is_over_all_that_was_held_before() -> Result<()> {
    let (world, order, raised) = (World::start().await?, OrderId::new(), ASKED + 2_500);
    let held = world.authorize(order, "pm_sim_visa").await?;
    world.increment(order, 2_500, "k1").await?;
    world.tamper("UPDATE payments SET hold = 1, revision = revision + 1").await?;
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    assert_eq!(world.reauthorize(&held.id, 2, "").await?.state(), PaymentState::Unknown);
    // Whoever asks again asks for the same.
    let again = world.inquire(order).await?;
    assert_eq!((again.state(), again.attempt, amounts(&again)), (PaymentState::Authorized, 2, (raised, 0, 0, 0)));
    assert_eq!(
        (world.ledger("authorize", order).await?, world.ledger("void", order).await?),
        (vec![ASKED, raised], vec![raised])
    );
    let taken = world.capture(order, ShipmentId::new(), raised, true).await?;
    assert_eq!(amounts(&taken), (raised, raised, 0, 0));
    Ok(())
}

#[tokio::test]
async fn pay_09_a_late_success_at_the_first_provider_is_never_taken_for_one_of_the_second() -> Result<()> {
    let (world, order) = (World::with_fallback().await?, OrderId::new());
    world
        .faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3},
        {"op": "adyen.payments", "kind": "reset", "times": 3}]))
        .await?;
    let lost = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((lost.state(), lost.provider.as_str()), (PaymentState::Unknown, "adyen"));
    world.late_authorization(&lost).await?;
    let late = world.event("evt_1", "payment_intent.amount_capturable_updated", &lost.id).await?;
    world.push_signed(&late).await?;
    let now = world.get(&lost.id).await?;
    assert_eq!((now.state(), now.provider_reference.as_str()), (PaymentState::Unknown, ""));
    assert_eq!(world.reconcile(&World::today()).await?.missing_ours, 0, "the job lets it go");
    let held = world.inquire(order).await?;
    assert_eq!((held.state(), held.provider.as_str()), (PaymentState::Authorized, "adyen"));
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok((world.ledger("void", order).await? == [ASKED]).then_some(())) }).await?;
    let taken = world.capture(order, ShipmentId::new(), ASKED, true).await?;
    assert_eq!((taken.state(), amounts(&taken)), (PaymentState::Captured, (ASKED, ASKED, 0, 0)));
    Ok(())
}

#[tokio::test]
async fn pay_09_no_attempt_begins_while_a_stray_of_the_present_one_may_turn_up() -> Result<()> {
    let (world, order) = (World::with_fallback().await?, OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(held.provider, "adyen");
    world.tamper("UPDATE payments SET hold = 1, revision = revision + 1").await?;
    assert_eq!(reason(world.reauthorize(&held.id, 2, "").await), "ATTEMPT_IN_PROGRESS");
    assert_eq!(world.ledger("void", order).await?, [0; 0], "the hold stays");
    let begun = "SELECT count(*) AS n FROM payments p WHERE payment_reauthorize(p.tenant_id, p.payment_id, p.revision,
        'stripe', NULL, 'type', 'topic', '', '{}') IS NOT NULL";
    assert_eq!(world.count(begun).await?, 0, "nor by somebody who looked before");
    // It was looked for often enough.
    world.tamper("UPDATE payments SET checks = 6, check_at = now() - interval '1 s'").await?;
    world.start_jobs();
    eventually(SOON, || async { Ok(world.reauthorize(&held.id, 2, "").await.ok()) }).await?;
    let now = world.get(&held.id).await?;
    assert_eq!((now.state(), now.provider.as_str(), now.attempt), (PaymentState::Authorized, "stripe", 2));
    assert_eq!(world.ledger("void", order).await?, [ASKED]);
    Ok(())
}
