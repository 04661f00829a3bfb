//! Orders that come again and again, and orders of time instead of goods.

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::world::{PATIENCE, World, list, number, state_of, text, total, unique};

async fn call(world: &World, method: Method, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
    let request = world.customer.request(method, path).header("idempotency-key", unique()).json(body);
    let answer = request.send().await?;
    Ok((answer.status(), answer.json().await?))
}

#[tokio::test]
async fn ord_46_a_subscription_renews_by_itself_and_its_order_is_paid_and_delivered() -> Result<()> {
    let world = World::open("subscribed").await?;
    let mut agreed = order(&[("TEE-S", 1)]);
    agreed["mandateReference"] = "mandate-7".into();
    agreed["interval"] = json!({"unit": "INTERVAL_UNIT_MONTH", "count": 1});
    let (status, made) = call(&world, Method::POST, "/api/v1/subscriptions", &agreed).await?;
    assert!(status.is_success(), "{made}");
    let path = format!("/api/v1/subscriptions/{}", text(&made, "id"));
    let paid = eventually(PATIENCE, || async {
        let now = world.customer.get(&path).await?;
        ensure!(text(&now["renewal"], "state") == "RENEWAL_STATE_PAID", "{now}");
        Ok(Some(now))
    });
    let paid = paid.await?;
    assert_eq!((number(&paid["nextPeriod"]), text(&paid, "state")), (2, "SUBSCRIPTION_STATE_ACTIVE"));
    assert!(text(&paid, "nextTime") > text(&made, "createTime"));
    let arrived = world.until(text(&paid["renewal"], "orderId"), "DELIVERED").await?;
    assert_eq!(
        (text(&arrived, "kind"), text(&arrived, "channel")),
        ("ORDER_KIND_SUBSCRIPTION", "ORDER_CHANNEL_INTERNAL")
    );
    assert_eq!((text(&arrived, "subscriptionId"), number(&arrived["subscriptionPeriod"])), (text(&made, "id"), 1));
    let moves = world.money_moves(text(&arrived, "id")).await?;
    assert!(moves.iter().any(|line| line["metadata"]["mandate"] == "mandate-7"), "charged while he is away: {moves:?}");
    let all = list(&world.csr.get("/api/v1/orders").await?, "orders");
    assert_eq!(all.len(), 1, "one period, one order");

    let (status, skipped) = call(&world, Method::POST, &format!("{path}:skip"), &json!({"period": 2})).await?;
    assert_eq!((status, number(&skipped["nextPeriod"])), (StatusCode::OK, 3), "{skipped}");
    let (status, ended) = call(&world, Method::POST, &format!("{path}:cancel"), &json!({"reason": "moved"})).await?;
    assert_eq!((status, text(&ended, "state")), (StatusCode::OK, "SUBSCRIPTION_STATE_CANCELLED"), "{ended}");
    world.books_agree().await
}

#[tokio::test]
async fn ord_46_a_declined_renewal_is_past_due_and_waits_for_the_tenants_schedule() -> Result<()> {
    let world = World::open("past-due").await?;
    let mut agreed = order(&[("TEE-S", 1)]);
    agreed["paymentMethod"] = "pm_sim_declined".into();
    agreed["mandateReference"] = "mandate-8".into();
    agreed["interval"] = json!({"unit": "INTERVAL_UNIT_DAY", "count": 30});
    let (_, made) = call(&world, Method::POST, "/api/v1/subscriptions", &agreed).await?;
    let path = format!("/api/v1/subscriptions/{}", text(&made, "id"));
    let failed = eventually(PATIENCE, || async {
        let now = world.customer.get(&path).await?;
        ensure!(text(&now, "state") == "SUBSCRIPTION_STATE_PAST_DUE", "{now}");
        Ok(Some(now))
    });
    let failed = failed.await?;
    let again: Timestamp = text(&failed, "nextTime").parse()?;
    let wait = again.duration_since(text(&failed, "updateTime").parse()?);
    assert_eq!(wait, SignedDuration::from_hours(24), "the first of 1, 3 and 5 days");
    assert!(!text(&failed["renewal"], "reason").is_empty());
    Ok(())
}

#[tokio::test]
async fn ord_46_a_service_request_books_a_slot_and_nothing_is_sent() -> Result<()> {
    let world = World::open("served").await?;
    let price = json!({"currencyCode": "USD", "amountMinor": "4500"});
    let cut = json!({"sku": "HAIRCUT", "displayName": "Haircut", "prices": [price], "kind": "PRODUCT_KIND_RESOURCE"});
    world.admin.post("/api/v1/products", &cut, None).await?;
    let begin = Timestamp::now().round(jiff::Unit::Hour)? + SignedDuration::from_hours(48);
    let slot = json!({
        "warehouse": "OAK", "startTime": begin.to_string(),
        "endTime": (begin + SignedDuration::from_hours(1)).to_string(), "capacity": 1,
    });
    let slot = world.admin.post("/api/v1/products/HAIRCUT/slots", &slot, Some(&unique())).await?;
    let wanted = json!({
        "kind": "ORDER_KIND_SERVICE_REQUEST", "currencyCode": "USD", "paymentMethod": "pm_sim_visa",
        "items": [{"sku": "HAIRCUT", "quantity": 1, "slotId": text(&slot, "id")}],
    });
    let booked = world.place(&wanted).await?;
    let id = text(&booked, "id").to_owned();
    assert_eq!(total(&booked), 4500, "no shipping cost");
    let booked = world.until(&id, "FULFILLMENT_PENDING").await?;
    assert_eq!((text(&booked, "statusLifecycle"), list(&booked, "shipments").len()), ("Confirmed", 0));
    let free = world.customer.get("/api/v1/products/HAIRCUT/slots?free=true").await?;
    assert!(list(&free, "slots").is_empty(), "the only place is taken: {free}");
    let late = world.place_until(&wanted, "FAILED").await?;
    assert_eq!(text(&late, "stateReason"), "OUT_OF_STOCK");

    let complete = format!("/api/v1/orders/{id}:completeService");
    let given = world.csr.post(&complete, &json!({}), None).await?;
    assert_eq!(state_of(&given), "DELIVERED", "{given}");
    world.until_captured(&id, 4500).await.context("the money is taken at once")?;
    let fulfillments = world.admin.get(&format!("/api/v1/fulfillments?orderId={id}")).await?;
    assert!(list(&fulfillments, "fulfillments").is_empty(), "no warehouse hears of it");
    let place = "SELECT jsonb_build_array(on_hand, reserved) AS row FROM om_inventory.stock WHERE tenant_id = $1 \
        AND sku LIKE 'HAIRCUT@%'";
    let used = eventually(PATIENCE, || async {
        let place = world.rows(place).await?;
        ensure!(place == [json!([0, 0])], "on hand and reserved: {place:?}");
        Ok(Some(()))
    });
    used.await.context("what was given is not booked any more, and cannot be booked again")?;
    let taken: Vec<i64> = world
        .money_moves(&id)
        .await?
        .iter()
        .filter(|line| text(line, "op") == "capture")
        .map(|line| number(&line["amount"]))
        .collect();
    assert_eq!(taken, [4500], "the provider took it once");
    assert!(world.money_moves(text(&late, "id")).await?.is_empty(), "nothing was held for the one that came too late");
    Ok(())
}
