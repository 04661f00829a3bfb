use anyhow::Result;
use contract::payment::v1::PaymentState;
use fault::Kind;
use futures::future::join_all;
use ids::{OrderId, TenantId};
use serde_json::json;
use testkit::eventually;

use crate::world::{ASKED, SOON, World, amounts, reason, usd};

#[tokio::test]
async fn pay_03_money_is_held_for_an_order_once() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let held = world.authorize(order, "pm_sim_visa").await?;
    assert_eq!((held.state(), amounts(&held)), (PaymentState::Authorized, (ASKED, 0, 0, 0)));
    assert_eq!(world.authorize(order, "pm_sim_visa").await?, held);
    assert_eq!(world.get(&held.id).await?, held);
    assert_eq!(world.ledger("authorize", order).await?, [ASKED]);
    Ok(())
}

#[tokio::test]
async fn what_an_authorization_answers_is_what_is_stored() -> Result<()> {
    let world = World::start().await?;
    for method in ["pm_sim_visa", "pm_sim_declined", "pm_sim_avs_fail", "pm_sim_cvc_fail", "pm_nobody"] {
        let answer = world.authorize(OrderId::new(), method).await?;
        assert_eq!(world.get(&answer.id).await?, answer, "{method}");
    }
    let taken = world.authorize_now(OrderId::new()).await?;
    assert_eq!(world.get(&taken.id).await?, taken);
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 3}])).await?;
    let lost = world.authorize(OrderId::new(), "pm_sim_visa").await?;
    assert_eq!((world.get(&lost.id).await?, lost.state()), (lost.clone(), PaymentState::Unknown));
    Ok(())
}

#[tokio::test]
async fn sag_05_fifty_authorizations_of_one_order_at_once_are_one_effect() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    let answers = join_all((0..50).map(|_| world.authorize(order, "pm_sim_visa"))).await;
    let mut ids: Vec<_> =
        answers.into_iter().map(|answer| answer.map(|payment| payment.id)).collect::<Result<_, _>>()?;
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.ledger("authorize", order).await?, [ASKED]);
    assert_eq!(
        (world.events("PaymentAuthorizationRequested").await?, world.events("PaymentAuthorized").await?),
        (1, 1)
    );
    Ok(())
}

#[tokio::test]
async fn pay_07_a_decline_is_final_and_not_tried_again() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    for _ in 0..2 {
        let declined = world.authorize(order, "pm_sim_insufficient_funds").await?;
        assert_eq!(
            (declined.state(), declined.decline_reason.as_str()),
            (PaymentState::Declined, "insufficient_funds")
        );
    }
    let unknown_method = world.authorize(OrderId::new(), "pm_nobody").await?;
    assert_eq!(unknown_method.state(), PaymentState::Declined);
    assert_eq!(world.events("PaymentDeclined").await?, 2);
    Ok(())
}

#[tokio::test]
async fn pay_07_a_flaky_provider_is_tried_until_it_answers() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    assert_eq!(world.authorize(order, "pm_sim_flaky").await?.state(), PaymentState::Authorized);
    assert_eq!(world.ledger("authorize", order).await?, [ASKED]);
    Ok(())
}

#[tokio::test]
async fn pay_06_a_challenge_is_a_state_that_the_customer_ends() -> Result<()> {
    let world = World::start().await?;
    for (outcome, state) in [("succeed", PaymentState::Authorized), ("fail", PaymentState::Declined)] {
        let order = OrderId::new();
        let challenged = world.authorize(order, "pm_sim_3ds_required").await?;
        assert_eq!(challenged.state(), PaymentState::RequiresAction);
        assert!(challenged.action_url.starts_with("https://"));
        world.challenge(&challenged.provider_reference, outcome).await?;
        let ended = world.inquire(order).await?;
        assert_eq!((ended.state(), ended.action_url.as_str()), (state, ""));
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_outcome_is_an_answer_and_an_inquiry_settles_it() -> Result<()> {
    let world = World::start().await?;
    for kind in ["reset_after", "reset"] {
        let order = OrderId::new();
        world.faults(json!([{"op": "payment_intents.create", "kind": kind, "times": 3}])).await?;
        assert_eq!(world.authorize(order, "pm_sim_visa").await?.state(), PaymentState::Unknown, "{kind}");
        assert_eq!(world.inquire(order).await?.state(), PaymentState::Authorized, "{kind}");
        assert_eq!(world.ledger("authorize", order).await?, [ASKED], "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn a_payment_whose_asker_died_is_taken_over_by_the_next_caller_or_the_job() -> Result<()> {
    let (world, asked_again, left_alone) = (World::start().await?, OrderId::new(), OrderId::new());
    world.faults(json!([{"op": "payment_intents.create", "kind": "reset", "times": 6}])).await?;
    for order in [asked_again, left_alone] {
        world.authorize(order, "pm_sim_visa").await?;
    }
    world.tamper("UPDATE payments SET state = 'PROCESSING', unknown = false").await?;
    assert_eq!(world.authorize(asked_again, "pm_sim_visa").await?.state(), PaymentState::Processing, "not yet stale");
    world.tamper("UPDATE payments SET check_at = now() - interval '1 s'").await?;
    assert_eq!(world.authorize(asked_again, "pm_sim_visa").await?.state(), PaymentState::Authorized);
    world.start_jobs();
    let id = world.inquire_id(left_alone).await?;
    eventually(SOON, || async { Ok((world.get(&id).await?.state() == PaymentState::Authorized).then_some(())) })
        .await?;
    assert_eq!(
        (world.ledger("authorize", asked_again).await?, world.ledger("authorize", left_alone).await?),
        (vec![ASKED], vec![ASKED])
    );
    eventually(SOON, || async {
        let due = world.count("SELECT count(*) AS n FROM payments WHERE check_at IS NOT NULL").await?;
        Ok((due == 0).then_some(()))
    })
    .await
}

#[tokio::test]
async fn an_order_has_one_amount() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    assert_eq!(reason(world.authorize_amount(order, "pm_sim_visa", usd(1)).await), "PAYMENT_AMOUNT_DIFFERS");
    Ok(())
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() -> Result<()> {
    let world = World::start().await?;
    let mut amount = usd(-1);
    amount.currency_code = "usd".to_owned();
    let fault = world.authorize_amount(OrderId::new(), "", amount).await.expect_err("must be refused");
    assert_eq!(fault.kind(), Kind::Invalid);
    let fields: Vec<_> = fault.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["amount.currency_code", "amount.amount_minor", "payment_method"]);
    Ok(())
}

#[tokio::test]
async fn pay_05_a_card_number_is_refused_and_leaves_no_trace() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    for number in ["4242424242424242", "pm_5555-5555-5555-4444"] {
        assert_eq!(reason(world.authorize(order, number).await), "CARD_NUMBER_REFUSED");
    }
    assert_eq!(world.count("SELECT count(*) AS n FROM payments").await?, 0);
    assert_eq!(reason(world.inquire(order).await), "PAYMENT_NOT_FOUND");
    Ok(())
}

#[tokio::test]
async fn tenants_do_not_see_each_other_even_with_the_same_order_id() -> Result<()> {
    let (ours, order) = (World::start().await?, OrderId::new());
    let theirs = ours.as_tenant(TenantId::new());
    let payment = ours.authorize(order, "pm_sim_visa").await?;
    assert_eq!(reason(theirs.get(&payment.id).await), "PAYMENT_NOT_FOUND");
    assert_eq!(reason(theirs.inquire(order).await), "PAYMENT_NOT_FOUND");
    assert_eq!(theirs.authorize(order, "pm_sim_declined").await?.state(), PaymentState::Declined);
    assert_eq!(ours.get(&payment.id).await?, payment);
    Ok(())
}

#[tokio::test]
async fn pages_list_every_payment_once_newest_first() -> Result<()> {
    let world = World::start().await?;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, world.authorize(OrderId::new(), "pm_sim_visa").await?.id);
    }
    let first = world.list(2, "").await?;
    let second = world.list(2, &first.next_page_token).await?;
    let third = world.list(2, &second.next_page_token).await?;
    let listed = [&first, &second, &third].map(|page| page.payments.iter().map(|p| p.id.clone()).collect::<Vec<_>>());
    assert_eq!((listed.concat(), third.next_page_token.as_str()), (ids, ""));
    let theirs = world.as_tenant(TenantId::new()).list(2, &first.next_page_token).await;
    assert_eq!(reason(theirs), "PAGE_TOKEN_INVALID");
    Ok(())
}

#[tokio::test]
async fn pay_13_every_change_is_in_the_log_with_who_and_how_much() -> Result<()> {
    let (world, order) = (World::start().await?, OrderId::new());
    world.authorize(order, "pm_sim_visa").await?;
    world.void(order).await?;
    let told = "SELECT count(*) AS n FROM events WHERE meta->>'actor_kind' = 'service' AND meta->>'actor_id' = 'order' \
                AND meta->>'correlation_id' = 'test' AND length(payload) > 0";
    assert_eq!(world.count(told).await?, 3);
    Ok(())
}
