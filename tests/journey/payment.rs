//! Cards that are declined, challenged, slow or flaky, and goods that are not there.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Rest, order};

use super::world::{Faulty, World, list, number, order_by, speed, text, total};

async fn finish_challenge(payments: &Rest, intent: &str, outcome: &str) -> Result<()> {
    let path = format!("/_sim/payment_intents/{intent}/complete_action");
    let answer = payments.request(Method::POST, &path).json(&json!({"outcome": outcome})).send().await?;
    anyhow::ensure!(answer.status().is_success(), "the challenge did not end: {}", answer.text().await?);
    Ok(())
}

/// The provider's id of an order's payment.
async fn intent_of(world: &World, order: &Value) -> Result<String> {
    let payment = world.csr.get(&format!("/api/v1/payments/{}", text(&order["payment"], "paymentId"))).await?;
    Ok(text(&payment, "providerReference").to_owned())
}

fn ops(moves: &[Value]) -> Vec<&str> {
    moves.iter().map(|line| text(line, "op")).collect()
}

#[tokio::test]
async fn a_declined_card_ends_the_order_and_gives_the_stock_back() -> Result<()> {
    let world = World::open("declined").await?;
    for (method, reason) in
        [("pm_sim_declined", "generic_decline"), ("pm_sim_insufficient_funds", "insufficient_funds")]
    {
        let order = world.place_until(&order_by(method, &[("MUG-RED", 3)]), "PAYMENT_FAILED").await?;
        assert_eq!(text(&order["payment"], "declineReason"), reason);
        assert_eq!(text(&order, "stateReason"), reason);
        assert!(world.money_moves(text(&order, "id")).await?.is_empty());
    }
    world.books_agree().await?;
    assert_eq!(world.stock("MUG-RED", "OAK").await?, (200, 0));
    Ok(())
}

#[tokio::test]
async fn goods_that_are_not_there_end_the_order_before_money_is_asked_for() -> Result<()> {
    let world = World::open("sold-out").await?;
    let order = world.place_until(&order(&[("PRINT-01", 2), ("PEN-GEL", 5)]), "FAILED").await?;
    assert_eq!(text(&order, "stateReason"), "OUT_OF_STOCK");
    assert!(text(&order["payment"], "paymentId").is_empty());
    world.books_agree().await?;
    assert_eq!(world.stock("PEN-GEL", "OAK").await?, (900, 0), "nothing of a short order is kept");
    Ok(())
}

#[tokio::test]
async fn pay_06_a_challenge_that_the_customer_passes_lets_the_order_go_on() -> Result<()> {
    let world = World::open("challenge").await?;
    let order = order_by("pm_sim_3ds_required", &[("TEE-S", 1)]);
    let waiting = world.place_until(&order, "PAYMENT_ACTION_REQUIRED").await?;
    assert!(text(&waiting["payment"], "actionUrl").starts_with("http"), "{waiting}");
    assert_eq!(world.stock("TEE-S", "OAK").await?, (120, 1), "the goods wait for the customer");
    let intent = intent_of(&world, &waiting).await?;
    finish_challenge(&world.system.payments(), &intent, "succeed").await?;
    let arrived = world.until(text(&waiting, "id"), "DELIVERED").await?;
    assert!(text(&arrived["payment"], "actionUrl").is_empty());
    assert_eq!(ops(&world.money_moves(text(&waiting, "id")).await?), ["authorize", "capture"]);
    world.books_agree().await
}

#[tokio::test]
async fn pay_06_a_challenge_that_fails_or_is_left_alone_ends_cleanly() -> Result<()> {
    let world = World::open("no-challenge").await?;
    let body = order_by("pm_sim_3ds_required", &[("TEE-S", 1)]);
    let failed = world.place_until(&body, "PAYMENT_ACTION_REQUIRED").await?;
    finish_challenge(&world.system.payments(), &intent_of(&world, &failed).await?, "fail").await?;
    let failed = world.until(text(&failed, "id"), "PAYMENT_FAILED").await?;
    assert_eq!(text(&failed, "stateReason"), "authentication_required");

    let left = world.place_until(&body, "PAYMENT_ACTION_REQUIRED").await?;
    // A quarter of an hour later.
    let later = "UPDATE om_order.sagas SET wake_at = now(), state = state || \
        jsonb_build_object('action_deadline', extract(epoch FROM now())::bigint - 1) \
        WHERE tenant_id = $1 AND status = 'waiting' RETURNING to_jsonb(saga_id) AS row";
    assert_eq!(world.rows(later).await?.len(), 1);
    let left = world.until(text(&left, "id"), "PAYMENT_FAILED").await?;
    assert_eq!(text(&left, "stateReason"), "ACTION_TIMEOUT");
    world.books_agree().await?;
    assert_eq!(world.stock("TEE-S", "OAK").await?, (120, 0));
    let intents = world.rows("SELECT to_jsonb(p.state) AS row FROM om_payment.payments p WHERE tenant_id = $1").await?;
    assert!(intents.iter().all(|state| state == "DECLINED" || state == "VOIDED"), "{intents:?}");
    Ok(())
}

#[tokio::test]
async fn pay_07_a_flaky_provider_costs_time_and_holds_the_money_once() -> Result<()> {
    let world = World::open("flaky").await?;
    let arrived = world.place_until(&order_by("pm_sim_flaky", &[("TEE-L", 1)]), "DELIVERED").await?;
    assert_eq!(ops(&world.money_moves(text(&arrived, "id")).await?), ["authorize", "capture"]);
    world.books_agree().await
}

#[tokio::test]
async fn pay_01_an_answer_that_comes_too_late_is_one_hold_all_the_same() -> Result<()> {
    let faulty = Faulty::open("too-late").await?;
    let world = &faulty.world;
    // Its 30 seconds become 6, longer than we wait for one answer.
    speed(&world.system.payments(), 5.0).await?;
    let arrived = world.place_until(&order_by("pm_sim_timeout_then_success", &[("TEE-L", 2)]), "DELIVERED").await;
    speed(&world.system.payments(), 10.0).await?;
    let arrived = arrived?;
    let moves = world.money_moves(text(&arrived, "id")).await?;
    assert_eq!(ops(&moves), ["authorize", "capture"]);
    assert_eq!(number(&moves[0]["amount"]), total(&arrived));
    let saga = world.csr.get(&format!("/api/v1/sagas/{}", text(&arrived, "id"))).await?;
    let log = list(&saga, "log");
    let took = log.iter().find(|entry| text(entry, "step") == "authorize_payment").context("it was authorized")?;
    assert!(text(took, "occurTime") > text(&arrived, "createTime"), "{took}");
    world.books_agree().await
}
