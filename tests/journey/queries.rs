//! Questions about orders over REST: lists, searches, counts, copies of answers, and the view of an order.

use anyhow::{Context as _, Result, ensure};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{Rest, eventually, order, refusal};

use super::world::{PATIENCE, World, list, number, text, total};

/// The answer and what its header says of where it came from.
async fn cached(rest: &Rest, path: &str) -> Result<(Value, String)> {
    let answer = rest.request(Method::GET, path).send().await?;
    ensure!(answer.status().is_success(), "{path}: {}", answer.status());
    let header = answer.headers().get("x-cache").map(|value| value.to_str().map(str::to_owned)).transpose()?;
    Ok((answer.json().await?, header.unwrap_or_default()))
}

/// Asks until the answer is a copy.
async fn hit(rest: &Rest, path: &str) -> Result<Value> {
    let copy = eventually(PATIENCE, || async {
        let (body, header) = cached(rest, path).await?;
        ensure!(header == "HIT", "{path}: {header:?}");
        Ok(Some(body))
    });
    copy.await
}

fn numbers(page: &Value) -> Vec<i64> {
    list(page, "orders").iter().map(|order| number(&order["orderNumber"])).collect()
}

#[tokio::test]
async fn ord_06_and_ord_10_orders_are_listed_searched_and_counted_over_rest() -> Result<()> {
    let world = World::open("q-search").await?;
    let first = world.place(&order(&[("TEE-S", 1)])).await?;
    let second = world.place(&order(&[("TEE-S", 2), ("MUG-BLUE", 1)])).await?;
    for placed in [&first, &second] {
        world.until(text(placed, "id"), "DELIVERED").await?;
    }
    let csr = &world.csr;
    let words = "/api/v1/orders?status=DELIVERED&statusRetail=Delivered&statusLifecycle=completed";
    assert_eq!(numbers(&csr.get(words).await?), [2, 1]);
    assert_eq!(numbers(&csr.get("/api/v1/orders?statusRetail=Paid").await?), [0; 0]);
    let dear = format!("/api/v1/orders?currencyCode=USD&totalMinMinor={}&sku=TEE-S", total(&second));
    assert_eq!(numbers(&csr.get(&dear).await?), [2]);
    assert_eq!(numbers(&csr.get("/api/v1/orders?sku=MUG-BLUE").await?), [2]);
    let later = format!("/api/v1/orders?createTimeFrom={}", text(&second, "createTime"));
    assert_eq!(numbers(&csr.get(&later).await?), [2]);
    let criteria = json!({"criteria": {"skuPrefix": "TEE", "statusRetail": ["DELIVERED"], "orderNumbers": ["1", "7"]}});
    assert_eq!(numbers(&world.customer.post("/api/v1/orders:search", &criteria, None).await?), [1]);
    let count = csr.get("/api/v1/orders:count?criteria.statusRetail=Delivered").await?;
    assert_eq!(number(&count["count"]), 2);
    let wrong = csr.get("/api/v1/orders?statusRetail=Sold&sku=%25").await.err().context("neither is right")?;
    let problem = refusal(&wrong).context("a problem document")?.to_string();
    assert!(problem.contains("status_retail[0]") && problem.contains("sku: "), "{problem}");
    Ok(())
}

#[tokio::test]
async fn ord_08_staff_read_a_users_orders_and_other_customers_and_tenants_do_not() -> Result<()> {
    let world = World::open("q-user").await?;
    let placed = world.place(&order(&[("TEE-S", 1)])).await?;
    let path = format!("/api/v1/orders/user/{}", text(&placed, "customerId"));
    assert_eq!(numbers(&world.customer.get(&path).await?), [1]);
    assert_eq!(numbers(&world.csr.get(&path).await?), [1]);
    let stranger = format!("/api/v1/orders/user/{}", ids::UserId::new());
    let neighbour = World::open("q-user-2").await?;
    for (who, path) in [(&world.csr, &stranger), (&world.customer, &stranger), (&neighbour.csr, &path)] {
        let answer = who.request(Method::GET, path).send().await?;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }
    Ok(())
}

#[tokio::test]
async fn ord_41_answers_are_copies_until_something_is_written() -> Result<()> {
    let world = World::open("q-copies").await?;
    let id = text(&world.place_until(&order(&[("TEE-S", 1)]), "DELIVERED").await?, "id").to_owned();
    let details = format!("/api/v1/orders/{id}");
    let own = format!("/api/v1/orders/user/{}", text(&world.order(&id).await?, "customerId"));
    let count = "/api/v1/orders:count";
    for path in [details.as_str(), own.as_str(), count] {
        hit(&world.csr, path).await?;
    }
    let rated = json!({"stars": 4});
    world.customer.post(&format!("{details}:rate"), &rated, None).await?;
    let (now, source) = cached(&world.csr, &details).await?;
    assert_eq!((number(&now["rating"]["stars"]), source.as_str()), (4, "MISS"), "read at once, and not from a copy");
    world.place(&order(&[("TEE-S", 1)])).await?;
    assert_eq!(numbers(&cached(&world.csr, &own).await?.0), [2, 1]);
    assert_eq!(number(&cached(&world.csr, count).await?.0["count"]), 2);
    Ok(())
}

#[tokio::test]
async fn ord_43_the_view_of_an_order_has_its_money_its_parcels_and_their_way() -> Result<()> {
    let world = World::open("q-view").await?;
    let placed = world.place_until(&order(&[("TEE-S", 1)]), "DELIVERED").await?;
    let view = world.customer.get(&format!("/api/v1/orders/{}/view", text(&placed, "id"))).await?;
    for part in ["payment", "shipments", "tracking"] {
        assert_eq!(text(&view[part], "state"), "PART_STATE_FRESH", "{part} of {view}");
        assert!(!text(&view[part], "asOfTime").is_empty());
    }
    assert_ne!(view["partial"], json!(true));
    assert_eq!(number(&view["payment"]["captured"]["amountMinor"]), total(&placed));
    let parcel = &view["shipments"]["parcels"][0];
    assert_eq!((text(parcel, "state"), text(parcel, "trackingNumber").is_empty()), ("DELIVERED", false));
    let words: Vec<_> = list(&view["tracking"], "entries").iter().map(|entry| text(entry, "code").to_owned()).collect();
    assert_eq!(words.last().map(String::as_str), Some("DELIVERED"), "{words:?}");
    Ok(())
}
