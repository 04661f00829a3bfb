//! Orders that are changed before a warehouse knows of them.

use anyhow::Result;
use futures::future::try_join_all;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use testkit::order;

use super::world::{World, number, order_by, text};

fn move_to(street: &str) -> Value {
    let mut address = order(&[])["shippingAddress"].clone();
    address["line1"] = street.into();
    json!({"shippingAddress": address})
}

async fn change(world: &World, id: &str, version: &str, body: &Value) -> Result<(StatusCode, Value)> {
    let request = world.customer.request(Method::PUT, &format!("/api/v1/orders/{id}")).json(body);
    let answer = request.header(header::IF_MATCH, format!("\"{version}\"")).send().await?;
    Ok((answer.status(), answer.json().await?))
}

#[tokio::test]
async fn ord_03_an_address_changes_before_fulfilment_and_a_stale_version_is_refused() -> Result<()> {
    let world = World::open("change").await?;
    let body = order_by("pm_sim_3ds_required", &[("TEE-S", 1)]);
    let waiting = world.place_until(&body, "PAYMENT_ACTION_REQUIRED").await?;
    let (id, version) = (text(&waiting, "id"), text(&waiting, "etag"));
    let (status, changed) = change(&world, id, version, &move_to("1 New Street")).await?;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_eq!(number(&changed["etag"]), number(&waiting["etag"]) + 1);
    assert_eq!(text(&changed["shippingAddress"], "line1"), "1 New Street");
    let (status, problem) = change(&world, id, version, &move_to("2 Newer Street")).await?;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED, "{problem}");
    assert_eq!(text(&world.order(id).await?["shippingAddress"], "line1"), "1 New Street");

    let arrived = world.place_until(&order(&[("TEE-S", 1)]), "DELIVERED").await?;
    let late = change(&world, text(&arrived, "id"), text(&arrived, "etag"), &move_to("3 Late Street")).await?;
    assert_eq!(late.0, StatusCode::CONFLICT, "{}", late.1);
    Ok(())
}

#[tokio::test]
async fn ord_35_of_many_writers_with_one_version_exactly_one_wins() -> Result<()> {
    let world = World::open("two-writers").await?;
    for writers in [2, 12] {
        let body = order_by("pm_sim_3ds_required", &[("TEE-S", 1)]);
        let waiting = world.place_until(&body, "PAYMENT_ACTION_REQUIRED").await?;
        let (id, version) = (text(&waiting, "id").to_owned(), text(&waiting, "etag").to_owned());
        let each = (0..writers).map(|writer| {
            let (world, id, version) = (world.clone(), id.clone(), version.clone());
            async move { change(&world, &id, &version, &move_to(&format!("{writer} Race Street"))).await }
        });
        let answers = try_join_all(each).await?;
        let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
        assert_eq!(count(StatusCode::OK), 1, "{answers:?}");
        assert_eq!(count(StatusCode::PRECONDITION_FAILED), writers - 1, "{answers:?}");
        assert_eq!(number(&world.order(&id).await?["etag"]), number(&waiting["etag"]) + 1);
    }
    Ok(())
}
