//! What a copy of the whole database tells of people and their money: nothing that finds or charges them (PAY-12).

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::search::columns_with;
use testkit::{eventually, order};

use super::world::{PATIENCE, World, list, text, unique};

const SHOP: &str = "nothing-to-read";
/// What the customer of this shop says and nobody else in the system does.
const SECRETS: [&str; 9] = [
    "Balthasar Nightheron",
    "1846 Cormorant Steps",
    "Behind The Boathouse",
    "94107-1846",
    "the cormorant bites",
    "seen near the cormorant",
    "mandate-cormorant-1846",
    "203.0.113.46",
    "customer@nothing-to-read.",
];
/// Tokens are of the simulator's choosing, so that every test of the system pays with them.
const TOKENS: [&str; 1] = ["pm_sim"];

fn secret_order() -> Value {
    let mut body = order(&[("TEE-M", 1)]);
    body["shippingAddress"]["recipient"] = SECRETS[0].into();
    body["shippingAddress"]["line1"] = SECRETS[1].into();
    body["shippingAddress"]["line2"] = SECRETS[2].into();
    body["shippingAddress"]["postalCode"] = SECRETS[3].into();
    body
}

/// An address as people read it: nothing of it is sealed.
fn lives(address: &Value) -> Value {
    let mut address = address.clone();
    let sealed = address.as_object_mut().and_then(|address| address.remove("sealed"));
    assert!(sealed.is_none_or(|sealed| sealed == ""), "a sealed address was answered");
    address
}

/// Columns that hold what nobody may read there.
async fn readable(world: &World) -> Result<Vec<String>> {
    let mut conn = world.system.db.admin().await?;
    let mut found = Vec::new();
    for secret in SECRETS.iter().chain(&TOKENS) {
        found.extend(columns_with(&mut conn, secret).await?.into_iter().map(|column| format!("{secret} in {column}")));
    }
    Ok(found)
}

#[tokio::test]
async fn pay_12_after_a_delivered_order_no_table_and_no_message_tells_who_lives_where_or_how_he_pays() -> Result<()> {
    let world = World::open(SHOP).await?;
    let mut body = secret_order();
    body["note"] = SECRETS[4].into();
    body["clientIp"] = SECRETS[7].into();
    let delivered = world.place_until(&body, "DELIVERED").await?;
    let id = text(&delivered, "id");
    let note = json!({"text": SECRETS[5]});
    world.csr.post(&format!("/api/v1/orders/{id}/notes"), &note, Some(&unique())).await?;
    let mut agreed = secret_order();
    agreed["mandateReference"] = SECRETS[6].into();
    agreed["interval"] = json!({"unit": "INTERVAL_UNIT_MONTH", "count": 1});
    let agreement = world.customer.post("/api/v1/subscriptions", &agreed, Some(&unique())).await?;
    let path = format!("/api/v1/subscriptions/{}", text(&agreement, "id"));
    let renewed = eventually(PATIENCE, || async {
        let now = world.customer.get(&path).await?;
        ensure!(text(&now["renewal"], "state") == "RENEWAL_STATE_PAID", "{now}");
        Ok(Some(now))
    });
    world.until(text(&renewed.await?["renewal"], "orderId"), "DELIVERED").await?;

    // Whoever may know it is told all of it.
    let seen = world.customer.get(&format!("/api/v1/orders/{id}")).await?;
    let home = lives(&body["shippingAddress"]);
    assert_eq!(lives(&seen["shippingAddress"]), home);
    assert_eq!(text(&seen, "note"), SECRETS[4]);
    assert_eq!(text(list(&seen, "notes").first().context("a note")?, "text"), SECRETS[5]);
    let listed = list(&world.csr.get("/api/v1/orders").await?, "orders");
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|order| lives(&order["shippingAddress"]) == home), "{listed:?}");
    let picked = list(&world.admin.get(&format!("/api/v1/fulfillments?orderId={id}")).await?, "fulfillments");
    assert_eq!(lives(&picked.first().context("a fulfillment")?["shipTo"]), home);
    let verified = world.admin.post(&format!("/api/v1/orders/{id}:verify"), &json!({}), None).await?;
    assert_eq!(verified["equal"], true, "{verified}");

    // The search sees what is not sealed: the city, in the tables of orders and in their events.
    let city = columns_with(&mut world.system.db.admin().await?, "San Francisco").await?;
    assert!(city.iter().any(|column| column == "om_order.orders.doc"), "{city:?}");
    assert!(city.iter().any(|column| column.starts_with("om_order.events")), "{city:?}");
    assert_eq!(readable(&world).await?, Vec::<String>::new());

    // A client cannot make us store what it sealed itself.
    let mut strange = secret_order();
    strange["shippingAddress"]["sealed"] = "AQAAAAEx".into();
    let request = world.customer.request(Method::POST, "/api/v1/orders").header("idempotency-key", unique());
    let answer = request.json(&strange).send().await?;
    assert_eq!(answer.status(), 400);
    let problem = answer.text().await?;
    assert!(problem.contains("shippingAddress.sealed") || problem.contains("shipping_address.sealed"), "{problem}");
    Ok(())
}
