//! Orders that are changed before a warehouse has begun with them.

use anyhow::Result;
use futures::future::try_join_all;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use testkit::{eventually, order};

use super::payment::{finish_challenge, intent_of};
use super::world::{
    Faulty, PATIENCE, World, ledger, list, minor, number, order_by, script, speed, state_of, text, total, unique,
};

pub(super) fn move_to(street: &str) -> Value {
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

/// An order whose money is held, and that waits at the step that would ask the warehouse.
pub(super) async fn paid_and_held(world: &World, items: &[(&str, i32)]) -> Result<Value> {
    let waiting = world.place_until(&order_by("pm_sim_3ds_required", items), "PAYMENT_ACTION_REQUIRED").await?;
    let id = text(&waiting, "id");
    world.csr.post(&format!("/api/v1/orders/{id}:hold"), &json!({"reason": "a test"}), None).await?;
    finish_challenge(&world.system.payments(), &intent_of(world, &waiting).await?, "succeed").await?;
    let order = world.until(id, "PAYMENT_COMPLETED").await?;
    let asleep = "SELECT to_jsonb(saga_id) AS row FROM om_order.sagas WHERE tenant_id = $1 AND status = 'waiting' \
        AND kind = 'place' AND step = 4";
    eventually(PATIENCE, || async {
        anyhow::ensure!(!world.rows(asleep).await?.is_empty(), "the saga has not come to its rest");
        Ok(Some(()))
    })
    .await?;
    Ok(order)
}

pub(super) async fn send(world: &World, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
    let request = world.customer.request(Method::POST, path).header("idempotency-key", unique()).json(body);
    let answer = request.send().await?;
    Ok((answer.status(), answer.json().await?))
}

/// Waits until the last change of an order is over.
pub(super) async fn decided(world: &World, id: &str, state: &str) -> Result<Value> {
    eventually(PATIENCE, || async {
        let order = world.order(id).await?;
        let changes = list(&order, "changes");
        let last = changes.last().map(|change| text(change, "state").to_owned()).unwrap_or_default();
        anyhow::ensure!(last == format!("ORDER_CHANGE_STATE_{state}"), "the change is {last}");
        Ok(Some(order))
    })
    .await
}

async fn ops(world: &World, id: &str, op: &str) -> Result<usize> {
    Ok(world.money_moves(id).await?.iter().filter(|line| line["op"] == op).count())
}

#[tokio::test]
async fn ord_05_ord_44_a_paid_order_grows_and_shrinks_and_money_and_stock_follow() -> Result<()> {
    let world = World::open("order-change").await?;
    let order = paid_and_held(&world, &[("TEE-S", 1)]).await?;
    let id = text(&order, "id");
    let stock = world.stock("TEE-L", "OAK").await?;

    // One line more: it appears when stock and money are held for it.
    let (status, locked) =
        send(&world, &format!("/api/v1/orders/{id}/items"), &json!({"sku": "TEE-L", "quantity": 2})).await?;
    assert_eq!((status, text(&locked, "state")), (StatusCode::OK, "ORDER_STATE_CHANGE_PENDING"), "{locked}");
    let grown = decided(&world, id, "APPLIED").await?;
    assert_eq!((text(&grown, "state"), list(&grown, "lines").len()), ("ORDER_STATE_PAYMENT_COMPLETED", 2));
    assert!(total(&grown) > total(&order));
    assert_eq!(minor(&grown["payment"]["authorized"]), total(&grown), "the bank holds what it costs");
    assert_eq!(world.stock("TEE-L", "OAK").await?, (stock.0, stock.1 + 2));
    assert_eq!(ops(&world, id, "increment").await?, 1);

    // Less of both: previewed, asked for, agreed to. No money moves, and none is given back that was never taken.
    let path = format!("/api/v1/orders/{id}/changes");
    let edits = json!({"edits": [{"line": 2, "quantity": 1}]});
    let (status, preview) = send(&world, &format!("{path}:preview"), &edits).await?;
    assert_eq!(status, StatusCode::OK, "{preview}");
    let difference = minor(&preview["priceDifference"]);
    assert!(difference < 0 && minor(&preview["toAuthorize"]) == 0, "{preview}");
    let (status, change) = send(&world, &path, &edits).await?;
    assert_eq!((status, &change["priceDifference"]), (StatusCode::CREATED, &preview["priceDifference"]), "{change}");
    let path = format!("{path}/{}", text(&change, "id"));
    let (status, confirmed) = send(&world, &format!("{path}:confirm"), &json!({})).await?;
    assert_eq!((status, text(&confirmed, "state")), (StatusCode::OK, "ORDER_CHANGE_STATE_CONFIRMED"), "{confirmed}");
    let shrunk = decided(&world, id, "APPLIED").await?;
    assert_eq!(total(&shrunk), total(&grown) + difference);
    assert_eq!(world.stock("TEE-L", "OAK").await?, (stock.0, stock.1 + 1));
    assert_eq!(minor(&shrunk["payment"]["authorized"]), total(&grown), "the bank still holds more");

    world.csr.post(&format!("/api/v1/orders/{id}:release"), &json!({}), None).await?;
    let arrived = world.until(id, "DELIVERED").await?;
    assert_eq!(total(&arrived), total(&shrunk));
    world.until_captured(id, total(&shrunk)).await?;
    assert_eq!((ops(&world, id, "increment").await?, ops(&world, id, "refund").await?), (1, 0));
    let late = send(&world, &format!("/api/v1/orders/{id}/changes"), &edits).await?;
    assert_eq!((late.0, text(&late.1, "reason")), (StatusCode::CONFLICT, "ORDER_STATE_FORBIDS"));
    world.books_agree().await
}

#[tokio::test]
async fn ord_05_a_change_that_stock_or_bank_refuses_leaves_the_order_as_it_was() -> Result<()> {
    let world = World::open("change-refused").await?;
    let order = paid_and_held(&world, &[("TEE-S", 1)]).await?;
    let id = text(&order, "id");
    let items = format!("/api/v1/orders/{id}/items");
    let (status, _) = send(&world, &items, &json!({"sku": "PRINT-01", "quantity": 2})).await?;
    assert_eq!(status, StatusCode::OK);
    let refused = decided(&world, id, "FAILED").await?;
    let change = &refused["changes"][0];
    assert_eq!(text(change, "outcomeReason"), "OUT_OF_STOCK", "{change}");
    assert_eq!((&refused["lines"], &refused["totals"]), (&order["lines"], &order["totals"]));

    // The bank has let the money go: what was set aside for the change is given back.
    let stock = world.stock("TEE-L", "OAK").await?;
    let intent = intent_of(&world, &order).await?;
    let cancel = format!("/v1/payment_intents/{intent}/cancel");
    let answer = world.system.payments().request(Method::POST, &cancel).bearer_auth("sk_test").send().await?;
    assert!(answer.status().is_success(), "{}", answer.text().await?);
    send(&world, &items, &json!({"sku": "TEE-L", "quantity": 1})).await?;
    let refused = decided(&world, id, "FAILED").await?;
    let reason = text(&refused["changes"][1], "outcomeReason").to_owned();
    assert!(["INCREMENT_REFUSED", "PAYMENT_NOT_AUTHORIZED"].contains(&reason.as_str()), "{reason}");
    assert_eq!((&refused["lines"], &refused["totals"]), (&order["lines"], &order["totals"]));
    assert_eq!(text(&refused, "state"), "ORDER_STATE_PAYMENT_COMPLETED");
    assert_eq!(world.stock("TEE-L", "OAK").await?, stock);
    assert_eq!(ops(&world, id, "increment").await?, 0);
    Ok(())
}

/// What the warehouse was told, in order: the operation with its product and units, as "create TEE-S 1".
pub(super) async fn told(world: &World) -> Result<Vec<(String, String)>> {
    let tenant = world.tenant().to_string();
    let lines = ledger(&world.system.wms()).await?.into_iter().filter(|line| text(line, "tenant") == tenant);
    let said = lines.map(|line| {
        let mut said = text(&line, "op").to_owned();
        for part in list(&line, "lines") {
            said = format!("{said} {} {}", text(&part, "sku"), part["quantity"]);
        }
        (text(&line, "reference").to_owned(), said)
    });
    Ok(said.filter(|(_, said)| !said.starts_with("release")).collect())
}

/// Runs a journey in a shop whose warehouse accepts an order and begins in hours.
pub(super) async fn slowly<F: Future<Output = Result<()>>>(
    slug: &str,
    journey: impl FnOnce(World, Value) -> F,
) -> Result<()> {
    let faulty = Faulty::open(slug).await?;
    let wms = faulty.world.system.wms();
    speed(&wms, 0.001).await?;
    let outcome = async {
        let accepted = faulty.world.place_until(&order(&[("TEE-S", 1)]), "FULFILLMENT_PENDING").await?;
        journey(faulty.world.clone(), accepted).await
    };
    let outcome = outcome.await;
    speed(&wms, 10.0).await?;
    faulty.mend().await?;
    outcome
}

#[tokio::test]
async fn ord_44_ord_05_an_order_that_the_warehouse_has_accepted_grows_and_is_delivered_as_it_became() -> Result<()> {
    let grow = |world: World, accepted: Value| async move {
        let (wms, id) = (world.system.wms(), text(&accepted, "id").to_owned());
        // The warehouse answers neither at once nor every time.
        let faults = json!([{"op": "CancelOrder", "kind": "error500", "times": 1},
            {"op": "CreateOrder", "kind": "reset_after", "times": 1}]);
        script(&wms, &faults).await?;
        let line = json!({"sku": "TEE-L", "quantity": 2});
        let (status, locked) = send(&world, &format!("/api/v1/orders/{id}/items"), &line).await?;
        assert_eq!((status, state_of(&locked)), (StatusCode::OK, "CHANGE_PENDING".to_owned()), "{locked}");
        let grown = decided(&world, &id, "APPLIED").await?;
        assert_eq!((state_of(&grown), list(&grown, "lines").len()), ("FULFILLMENT_PENDING".to_owned(), 2));
        assert!(total(&grown) > total(&accepted));
        assert_eq!(minor(&grown["payment"]["authorized"]), total(&grown), "the bank holds what it costs");
        let told = eventually(PATIENCE, || async {
            let told = told(&world).await?;
            Ok((told.len() >= 3).then_some(told))
        });
        let told = told.await?;
        let said: Vec<&str> = told.iter().map(|(_, said)| said.as_str()).collect();
        assert_eq!(said, ["create TEE-S 1", "cancel TEE-S 1", "create TEE-S 1 TEE-L 2"]);
        assert_eq!(told[0].0, told[1].0);
        assert_ne!(told[1].0, told[2].0, "another order at the warehouse");

        speed(&wms, 10.0).await?;
        let arrived = world.until(&id, "DELIVERED").await?;
        let delivered: i64 = list(&arrived, "lines").iter().map(|line| number(&line["delivered"])).sum();
        assert_eq!((total(&arrived), delivered), (total(&grown), 3));
        world.until_captured(&id, total(&grown)).await?;
        assert_eq!((ops(&world, &id, "increment").await?, ops(&world, &id, "refund").await?), (1, 0));
        assert_eq!(self::told(&world).await?.len(), 3, "one live order");
        world.books_agree().await
    };
    slowly("recalled", grow).await
}

#[tokio::test]
async fn ord_44_a_change_comes_too_late_when_the_warehouse_has_begun_and_nothing_changes() -> Result<()> {
    let late = |world: World, accepted: Value| async move {
        let (wms, id) = (world.system.wms(), text(&accepted, "id").to_owned());
        // It has begun, and we have not heard of it.
        script(&wms, &json!([{"op": "GetStatus", "kind": "error500", "times": 1000}])).await?;
        speed(&wms, 1e6).await?;
        let stock = world.stock("TEE-L", "OAK").await?;
        let line = json!({"sku": "TEE-L", "quantity": 2});
        let (status, answer) = send(&world, &format!("/api/v1/orders/{id}/items"), &line).await?;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let failed = decided(&world, &id, "FAILED").await?;
        assert_eq!(text(&failed["changes"][0], "outcomeReason"), "FULFILLMENT_STARTED");
        assert_eq!(state_of(&failed), "FULFILLMENT_PENDING");
        assert_eq!((&failed["lines"], &failed["totals"]), (&accepted["lines"], &accepted["totals"]));
        assert_eq!(world.stock("TEE-L", "OAK").await?, stock);
        script(&wms, &json!([])).await?;
        let arrived = world.until(&id, "DELIVERED").await?;
        assert_eq!(total(&arrived), total(&accepted));
        let said: Vec<String> = told(&world).await?.into_iter().map(|(_, said)| said).collect();
        assert_eq!(said, ["create TEE-S 1"]);
        assert_eq!(ops(&world, &id, "increment").await?, 0);
        let (status, problem) = send(&world, &format!("/api/v1/orders/{id}/items"), &line).await?;
        assert_eq!((status, text(&problem, "reason")), (StatusCode::CONFLICT, "ORDER_STATE_FORBIDS"));

        // Nobody has said yes when the warehouse begins.
        speed(&wms, 0.001).await?;
        let accepted = world.place_until(&order(&[("TEE-S", 1)]), "FULFILLMENT_PENDING").await?;
        let id = text(&accepted, "id");
        let path = format!("/api/v1/orders/{id}/changes");
        let (status, change) = send(&world, &path, &json!({"edits": [{"line": 1, "quantity": 2}]})).await?;
        assert_eq!(status, StatusCode::CREATED, "{change}");
        speed(&wms, 1e6).await?;
        let failed = decided(&world, id, "FAILED").await?;
        assert_eq!(text(&failed["changes"][0], "outcomeReason"), "FULFILLMENT_STARTED");
        let path = format!("{path}/{}:confirm", text(&change, "id"));
        let (status, problem) = send(&world, &path, &json!({})).await?;
        assert_eq!((status, text(&problem, "reason")), (StatusCode::CONFLICT, "CHANGE_STATE_FORBIDS"));
        let arrived = world.until(id, "DELIVERED").await?;
        assert_eq!((&arrived["totals"], list(&arrived, "lines").len()), (&accepted["totals"], 1));
        world.books_agree().await
    };
    slowly("too-late-to-change", late).await
}

#[tokio::test]
async fn ord_44_a_change_that_is_refused_behind_the_recall_asks_the_warehouse_for_the_order_as_it_was() -> Result<()> {
    let refuse = |world: World, accepted: Value| async move {
        let id = text(&accepted, "id").to_owned();
        let line = json!({"sku": "PRINT-01", "quantity": 2});
        let (status, answer) = send(&world, &format!("/api/v1/orders/{id}/items"), &line).await?;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let failed = decided(&world, &id, "FAILED").await?;
        assert_eq!(text(&failed["changes"][0], "outcomeReason"), "OUT_OF_STOCK");
        assert_eq!(state_of(&failed), "FULFILLMENT_PENDING");
        assert_eq!((&failed["lines"], &failed["totals"]), (&accepted["lines"], &accepted["totals"]));
        let said: Vec<String> = told(&world).await?.into_iter().map(|(_, said)| said).collect();
        assert_eq!(said, ["create TEE-S 1", "cancel TEE-S 1", "create TEE-S 1"]);
        speed(&world.system.wms(), 10.0).await?;
        let arrived = world.until(&id, "DELIVERED").await?;
        assert_eq!(total(&arrived), total(&accepted));
        world.books_agree().await
    };
    slowly("sent-back", refuse).await
}

#[tokio::test]
async fn ord_44_an_order_held_between_two_warehouses_is_asked_for_anew_at_both() -> Result<()> {
    let faulty = Faulty::open("half-accepted").await?;
    let (world, wms) = (faulty.world.clone(), faulty.world.system.wms());
    // No warehouse has all of it, and each will have one of what is added.
    world.product("ODD-44", 333, &[("OAK", 2), ("NJ", 5)]).await?;
    world.product("BOTH-44", 500, &[("OAK", 1), ("NJ", 1)]).await?;
    let outcome = async {
        speed(&wms, 0.001).await?;
        // The first warehouse answers late; before it does, the second falls silent.
        script(&wms, &json!([{"op": "CreateOrder", "kind": "delay", "delay_ms": 1500, "times": 1}])).await?;
        let placed = world.place(&order(&[("ODD-44", 7)])).await?;
        let id = text(&placed, "id").to_owned();
        let wished = "SELECT to_jsonb(warehouse) AS row FROM om_fulfillment.fulfillments WHERE tenant_id = $1";
        eventually(PATIENCE, || async { Ok((world.rows(wished).await?.len() == 1).then_some(())) }).await?;
        script(&wms, &json!([{"op": "CreateOrder", "kind": "error500", "times": 1000}])).await?;
        eventually(PATIENCE, || async { Ok((!told(&world).await?.is_empty()).then_some(())) }).await?;
        // A hold is refused at this step; we act as if it had come one step earlier.
        let back = "UPDATE om_order.sagas SET step = 3 WHERE tenant_id = $1 AND kind = 'place' AND step = 4 \
            RETURNING to_jsonb(saga_id) AS row";
        let hold = format!("/api/v1/orders/{id}:hold");
        eventually(PATIENCE, || async {
            world.rows(back).await?;
            Ok(world.csr.post(&hold, &json!({"reason": "a test"}), None).await.ok().map(drop))
        })
        .await?;
        let asleep = "SELECT to_jsonb(saga_id) AS row FROM om_order.sagas WHERE tenant_id = $1 AND status = 'waiting' \
            AND kind = 'place' AND step = 4";
        eventually(PATIENCE, || async { Ok((!world.rows(asleep).await?.is_empty()).then_some(())) }).await?;
        let accepted = told(&world).await?;
        assert_eq!(accepted.len(), 1, "one of two has accepted");

        let line = json!({"sku": "BOTH-44", "quantity": 2});
        let (status, locked) = send(&world, &format!("/api/v1/orders/{id}/items"), &line).await?;
        assert_eq!(status, StatusCode::OK, "{locked}");
        let grown = decided(&world, &id, "APPLIED").await?;
        assert_eq!(state_of(&grown), "PAYMENT_COMPLETED");
        let said = told(&world).await?;
        let off = said[1..].iter().any(|(reference, said)| said.starts_with("cancel") && *reference == accepted[0].0);
        assert!(off, "who had accepted is called off: {said:?}");

        script(&wms, &json!([])).await?;
        speed(&wms, 10.0).await?;
        world.csr.post(&format!("/api/v1/orders/{id}:release"), &json!({}), None).await?;
        let arrived = world.until(&id, "DELIVERED").await?;
        let delivered: i64 = list(&arrived, "lines").iter().map(|line| number(&line["delivered"])).sum();
        assert_eq!((total(&arrived), delivered), (total(&grown), 9));
        let said = told(&world).await?;
        let new: Vec<&str> =
            said[1..].iter().map(|(_, said)| said.as_str()).filter(|said| said.starts_with("create")).collect();
        assert!(new.len() == 2 && new.iter().all(|said| said.contains("BOTH-44 1")), "{said:?}");
        world.books_agree().await
    };
    let outcome = outcome.await;
    speed(&wms, 10.0).await?;
    faulty.mend().await?;
    outcome
}
