//! Refunds of orders that have arrived, and those that banks send back.

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Rest, eventually};

use super::payment::intent_of;
use super::world::{PATIENCE, World, list, minor, number, order_by, state_of, text, total, unique};

/// An order that has arrived and was paid for.
async fn delivered(world: &World, method: &str) -> Result<Value> {
    let arrived = world.place_until(&order_by(method, &[("TEE-S", 1)]), "DELIVERED").await?;
    world.until_captured(text(&arrived, "id"), total(&arrived)).await
}

/// Gives all of an order's money back.
async fn refund(world: &World, order: &Value) -> Result<Value> {
    let body = json!({"amount": order["totals"]["total"], "reason": "it was broken"});
    let path = format!("/api/v1/payments/{}/refunds", text(&order["payment"], "paymentId"));
    world.admin.post(&path, &body, Some(&unique())).await
}

/// The bank ends the newest refund of a payment, well or badly.
async fn bank_says(payments: &Rest, intent: &str, outcome: &str) -> Result<()> {
    let path = format!("/v1/refunds?payment_intent={intent}");
    let found: Value = payments.request(Method::GET, &path).bearer_auth("sk_test").send().await?.json().await?;
    let refund = text(&found["data"][0], "id");
    anyhow::ensure!(!refund.is_empty(), "the provider has no such refund: {found}");
    let path = format!("/_sim/refunds/{refund}");
    let answer = payments.request(Method::POST, &path).json(&json!({"outcome": outcome})).send().await?;
    anyhow::ensure!(answer.status().is_success(), "the refund does not end: {}", answer.text().await?);
    Ok(())
}

/// Waits until an order is in a state with so much given back, which it may leave again.
async fn given_back(world: &World, id: &str, state: &str, amount: i64) -> Result<Value> {
    let seen = eventually(PATIENCE, || async {
        let order = world.order(id).await?;
        let (now, back) = (state_of(&order), minor(&order["payment"]["refunded"]));
        anyhow::ensure!(now == state && back == amount, "it is {now} with {back} given back");
        Ok(Some(order))
    });
    seen.await.with_context(|| format!("wait for {state} with {amount} given back"))
}

/// How often an event of a kind stands in the history of an order.
async fn told(world: &World, id: &str, name: &str) -> Result<usize> {
    Ok(world.history(id).await?.iter().filter(|event| text(event, "type").ends_with(name)).count())
}

/// What the provider did, with the amounts.
async fn moved(world: &World, id: &str) -> Result<Vec<(String, i64)>> {
    let moves = world.money_moves(id).await?;
    Ok(moves.iter().map(|line| (text(line, "op").to_owned(), number(&line["amount"]))).collect())
}

fn steps(names: &[&str], amount: i64) -> Vec<(String, i64)> {
    names.iter().map(|name| ((*name).to_owned(), amount)).collect()
}

#[tokio::test]
async fn pay_04_a_refund_that_comes_back_leaves_the_order_delivered_and_may_be_made_again() -> Result<()> {
    let world = World::open("came-back").await?;
    let arrived = delivered(&world, "pm_sim_visa").await?;
    let (id, costs) = (text(&arrived, "id"), total(&arrived));
    let first = refund(&world, &arrived).await?;
    given_back(&world, id, "REFUNDED", costs).await?;
    assert_eq!((told(&world, id, "OrderRefunded").await?, told(&world, id, "OrderRefundReturned").await?), (1, 0));

    let intent = intent_of(&world, &arrived).await?;
    bank_says(&world.system.payments(), &intent, "fail").await?;
    let back = given_back(&world, id, "DELIVERED", 0).await?;
    assert_eq!(text(&back, "stateReason"), "REFUND_RETURNED");
    assert_eq!((minor(&back["payment"]["captured"]), &back["lines"]), (costs, &arrived["lines"]));
    assert_eq!(told(&world, id, "OrderRefundReturned").await?, 1);
    let failed = world.csr.get(&format!("/api/v1/refunds/{}", text(&first, "id"))).await?;
    assert_eq!(text(&failed, "state"), "FAILED");

    refund(&world, &arrived).await?;
    given_back(&world, id, "REFUNDED", costs).await?;
    assert_eq!((told(&world, id, "OrderRefunded").await?, told(&world, id, "OrderRefundReturned").await?), (2, 1));
    let all = steps(&["authorize", "capture", "refund", "refund_failed", "refund"], costs);
    assert_eq!(moved(&world, id).await?, all);
    let path = format!("/api/v1/payments/{}/refunds", text(&arrived["payment"], "paymentId"));
    let mut states: Vec<String> =
        list(&world.csr.get(&path).await?, "refunds").iter().map(|refund| text(refund, "state").to_owned()).collect();
    states.sort();
    assert_eq!(states, ["FAILED", "SUCCEEDED"]);
    world.books_agree().await
}

#[tokio::test]
async fn pay_04_a_refund_that_the_bank_never_carries_out_does_not_touch_the_order() -> Result<()> {
    let world = World::open("never-done").await?;
    let arrived = delivered(&world, "pm_sim_refund_pending").await?;
    let (id, costs) = (text(&arrived, "id"), total(&arrived));
    let first = refund(&world, &arrived).await?;
    assert_eq!(text(&first, "state"), "PENDING");
    let intent = intent_of(&world, &arrived).await?;
    bank_says(&world.system.payments(), &intent, "fail").await?;
    let failed = eventually(PATIENCE, || async {
        let refund = world.csr.get(&format!("/api/v1/refunds/{}", text(&first, "id"))).await?;
        anyhow::ensure!(text(&refund, "state") == "FAILED", "{refund}");
        Ok(Some(()))
    });
    failed.await.context("its end is heard of")?;

    // All of it may be given back once more, and only that is told.
    refund(&world, &arrived).await?;
    bank_says(&world.system.payments(), &intent, "succeed").await?;
    given_back(&world, id, "REFUNDED", costs).await?;
    assert_eq!((told(&world, id, "OrderRefunded").await?, told(&world, id, "OrderRefundReturned").await?), (1, 0));
    assert_eq!(moved(&world, id).await?, steps(&["authorize", "capture", "refund", "refund_failed", "refund"], costs));
    world.books_agree().await
}
