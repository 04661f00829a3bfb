//! Orders that are begun first, held on the way, and refused for who buys them.

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::order;

use super::payment::{finish_challenge, intent_of};
use super::world::{World, list, number, order_by, state_of, text, total, unique};

async fn call(world: &World, method: Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
    let request = world.customer.request(method, path).header("idempotency-key", unique()).json(body);
    let answer = request.send().await?;
    Ok((answer.status(), answer.json().await?))
}

#[tokio::test]
async fn ord_29_a_draft_grows_over_rest_and_is_delivered_once_it_is_placed() -> Result<()> {
    let world = World::open("draft").await?;
    let mut body = order(&[("TEE-S", 1)]);
    body["draft"] = true.into();
    body.as_object_mut().context("an object")?.remove("paymentMethod");
    let draft = world.place(&body).await?;
    let id = text(&draft, "id").to_owned();
    assert_eq!((state_of(&draft).as_str(), text(&draft, "statusRetail")), ("DRAFT", "Draft"));
    let before = world.stock("TEE-S", "OAK").await?;

    let (status, more) =
        call(&world, Method::POST, &format!("/api/v1/orders/{id}/items"), &json!({"sku": "TEE-L", "quantity": 2}))
            .await?;
    assert_eq!(status, StatusCode::OK, "{more}");
    assert_eq!(list(&more, "lines").len(), 2);
    let (status, set) =
        call(&world, Method::PATCH, &format!("/api/v1/orders/{id}/items/1"), &json!({"quantity": 3})).await?;
    assert_eq!((status, number(&set["lines"][0]["quantity"])), (StatusCode::OK, 3), "{set}");
    let less = world.customer.request(Method::DELETE, &format!("/api/v1/orders/{id}/items/2")).send().await?;
    let (status, less) = (less.status(), less.json::<Value>().await?);
    assert_eq!((status, list(&less, "lines").len()), (StatusCode::OK, 1), "{less}");
    assert_eq!(world.stock("TEE-S", "OAK").await?, before, "no stock is held for a draft");
    assert!(world.money_moves(&id).await?.is_empty());

    let wrong = json!({"paymentMethod": "pm_sim_visa", "expectedTotal": {"currencyCode": "USD", "amountMinor": "1"}});
    let (status, problem) = call(&world, Method::POST, &format!("/api/v1/orders/{id}:place"), &wrong).await?;
    assert_eq!((status, text(&problem, "reason")), (StatusCode::CONFLICT, "PRICE_CHANGED"), "{problem}");
    let (status, placed) =
        call(&world, Method::POST, &format!("/api/v1/orders/{id}:place"), &json!({"paymentMethod": "pm_sim_visa"}))
            .await?;
    assert_eq!((status, state_of(&placed).as_str()), (StatusCode::OK, "PENDING"), "{placed}");
    let arrived = world.until(&id, "DELIVERED").await?;
    assert_eq!(total(&arrived), total(&less));
    let add = json!({"sku": "TEE-L", "quantity": 1});
    let (status, problem) = call(&world, Method::POST, &format!("/api/v1/orders/{id}/items"), &add).await?;
    assert_eq!((status, text(&problem, "reason")), (StatusCode::CONFLICT, "ORDER_STATE_FORBIDS"));
    world.books_agree().await
}

#[tokio::test]
async fn a_held_order_reaches_the_warehouse_only_when_it_is_released() -> Result<()> {
    let world = World::open("hold").await?;
    let waiting =
        world.place_until(&order_by("pm_sim_3ds_required", &[("TEE-S", 1)]), "PAYMENT_ACTION_REQUIRED").await?;
    let id = text(&waiting, "id");
    let held = world.csr.post(&format!("/api/v1/orders/{id}:hold"), &json!({"reason": "looks odd"}), None).await?;
    assert_eq!(held["onHold"], true);
    finish_challenge(&world.system.payments(), &intent_of(&world, &waiting).await?, "succeed").await?;
    world.until(id, "PAYMENT_COMPLETED").await?;
    // It waits at the step that would ask the warehouse.
    let asleep = "SELECT to_jsonb(status) AS row FROM om_order.sagas WHERE tenant_id = $1 AND status = 'waiting' \
        AND step = 4";
    testkit::eventually(super::world::PATIENCE, || async {
        let rows = world.rows(asleep).await?;
        anyhow::ensure!(rows.len() == 1, "the saga has not come to its rest");
        Ok(Some(()))
    })
    .await?;
    let asked = "SELECT to_jsonb(order_id) AS row FROM om_fulfillment.fulfillments WHERE tenant_id = $1";
    assert!(world.rows(asked).await?.is_empty());
    world.csr.post(&format!("/api/v1/orders/{id}:release"), &json!({}), None).await?;
    let arrived = world.until(id, "DELIVERED").await?;
    assert!(!arrived["onHold"].as_bool().unwrap_or(false));
    world.books_agree().await
}

#[tokio::test]
async fn ord_22_and_ord_27_are_refused_over_rest_with_their_codes() -> Result<()> {
    let world = World::open("eligible").await?;
    let price = json!({"currencyCode": "USD", "amountMinor": "2000"});
    let wine = json!({"sku": "WINE", "displayName": "Wine", "prices": [price], "restrictions": {"minAge": 21}});
    world.admin.post("/api/v1/products", &wine, None).await?;
    let (status, problem) = call(&world, Method::POST, "/api/v1/orders", &order(&[("WINE", 1)])).await?;
    assert_eq!(
        (status, text(&problem, "reason")),
        (StatusCode::UNPROCESSABLE_ENTITY, "PRODUCT_RESTRICTED"),
        "{problem}"
    );
    assert_eq!((text(&problem["metadata"], "sku"), text(&problem["metadata"], "rule")), ("WINE", "AGE_RESTRICTED"));

    let placed = world.place(&order(&[("TEE-S", 1)])).await?;
    let user = text(&placed, "customerId").to_owned();
    let standing = |blocked: bool| json!({"blocked": blocked, "emailVerified": true, "reason": "a test"});
    let path = format!("/api/v1/users/{user}:setStanding");
    for (blocked, expected) in [(true, StatusCode::FORBIDDEN), (false, StatusCode::CREATED)] {
        world.csr.post(&path, &standing(blocked), None).await?;
        testkit::eventually(super::world::PATIENCE, || async {
            let (status, said) = call(&world, Method::POST, "/api/v1/orders", &order(&[("TEE-S", 1)])).await?;
            anyhow::ensure!(status == expected, "{status} {said}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}
