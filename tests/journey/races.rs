//! Many buyers at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use testkit::{eventually, order};

use super::world::{PATIENCE, World, list, state_of, text, unique};

const BUYERS: usize = 200;

/// Places an order and, as any buyer would, tries again when the shop is too busy.
async fn buy(world: &World, body: &Value, key: &str) -> Result<(StatusCode, Vec<u8>)> {
    let started = Instant::now();
    loop {
        let request = world.csr.request(Method::POST, "/api/v1/orders").json(body);
        let answer = request.header("idempotency-key", key).send().await?;
        let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        if !busy.contains(&answer.status()) {
            return Ok((answer.status(), answer.bytes().await?.to_vec()));
        }
        if started.elapsed() > PATIENCE {
            bail!("the shop stays too busy: {}", answer.text().await?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn by(buyer: &str, mut body: Value) -> Value {
    body["customerId"] = buyer.into();
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_02_two_hundred_buyers_of_the_last_unit_make_one_sale_and_no_loser_pays() -> Result<()> {
    let world = World::open("last-unit").await?;
    let buyers = world.buyers(BUYERS).await?.into_iter().map(|buyer| {
        let world = world.clone();
        async move { buy(&world, &by(&buyer, order(&[("PRINT-01", 1)])), &unique()).await }
    });
    for (status, body) in try_join_all(buyers).await? {
        assert_eq!(status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&body));
    }
    let ended = eventually(PATIENCE, || async {
        let orders = all_orders(&world).await?;
        let open = orders.iter().filter(|order| !["DELIVERED", "FAILED"].contains(&state_of(order).as_str())).count();
        anyhow::ensure!(open == 0, "{open} of {} orders are open", orders.len());
        Ok(Some(orders))
    });
    let orders = ended.await?;
    let (sold, lost): (Vec<_>, Vec<_>) = orders.iter().partition(|order| state_of(order) == "DELIVERED");
    assert_eq!((sold.len(), lost.len()), (1, BUYERS - 1));
    assert!(lost.iter().all(|order| text(order, "stateReason") == "OUT_OF_STOCK"));
    world.books_agree().await?;
    assert_eq!(world.stock("PRINT-01", "OAK").await?, (0, 0));
    let moves = super::world::ledger(&world.system.payments()).await?;
    let paid: BTreeSet<&str> = moves
        .iter()
        .filter(|line| line["metadata"]["tenant"] == world.shop.id.as_str())
        .map(|line| text(&line["metadata"], "order"))
        .collect();
    assert_eq!(paid, BTreeSet::from([text(sold[0], "id")]), "no money was asked of a loser");
    Ok(())
}

async fn all_orders(world: &World) -> Result<Vec<Value>> {
    let (mut orders, mut token) = (Vec::new(), String::new());
    loop {
        let page = world.csr.get(&format!("/api/v1/orders?pageSize=200{token}")).await?;
        orders.extend(list(&page, "orders"));
        match text(&page, "nextPageToken") {
            "" => return Ok(orders),
            next => token = format!("&pageToken={next}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ord_34_one_key_fifty_times_is_one_order_one_hold_and_fifty_equal_answers() -> Result<()> {
    let world = World::open("one-key").await?;
    let buyer = world.buyers(1).await?.remove(0);
    let (body, key) = (by(&buyer, order(&[("MUG-BLUE", 1)])), unique());
    let calls = (0..50).map(|_| {
        let (world, body, key) = (world.clone(), body.clone(), key.clone());
        async move { buy(&world, &body, &key).await }
    });
    let answers = try_join_all(calls).await?;
    let first: Value = serde_json::from_slice(&answers[0].1)?;
    assert!(answers.iter().all(|answer| answer.0 == StatusCode::CREATED));
    assert!(answers.iter().all(|answer| answer.1 == answers[0].1), "the answers differ");
    let id = text(&first, "id");
    world.until(id, "DELIVERED").await?;
    assert_eq!(all_orders(&world).await?.len(), 1);
    let holds = world.money_moves(id).await?.iter().filter(|line| line["op"] == "authorize").count();
    assert_eq!(holds, 1);

    // Later, the stored answer is told as it was and marked as a repeat.
    let request = world.csr.request(Method::POST, "/api/v1/orders").json(&body).header("idempotency-key", &key);
    let later = request.send().await?;
    assert_eq!(later.headers().get("idempotent-replayed").context("it is a repeat")?, "true");
    assert_eq!(later.bytes().await?, answers[0].1);
    let other = by(&buyer, order(&[("MUG-BLUE", 2)]));
    let (status, problem) = buy(&world, &other, &key).await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{}", String::from_utf8_lossy(&problem));
    assert!(String::from_utf8_lossy(&problem).contains("IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(all_orders(&world).await?.len(), 1, "a refused key leaves nothing");
    world.books_agree().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ord_34_a_refused_key_race_makes_one_order_whoever_wins() -> Result<()> {
    let world = World::open("two-bodies").await?;
    let key = unique();
    let buyers = world.buyers(2).await?;
    let bodies = [by(&buyers[0], order(&[("MUG-BLUE", 1)])), by(&buyers[1], order(&[("MUG-RED", 1)]))];
    let calls = (0..20).map(|call| {
        let (world, body, key) = (world.clone(), bodies[call % 2].clone(), key.clone());
        async move { buy(&world, &body, &key).await }
    });
    let answers = try_join_all(calls).await?;
    let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((count(StatusCode::CREATED), count(StatusCode::UNPROCESSABLE_ENTITY)), (10, 10));
    assert_eq!(all_orders(&world).await?.len(), 1);
    Ok(())
}
