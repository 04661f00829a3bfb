//! Cards that are declined, challenged, slow or flaky, and goods that are not there.

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Rest, order};

use super::change::paid_and_held;
use super::world::{Faulty, World, list, number, order_by, script, speed, text, total, unique};

pub(super) async fn finish_challenge(payments: &Rest, intent: &str, outcome: &str) -> Result<()> {
    let path = format!("/_sim/payment_intents/{intent}/complete_action");
    let answer = payments.request(Method::POST, &path).json(&json!({"outcome": outcome})).send().await?;
    anyhow::ensure!(answer.status().is_success(), "the challenge did not end: {}", answer.text().await?);
    Ok(())
}

/// The provider's id of an order's payment.
pub(super) async fn intent_of(world: &World, order: &Value) -> Result<String> {
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
        WHERE tenant_id = $1 AND kind = 'place' AND status = 'waiting' RETURNING to_jsonb(saga_id) AS row";
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

/// The shop takes the money of its orders when they are placed.
async fn take_at_once(world: &World) -> Result<()> {
    world.policy(|policy| policy["captureMode"] = json!("CAPTURE_MODE_IMMEDIATE")).await
}

/// What the provider did, with the amounts.
async fn moved(world: &World, id: &str) -> Result<Vec<(String, i64)>> {
    let moves = world.money_moves(id).await?;
    Ok(moves.iter().map(|line| (text(line, "op").to_owned(), number(&line["amount"]))).collect())
}

fn steps(moves: &[(&str, i64)]) -> Vec<(String, i64)> {
    moves.iter().map(|(op, amount)| ((*op).to_owned(), *amount)).collect()
}

#[tokio::test]
async fn pay_02_a_shop_that_takes_the_money_at_once_takes_it_before_the_parcels_and_only_once() -> Result<()> {
    let faulty = Faulty::open("at-once").await?;
    let world = &faulty.world;
    take_at_once(world).await?;
    world.product("ODD-333", 333, &[("OAK", 2), ("NJ", 5)]).await?;
    // No label, so that nothing has left yet.
    script(&world.system.carrier(), &json!([{"op": "shipments.create", "kind": "error500", "times": 1000}])).await?;
    let begun = world.place_until(&order(&[("ODD-333", 7)]), "FULFILLMENT_IN_PROGRESS").await?;
    let (id, costs) = (text(&begun, "id"), total(&begun));
    let taken = steps(&[("authorize", costs), ("capture", costs)]);
    assert_eq!(moved(world, id).await?, taken, "before any parcel");
    faulty.mend().await?;
    let arrived = world.until(id, "DELIVERED").await?;
    assert_eq!(list(&arrived, "shipments").len(), 2, "two parcels, neither of which takes more");
    world.until_captured(id, costs).await?;
    assert_eq!(moved(world, id).await?, taken);
    world.books_agree().await
}

#[tokio::test]
async fn pay_02_money_that_was_taken_at_once_is_refunded_when_the_order_is_cancelled() -> Result<()> {
    let faulty = Faulty::open("at-once-back").await?;
    let world = &faulty.world;
    take_at_once(world).await?;
    let wms = world.system.wms();
    // Its time stands nearly still: it has accepted, and begins in hours.
    speed(&wms, 0.001).await?;
    let outcome = async {
        let accepted = world.place_until(&order(&[("CHAIR-OAK", 1)]), "FULFILLMENT_PENDING").await?;
        // The other one is not even accepted.
        script(&wms, &json!([{"op": "CreateOrder", "kind": "error500", "times": 1000}])).await?;
        let paid = world.place_until(&order(&[("CHAIR-OAK", 2)]), "PAYMENT_COMPLETED").await?;
        let mut cancelled = Vec::new();
        for order in [accepted, paid] {
            let path = format!("/api/v1/orders/{}?reason=changed+my+mind", text(&order, "id"));
            let answer = world.customer.request(Method::DELETE, &path).send().await?;
            assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await?);
            cancelled.push(world.until(text(&order, "id"), "CANCELLED").await?);
        }
        anyhow::Ok(cancelled)
    };
    let outcome = outcome.await;
    speed(&wms, 10.0).await?;
    faulty.mend().await?;
    for order in outcome? {
        let (id, costs) = (text(&order, "id"), total(&order));
        let all = steps(&[("authorize", costs), ("capture", costs), ("refund", costs)]);
        assert_eq!(moved(world, id).await?, all);
        let payment = world.csr.get(&format!("/api/v1/payments/{}", text(&order["payment"], "paymentId"))).await?;
        assert_eq!(text(&payment, "state"), "PAYMENT_STATE_REFUNDED", "{payment}");
    }
    world.books_agree().await?;
    assert_eq!(world.stock("CHAIR-OAK", "OAK").await?, (25, 0));
    Ok(())
}

/// One unit of the first line is enough after all.
async fn only_one(world: &World, id: &str) -> Result<()> {
    let path = format!("/api/v1/orders/{id}/items/1");
    let request = world.customer.request(Method::PATCH, &path).header("idempotency-key", unique());
    let answer = request.json(&json!({"quantity": 1})).send().await?;
    anyhow::ensure!(answer.status().is_success(), "{}", answer.text().await?);
    Ok(())
}

/// What was taken above the total went back, and the rest stayed.
async fn difference_went_back(world: &World, before: &Value) -> Result<()> {
    let arrived = world.until(text(before, "id"), "DELIVERED").await?;
    let (before, costs) = (total(before), total(&arrived));
    assert!(costs < before, "{costs} of {before}");
    let all = steps(&[("authorize", before), ("capture", before), ("refund", before - costs)]);
    assert_eq!(moved(world, text(&arrived, "id")).await?, all);
    world.books_agree().await
}

#[tokio::test]
async fn pay_02_an_order_paid_at_once_that_becomes_cheaper_gets_the_difference_back() -> Result<()> {
    let world = World::open("at-once-cheaper").await?;
    take_at_once(&world).await?;
    let held = paid_and_held(&world, &[("TEE-S", 3)]).await?;
    only_one(&world, text(&held, "id")).await?;
    world.csr.post(&format!("/api/v1/orders/{}:release", text(&held, "id")), &json!({}), None).await?;
    difference_went_back(&world, &held).await
}
