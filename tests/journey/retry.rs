//! Orders whose payment failed and that are paid after all (PAY-18).

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Rest, eventually, order};

use super::payment::{finish_challenge, intent_of};
use super::sagas::listed;
use super::world::{PATIENCE, World, list, number, order_by, state_of, text, total, unique};

/// Tries an order's payment again as soon as the failed one is undone.
async fn retry(caller: &Rest, order: &Value, body: &Value) -> Result<Value> {
    let (path, key) = (format!("/api/v1/orders/{}:retryPayment", text(order, "id")), unique());
    let begun = eventually(Duration::from_secs(20), || async {
        let answer = caller.request(Method::POST, &path).header("Idempotency-Key", &key).json(body).send().await?;
        let (status, again) = (answer.status(), answer.headers().contains_key("retry-after"));
        let said: Value = answer.json().await?;
        match status {
            StatusCode::OK => Ok(Some(said)),
            StatusCode::SERVICE_UNAVAILABLE if text(&said, "reason") == "PAYMENT_UNDO_PENDING" && again => {
                bail!("the failed payment is being undone")
            }
            _ => Ok(Some(json!({"refused": status.as_u16(), "problem": said}))),
        }
    });
    begun.await
}

fn refusal(answer: &Value) -> (i64, String) {
    (number(&answer["refused"]), text(&answer["problem"], "reason").to_owned())
}

/// Waits until a payment failed again, in a round.
async fn fails_in(world: &World, order: &Value, round: i64) -> Result<Value> {
    let failed = eventually(PATIENCE, || async {
        let now = world.order(text(order, "id")).await?;
        if state_of(&now) == "PAYMENT_FAILED" && number(&now["payment"]["round"]) == round {
            return Ok(Some(now));
        }
        bail!("it is {} in round {}", state_of(&now), now["payment"]["round"])
    });
    failed.await
}

fn ops(moves: &[Value]) -> Vec<&str> {
    moves.iter().map(|line| text(line, "op")).collect()
}

#[tokio::test]
async fn pay_18_a_declined_order_is_paid_with_another_card_and_delivered() -> Result<()> {
    let world = World::open("retry").await?;
    let declined = world.place_until(&order_by("pm_sim_declined", &[("MUG-RED", 3)]), "PAYMENT_FAILED").await?;
    let id = text(&declined, "id");
    assert_eq!((number(&declined["payment"]["retriesLeft"]), text(&declined, "statusLifecycle")), (3, "Failed"));
    let lapses = eventually(PATIENCE, || async {
        let of = |saga: &&Value| saga["orderId"] == id;
        Ok(listed(&world, "kinds=lapse&states=SAGA_STATE_WAITING").await?.iter().find(of).cloned())
    });
    assert!(!text(&lapses.await?, "wakeTime").is_empty(), "a day later it is over");
    for method in ["", "4242424242424242", &"p".repeat(256)] {
        let answer = retry(&world.customer, &declined, &json!({"paymentMethod": method})).await?;
        assert_eq!(number(&answer["refused"]), 400, "{method}: {answer}");
    }
    let begun = retry(&world.customer, &declined, &json!({"paymentMethod": "pm_sim_visa"})).await?;
    assert_eq!((number(&begun["payment"]["round"]), text(&begun, "statusLifecycle")), (2, "Pending"), "{begun}");
    let arrived = world.until_round(id, "DELIVERED").await?;
    let moves = world.money_moves(id).await?;
    assert_eq!((ops(&moves), number(&moves[0]["amount"])), (vec!["authorize", "capture"], total(&declined)));
    assert_eq!((total(&arrived), text(&arrived["payment"], "declineReason")), (total(&declined), ""));
    world.books_agree().await?;
    assert_eq!(world.stock("MUG-RED", "OAK").await?, (197, 0));

    // Operators see both runs; by the order's id they get the one that counts.
    let latest = world.csr.get(&format!("/api/v1/sagas/{id}")).await?;
    assert_eq!(
        (text(&latest, "kind"), text(&latest, "state"), text(&latest, "orderId")),
        ("pay_again", "SAGA_STATE_COMPLETED", id)
    );
    let sagas = list(&world.csr.get("/api/v1/sagas?kinds=place&kinds=pay_again").await?, "sagas");
    let kinds: Vec<&str> = sagas.iter().filter(|saga| saga["orderId"] == id).map(|saga| text(saga, "kind")).collect();
    assert!(kinds.contains(&"place") && kinds.contains(&"pay_again") && kinds.len() == 2, "{sagas:?}");
    let history = world.history(id).await?;
    let retried: Vec<&Value> = history.iter().filter(|event| text(event, "type") == "OrderPaymentRetried").collect();
    assert_eq!((retried.len(), text(&retried[0]["actor"], "kind")), (1, "user"));
    let late = retry(&world.customer, &declined, &json!({"paymentMethod": "pm_sim_visa"})).await?;
    assert_eq!(refusal(&late), (409, "ORDER_STATE_FORBIDS".to_owned()));
    Ok(())
}

#[tokio::test]
async fn pay_18_support_retries_with_a_reason_and_the_limit_holds_for_everybody() -> Result<()> {
    let world = World::open("retry-support").await?;
    let failed = world.place_until(&order_by("pm_sim_insufficient_funds", &[("TEE-S", 1)]), "PAYMENT_FAILED").await?;
    let id = text(&failed, "id");
    let silent = retry(&world.csr, &failed, &json!({})).await?;
    assert_eq!(number(&silent["refused"]), 400, "{silent}");
    // The same card again, then another challenge that is failed, then a third card.
    let because = json!({"reason": "the customer says there is money now"});
    retry(&world.csr, &failed, &because).await?;
    let failed = fails_in(&world, &failed, 2).await?;
    assert_eq!((text(&failed, "stateReason"), number(&failed["payment"]["retriesLeft"])), ("insufficient_funds", 2));
    retry(&world.customer, &failed, &json!({"paymentMethod": "pm_sim_3ds_required"})).await?;
    let asked = world.until_round(id, "PAYMENT_ACTION_REQUIRED").await?;
    finish_challenge(&world.system.payments(), &intent_of(&world, &asked).await?, "fail").await?;
    let failed = fails_in(&world, &failed, 3).await?;
    retry(&world.customer, &failed, &json!({"paymentMethod": "pm_sim_declined"})).await?;
    let failed = fails_in(&world, &failed, 4).await?;
    let fourth = retry(&world.csr, &failed, &because).await?;
    assert_eq!(refusal(&fourth), (409, "PAYMENT_RETRIES_EXHAUSTED".to_owned()));
    assert!(world.money_moves(id).await?.is_empty());
    world.books_agree().await?;
    assert_eq!(world.stock("TEE-S", "OAK").await?, (120, 0));

    let history = world.history(id).await?;
    let retried: Vec<&Value> = history.iter().filter(|event| text(event, "type") == "OrderPaymentRetried").collect();
    let people: Vec<&str> = retried.iter().map(|event| text(&event["actor"], "id")).collect();
    assert_eq!(people.len(), 3);
    assert!(people[0].starts_with("usr_") && people[0] != people[1] && people[1] == people[2], "{people:?}");
    assert!(text(retried[0], "payloadJson").contains("there is money now"), "{}", retried[0]);

    // What was paid otherwise is marked by a person, and the order goes on although no retry is left.
    let payments = list(&world.admin.get(&format!("/api/v1/payments?order_id={id}")).await?, "payments");
    assert_eq!(payments.len(), 4, "one of each round");
    let last = payments.iter().max_by_key(|payment| number(&payment["round"])).context("the last")?;
    let path = format!("/api/v1/payments/{}:markPaid", text(last, "id"));
    let paid = world.admin.post(&path, &json!({"reason": "bank transfer 4711"}), Some(&unique())).await?;
    assert_eq!(paid["markedPaid"], true);
    world.until_round(id, "DELIVERED").await?;
    assert!(world.money_moves(id).await?.is_empty(), "nobody is charged for it");
    Ok(())
}

#[tokio::test]
async fn pay_18_goods_that_are_gone_meanwhile_fail_the_retry_and_nobody_is_charged() -> Result<()> {
    let world = World::open("retry-gone").await?;
    world.product("RARE-1", 2_000, &[("OAK", 1)]).await?;
    let failed = world.place_until(&order_by("pm_sim_declined", &[("RARE-1", 1)]), "PAYMENT_FAILED").await?;
    world.until_stock("RARE-1", "OAK", (1, 0)).await?;
    world.place_until(&order(&[("RARE-1", 1)]), "DELIVERED").await?;
    retry(&world.customer, &failed, &json!({"paymentMethod": "pm_sim_visa"})).await?;
    let failed = fails_in(&world, &failed, 2).await?;
    assert_eq!((text(&failed, "stateReason"), number(&failed["payment"]["retriesLeft"])), ("OUT_OF_STOCK", 2));
    assert!(world.money_moves(text(&failed, "id")).await?.is_empty());
    world
        .admin
        .post(
            "/api/v1/inventory/RARE-1:adjust",
            &json!({"warehouse": "OAK", "onHandDelta": 1, "reason": "one more"}),
            Some(&unique()),
        )
        .await?;
    retry(&world.customer, &failed, &json!({"paymentMethod": "pm_sim_visa"})).await?;
    world.until_round(text(&failed, "id"), "DELIVERED").await?;
    world.books_agree().await
}

impl World {
    /// [`World::until`] for an order that was in a final state a moment ago.
    async fn until_round(&self, id: &str, state: &str) -> Result<Value> {
        let reached = eventually(PATIENCE, || async {
            let now = self.order(id).await?;
            if state_of(&now) == state { Ok(Some(now)) } else { bail!("it is {}", state_of(&now)) }
        });
        reached.await.with_context(|| format!("wait for {state}"))
    }

    async fn until_stock(&self, sku: &str, warehouse: &str, level: (i64, i64)) -> Result<()> {
        let reached = eventually(PATIENCE, || async {
            let now = self.stock(sku, warehouse).await?;
            if now == level { Ok(Some(())) } else { bail!("{now:?} of {sku}") }
        });
        reached.await
    }
}
