//! What operators decide about sagas that do not get on: another try, a step left out, and what they may not.

use anyhow::{Context as _, Result};
use diesel_async::SimpleAsyncConnection as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::sagas::{listed, operate, published};
use super::world::{Faulty, PATIENCE, World, list, minor, script, speed, state_of, text};

/// An order whose goods do not leave before its hold ends, in a shop that shows this to a person, and the saga that waits
/// for one.
async fn expiring(faulty: &Faulty) -> Result<(Value, Value)> {
    let world = &faulty.world;
    world.policy(|policy| policy["holdExpiry"] = json!("HOLD_EXPIRY_ATTENTION")).await?;
    script(&world.system.carrier(), &json!([{"op": "shipments.create", "kind": "error500", "times": 100_000}])).await?;
    let begun = world.place_until(&order(&[("TEE-M", 1)]), "FULFILLMENT_IN_PROGRESS").await?;
    let age = format!(
        "UPDATE om_payment.payments SET authorized_at = now() - interval '6 days 1 s', hold_at = now() \
         WHERE order_id = '{}'::uuid",
        text(&begun, "id").trim_start_matches("ord_")
    );
    world.system.db.admin().await?.batch_execute(&age).await?;
    let saga = eventually(PATIENCE, || async {
        Ok(listed(world, "kinds=renew_hold&states=SAGA_STATE_NEEDS_ATTENTION").await?.pop())
    });
    let saga = saga.await.context("a person is called")?;
    assert_eq!((text(&saga, "orderId"), text(&saga, "step")), (text(&begun, "id"), "decide"));
    Ok((begun, saga))
}

async fn ops(world: &World, order: &str) -> Result<Vec<String>> {
    Ok(world.money_moves(order).await?.iter().map(|line| text(line, "op").to_owned()).collect())
}

/// Waits until a saga has ended in a state; the entry of its log that says what was decided.
async fn ended(world: &World, id: &str, state: &str, outcome: &str) -> Result<Value> {
    let saga = eventually(PATIENCE, || async {
        let saga = world.csr.get(&format!("/api/v1/sagas/{id}")).await?;
        anyhow::ensure!(text(&saga, "state") == format!("SAGA_STATE_{state}"), "{saga}");
        Ok(Some(saga))
    });
    let log = list(&saga.await.with_context(|| format!("wait for {state}"))?, "log");
    let decided: Vec<&Value> = log.iter().filter(|entry| text(entry, "outcome") == outcome).collect();
    assert_eq!(decided.len(), 1, "{log:?}");
    assert!(text(&decided[0]["actor"], "id").starts_with("usr_"), "{log:?}");
    Ok(decided[0].clone())
}

#[tokio::test]
async fn sag_06_a_retry_after_the_shop_thought_better_of_it_renews_the_hold_and_ends_the_saga() -> Result<()> {
    let faulty = Faulty::open("retried").await?;
    let world = &faulty.world;
    let (begun, saga) = expiring(&faulty).await?;
    let (order_id, id) = (text(&begun, "id"), text(&saga, "id"));
    let basket = {
        let mut body = order(&[("TEE-M", 1)]);
        body.as_object_mut().map(|body| body.remove("paymentMethod"));
        body
    };
    // Shipping costs a cent more, so that it shows when the order service has heard of the policy.
    let rate = world.admin.get("/api/v1/policy").await?["shippingRates"][0]["price"].clone();
    let dearer = minor(&rate) + 1;
    let change = |policy: &mut Value| {
        policy["holdExpiry"] = json!("HOLD_EXPIRY_REAUTHORIZE");
        policy["shippingRates"][0]["price"]["amountMinor"] = json!(dearer.to_string());
    };
    world.policy(change).await?;
    let heard = eventually(PATIENCE, || async {
        let quote = world.customer.post("/api/v1/orders:quote", &basket, None).await?;
        Ok((minor(&quote["totals"]["shipping"]) == dearer).then_some(()))
    });
    heard.await.context("the policy is heard of")?;
    assert_eq!(ops(world, order_id).await?, ["authorize"], "a policy alone moves no saga that waits for a person");

    let (status, refused) = operate(world, id, "retry", &json!({"reason": ""})).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{refused}");
    let (status, tried) = operate(world, id, "retry", &json!({"reason": "renew it after all"})).await?;
    assert_eq!(status, StatusCode::OK, "{tried}");
    let said = ended(world, id, "COMPLETED", "RETRIED").await?;
    assert_eq!((text(&said, "step"), text(&said, "detail")), ("decide", "renew it after all"));
    assert_eq!(ops(world, order_id).await?, ["authorize", "void", "authorize"]);
    assert_eq!(published(world, "SagaDecided").await?, 1);
    let (status, late) = operate(world, id, "retry", &json!({"reason": "once more"})).await?;
    assert_eq!((status, text(&late, "reason")), (StatusCode::CONFLICT, "SAGA_STATE_FORBIDS"), "{late}");

    faulty.mend().await?;
    world.until(order_id, "DELIVERED").await?;
    assert_eq!(ops(world, order_id).await?, ["authorize", "void", "authorize", "capture"]);
    Ok(())
}

#[tokio::test]
async fn sag_06_a_step_that_is_skipped_is_not_done_and_the_log_says_who_skipped_it_and_why() -> Result<()> {
    let faulty = Faulty::open("skipped").await?;
    let world = &faulty.world;
    let (begun, saga) = expiring(&faulty).await?;
    let (order_id, id) = (text(&begun, "id"), text(&saga, "id"));
    let (status, other) = operate(world, id, "skip", &json!({"step": "reauthorize", "reason": "no"})).await?;
    assert_eq!((status, text(&other, "reason")), (StatusCode::CONFLICT, "SAGA_AT_ANOTHER_STEP"), "{other}");
    assert_eq!(published(world, "SagaDecided").await?, 0, "what was refused is no decision");

    let skip = json!({"step": "decide", "reason": "the parcel leaves today"});
    let (status, skipped) = operate(world, id, "skip", &skip).await?;
    assert_eq!(status, StatusCode::OK, "{skipped}");
    let said = ended(world, id, "COMPLETED", "SKIPPED").await?;
    assert_eq!((text(&said, "step"), text(&said, "detail")), ("decide", "the parcel leaves today"));
    let (status, again) = operate(world, id, "skip", &skip).await?;
    assert_eq!((status, published(world, "SagaDecided").await?), (StatusCode::OK, 1), "once, however often: {again}");
    assert_eq!(ops(world, order_id).await?, ["authorize"], "no second hold");

    faulty.mend().await?;
    world.until(order_id, "DELIVERED").await?;
    assert_eq!(ops(world, order_id).await?, ["authorize", "capture"]);
    Ok(())
}

/// The warehouse has an order and we do not know it: its answer was lost, and since then it does not answer.
async fn unheard(world: &World) -> Result<Value> {
    let faults = json!([{"op": "CreateOrder", "match": world.shop.id, "kind": "reset_after", "times": 1},
        {"op": "CreateOrder", "match": world.shop.id, "kind": "error500", "times": 100_000}]);
    script(&world.system.wms(), &faults).await?;
    let before = world.system.wms().get("/_sim/calls").await?["CreateOrder"].as_u64().unwrap_or(0);
    let paid = world.place_until(&order(&[("CHAIR-OAK", 1)]), "PAYMENT_COMPLETED").await?;
    let asked = eventually(PATIENCE, || async {
        let calls = world.system.wms().get("/_sim/calls").await?;
        Ok(calls["CreateOrder"].as_u64().filter(|calls| *calls >= before + 2))
    });
    asked.await.context("the warehouse is asked again")?;
    Ok(paid)
}

#[tokio::test]
async fn sag_06_a_saga_that_alone_leads_its_order_on_is_not_resolved_under_it() -> Result<()> {
    let faulty = Faulty::open("not-settled").await?;
    let (world, wms) = (&faulty.world, faulty.world.system.wms());
    speed(&wms, 0.001).await?;
    let outcome = async {
        let paid = unheard(world).await?;
        let id = text(&paid, "id").to_owned();
        // It begins; an operator turns the order back, and the warehouse refuses that.
        speed(&wms, 1e6).await?;
        let (status, turned) = operate(world, &id, "compensate", &json!({"reason": "it takes too long"})).await?;
        assert_eq!(status, StatusCode::OK, "{turned}");
        let stuck = eventually(PATIENCE, || async {
            Ok(listed(world, "kinds=place&states=SAGA_STATE_NEEDS_ATTENTION").await?.pop())
        });
        let stuck = stuck.await.context("what the warehouse refuses to undo is for a person")?;
        assert_eq!((text(&stuck, "id"), text(&stuck, "step")), (id.as_str(), "request_fulfillment"));
        assert_eq!(state_of(&world.order(&id).await?), "PAYMENT_COMPLETED");

        let decided = published(world, "SagaDecided").await?;
        let (status, problem) = operate(world, &id, "resolve", &json!({"reason": "leave it"})).await?;
        assert_eq!((status, text(&problem, "reason")), (StatusCode::CONFLICT, "ORDER_NOT_SETTLED"), "{problem}");
        assert!(problem.to_string().contains("ORDER_STATE_PAYMENT_COMPLETED"), "{problem}");
        assert_eq!(listed(world, "kinds=place&states=SAGA_STATE_NEEDS_ATTENTION").await?.len(), 1);
        assert_eq!(published(world, "SagaDecided").await?, decided, "what was refused is no decision");

        // Somebody took it off the belt by hand: the rest is undone, and nothing is left behind.
        let skip = json!({"step": "request_fulfillment", "reason": "called the warehouse"});
        let (status, skipped) = operate(world, &id, "skip", &skip).await?;
        assert_eq!(status, StatusCode::OK, "{skipped}");
        let said = ended(world, &id, "COMPENSATED", "SKIPPED").await?;
        assert_eq!((text(&said, "phase"), text(&said, "detail")), ("undo", "called the warehouse"));
        anyhow::Ok(id)
    };
    let outcome = outcome.await;
    speed(&wms, 10.0).await?;
    faulty.mend().await?;
    let id = outcome?;
    let failed = world.until(&id, "FAILED").await?;
    assert_eq!(text(&failed, "stateReason"), "COMPENSATED_BY_OPERATOR");
    assert_eq!(ops(world, &id).await?, ["authorize", "void"]);
    assert_eq!(world.stock("CHAIR-OAK", "OAK").await?, (25, 0));
    Ok(())
}
