//! Price reductions: from the shop's policy to what is captured.

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::world::{PATIENCE, World, list, minor, text, total, unique};

async fn ask(world: &World, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
    let request = world.customer.request(Method::POST, path).header("idempotency-key", unique()).json(body);
    let answer = request.send().await?;
    Ok((answer.status(), answer.json().await?))
}

async fn quote(world: &World, order: &Value) -> Result<Value> {
    let mut basket = order.clone();
    basket.as_object_mut().map(|basket| basket.remove("paymentMethod"));
    world.customer.post("/api/v1/orders:quote", &basket, None).await
}

#[tokio::test]
async fn ord_15_ord_32_a_promotion_is_quoted_ordered_and_captured_to_the_minor_unit() -> Result<()> {
    let world = World::open("promotion").await?;
    let half = json!([{"code": "THIRD", "ratePpm": 333_333}, {"code": "OVER", "ratePpm": 1, "endTime": "2020-01-01T00:00:00Z"}]);
    world.policy(|policy| policy["promotions"] = half).await?;
    let mut body = order(&[("TEE-S", 1), ("MUG-BLUE", 3)]);
    let plain = quote(&world, &body).await?;
    for (code, reason) in [("over", "PROMOTION_UNKNOWN"), ("OVER", "PROMOTION_ENDED")] {
        body["promotionCode"] = json!(code);
        let refused = eventually(PATIENCE, || async {
            let (status, problem) = ask(&world, "/api/v1/orders", &body).await?;
            anyhow::ensure!(status == StatusCode::BAD_REQUEST, "{status} {problem}");
            // The order service may not have heard of the policy yet.
            Ok(problem.to_string().contains(reason).then_some(problem))
        });
        assert!(refused.await?.to_string().contains("promotion_code"));
    }
    body["promotionCode"] = json!("THIRD");
    let quote = quote(&world, &body).await?;
    let (off, before) = (minor(&quote["totals"]["discount"]), minor(&plain["totals"]["itemsNet"]));
    // 333,333 ppm of what it cost, rounded half away from zero.
    assert_eq!(off, (before * 333_333 + 500_000) / 1_000_000);
    assert_eq!(minor(&quote["totals"]["itemsNet"]), before - off);
    let parts: i64 = list(&quote, "lines").iter().map(|line| minor(&line["discount"])).sum();
    assert_eq!(parts, off, "the lines share it: {quote}");
    let arrived = world.place_until(&body, "DELIVERED").await?;
    assert_eq!((&arrived["totals"], text(&arrived["promotion"], "code")), (&quote["totals"], "THIRD"));
    world.until_captured(text(&arrived, "id"), total(&quote)).await?;
    world.books_agree().await
}
