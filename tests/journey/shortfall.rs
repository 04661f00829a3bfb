//! Warehouses that cancel by themselves what they had accepted, while other parcels or a change are under way.

use anyhow::{Context as _, Result};
use contract::Event as _;
use contract::fulfillment::v1::FulfillmentCancelled;
use diesel::sql_types::{Bytea, Text, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use prost::Message as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::{eventually, order};
use uuid::Uuid;

use super::change::{decided, send, slowly, told};
use super::kept::{fulfillments, warehouse_cancels};
use super::sagas::{GO, STOP, listed, operate, published};
use super::world::{Faulty, PATIENCE, World, list, minor, number, script, speed, state_of, text, total};

/// The order service's inbox: what it has dealt with.
const DEALT_WITH: &str = "SELECT to_jsonb(event_id) AS row FROM om_order.inbox WHERE tenant_id = $1";
/// What was cancelled, in the order in which that was said.
const CANCELLED: &str = "SELECT to_jsonb(event_id) AS row FROM om_fulfillment.events WHERE tenant_id = $1 \
    AND type LIKE '%.FulfillmentCancelled' ORDER BY xid, gpos";

/// The warehouse looks at one of its orders, so that it begins with that one.
async fn look(world: &World, fulfillment: &str) -> Result<()> {
    let body = format!(
        "<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><GetStatusRequest>\
         <Tenant>{}</Tenant><ClientReference>{fulfillment}</ClientReference>\
         </GetStatusRequest></s:Body></s:Envelope>",
        world.tenant()
    );
    let request = world.system.wms().request(Method::POST, "/wms").header("content-type", "text/xml");
    let answer = request.body(body).send().await?;
    let (status, said) = (answer.status(), answer.text().await?);
    anyhow::ensure!(status.is_success() && said.contains("PACKED"), "it has not begun: {status} {said}");
    Ok(())
}

/// Waits until the order service has dealt with an event.
async fn dealt_with(world: &World, event: &Value) -> Result<()> {
    let seen = eventually(PATIENCE, || async { Ok(world.rows(DEALT_WITH).await?.contains(event).then_some(())) });
    seen.await.with_context(|| format!("wait until {event} is dealt with"))
}

/// Waits until a warehouse's own cancellation was heard of, the `count`th of the shop, and dealt with.
async fn heard(world: &World, count: usize) -> Result<()> {
    let told = eventually(PATIENCE, || async {
        let events = world.rows(CANCELLED).await?;
        Ok((events.len() >= count).then(|| events[count - 1].clone()))
    });
    let event = told.await.context("it is noticed what the warehouse did")?;
    dealt_with(world, &event).await
}

/// An order of two warehouses of which the first has begun and the second has not: the order and both works.
async fn half_begun(world: &World) -> Result<(Value, [Value; 2])> {
    let wms = world.system.wms();
    // Odd cents, and no warehouse has all of it.
    world.product("ODD-SHORT", 333, &[("OAK", 2), ("NJ", 5)]).await?;
    speed(&wms, 0.001).await?;
    // No label: nothing leaves before the second warehouse has given up.
    script(&world.system.carrier(), &json!([{"op": "shipments.create", "kind": "error500", "times": 100_000}])).await?;
    let accepted = world.place_until(&order(&[("ODD-SHORT", 7)]), "FULFILLMENT_PENDING").await?;
    let id = text(&accepted, "id").to_owned();
    let works = fulfillments(world, &id).await?;
    let of = |warehouse| works.iter().find(|work| text(work, "warehouse") == warehouse).cloned();
    let [first, second] = [of("OAK").context("a part of OAK")?, of("NJ").context("a part of NJ")?];
    // Who asks for the second gets no answer while the clock runs: it stays where it is.
    let deaf = json!([{"op": "GetStatus", "match": text(&second, "id"), "kind": "error500", "times": 100_000}]);
    script(&wms, &deaf).await?;
    speed(&wms, 1e6).await?;
    let looked = look(world, text(&first, "id")).await;
    speed(&wms, 0.001).await?;
    looked?;
    script(&wms, &json!([])).await?;
    world.until(&id, "FULFILLMENT_IN_PROGRESS").await?;
    Ok((accepted, [first, second]))
}

#[tokio::test]
async fn ful_05_sag_01_a_part_that_a_warehouse_gives_up_is_for_a_person_and_the_other_parcel_goes_on() -> Result<()> {
    let faulty = Faulty::open("half-given-up").await?;
    let (world, wms) = (&faulty.world, faulty.world.system.wms());
    let outcome = async {
        let (accepted, [first, second]) = half_begun(world).await?;
        let id = text(&accepted, "id");
        warehouse_cancels(world, text(&second, "id")).await?;
        let stuck = eventually(PATIENCE, || async {
            Ok(listed(world, "kinds=shortfall&states=SAGA_STATE_NEEDS_ATTENTION").await?.pop())
        });
        let stuck = stuck.await.context("a person is called")?;
        assert_eq!((text(&stuck, "orderId"), text(&stuck, "step")), (id, "decide"));
        let told =
            eventually(PATIENCE, || async { Ok((published(world, "SagaNeedsAttention").await? == 1).then_some(())) });
        told.await.context("people are told")?;
        assert_eq!(state_of(&world.order(id).await?), "FULFILLMENT_IN_PROGRESS", "not cancelled, not locked");

        script(&world.system.carrier(), &json!([])).await?;
        let part = minor(&first["captureAmount"]);
        assert!(0 < part && part < total(&accepted));
        let paid = world.until_captured(id, part).await?;
        let arrived = eventually(PATIENCE, || async {
            let order = world.order(id).await?;
            let parcels = list(&order, "shipments");
            Ok((parcels.len() == 1 && text(&parcels[0], "state") == "DELIVERED").then_some(order))
        });
        let arrived = arrived.await.context("the first parcel arrives")?;
        assert_eq!(state_of(&arrived), "PARTIALLY_SHIPPED", "{paid}");
        let delivered: i64 = list(&arrived, "lines").iter().map(|line| number(&line["delivered"])).sum();
        assert_eq!((text(&arrived["shipments"][0], "warehouse"), delivered), ("OAK", 2));

        let reason = json!({"reason": "the customer takes two and gets the rest back"});
        let (status, ended) = operate(world, text(&stuck, "id"), "resolve", &reason).await?;
        assert_eq!((status, text(&ended, "state")), (StatusCode::OK, "SAGA_STATE_RESOLVED"), "{ended}");
        let log = list(&ended, "log");
        let said = log.iter().find(|entry| entry["outcome"] == "RESOLVED").context("the decision is in the log")?;
        assert_eq!(text(said, "detail"), text(&reason, "reason"));
        assert!(text(&said["actor"], "id").starts_with("usr_"), "{said}");
        assert_eq!(listed(world, "kinds=shortfall").await?.len(), 1, "one, for one part");
        let moves = world.money_moves(id).await?;
        let moves: Vec<(&str, i64)> = moves.iter().map(|line| (text(line, "op"), number(&line["amount"]))).collect();
        assert_eq!(moves, [("authorize", total(&accepted)), ("capture", part)]);
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    speed(&wms, 10.0).await?;
    faulty.mend().await?;
    outcome
}

/// Adds a product to an order that is accepted while nobody drives its sagas, and lets the warehouse give up meanwhile:
/// the order as the change left it.
async fn given_up_during_a_change(world: &World, id: &str, line: &Value, ends: &str) -> Result<Value> {
    let work = fulfillments(world, id).await?;
    let mut admin = world.system.db.admin().await?;
    admin.batch_execute(STOP).await?;
    let outcome = async {
        let (status, locked) = send(world, &format!("/api/v1/orders/{id}/items"), line).await?;
        assert_eq!((status, state_of(&locked)), (StatusCode::OK, "CHANGE_PENDING".to_owned()), "{locked}");
        assert_eq!(text(&locked["changes"][0], "state"), "ORDER_CHANGE_STATE_CONFIRMED");
        warehouse_cancels(world, text(&work[0], "id")).await?;
        heard(world, 1).await?;
        let order = world.order(id).await?;
        assert_eq!(state_of(&order), "CHANGE_PENDING", "the change leads it on: {order}");
        anyhow::Ok(())
    };
    let outcome = outcome.await;
    admin.batch_execute(GO).await?;
    outcome?;
    let order = decided(world, id, ends).await?;
    assert_eq!(state_of(&order), "FULFILLMENT_PENDING", "{order}");
    for kind in ["cancel", "shortfall"] {
        assert!(listed(world, &format!("kinds={kind}")).await?.is_empty(), "nobody has to see to it");
    }
    Ok(order)
}

#[tokio::test]
async fn ful_05_ord_44_an_order_under_an_agreed_change_ends_as_the_change_says_when_its_warehouse_gives_up()
-> Result<()> {
    let grown = |world: World, accepted: Value| async move {
        let (id, line) = (text(&accepted, "id").to_owned(), json!({"sku": "TEE-L", "quantity": 2}));
        let grown = given_up_during_a_change(&world, &id, &line, "APPLIED").await?;
        assert!(total(&grown) > total(&accepted));
        arrives(&world, &grown, &["create TEE-S 1", "cancel TEE-S 1", "create TEE-S 1 TEE-L 2"]).await
    };
    slowly("given-up-grown", grown).await?;
    let unchanged = |world: World, accepted: Value| async move {
        // There is only one of it: the change fails, and the order is asked for as it was.
        let (id, line) = (text(&accepted, "id").to_owned(), json!({"sku": "PRINT-01", "quantity": 2}));
        let order = given_up_during_a_change(&world, &id, &line, "FAILED").await?;
        assert_eq!((&order["lines"], &order["totals"]), (&accepted["lines"], &accepted["totals"]));
        arrives(&world, &order, &["create TEE-S 1", "cancel TEE-S 1", "create TEE-S 1"]).await
    };
    slowly("given-up-unchanged", unchanged).await
}

/// The warehouse was told this, has its time back, and the order arrives as it is.
async fn arrives(world: &World, order: &Value, expected: &[&str]) -> Result<()> {
    let said = eventually(PATIENCE, || async {
        let said: Vec<String> = told(world).await?.into_iter().map(|(_, said)| said).collect();
        anyhow::ensure!(said.len() >= expected.len(), "{said:?}");
        Ok(Some(said))
    });
    assert_eq!(said.await?, expected);
    speed(&world.system.wms(), 10.0).await?;
    let arrived = world.until(text(order, "id"), "DELIVERED").await?;
    assert_eq!(
        (&arrived["totals"], &arrived["lines"].as_array().map(Vec::len)),
        (&order["totals"], &order["lines"].as_array().map(Vec::len))
    );
    world.until_captured(text(order, "id"), total(order)).await?;
    world.books_agree().await
}

/// Says behind everything that is known of a work that its warehouse has cancelled it by itself, as its poller would have
/// said it a moment before the change called it off.
async fn late_news(world: &World, order: &str, fulfillment: &str, revision: i32) -> Result<()> {
    let news = FulfillmentCancelled {
        order_id: order.to_owned(),
        fulfillment_id: fulfillment.to_owned(),
        by_warehouse: true,
        revision,
    };
    let stream: Uuid = fulfillment.trim_start_matches("ful_").parse()?;
    let event = Uuid::now_v7();
    let append = "INSERT INTO om_fulfillment.events (tenant_id, stream_id, version, event_id, type, topic, payload, meta) \
        SELECT tenant_id, stream_id, version + 1, $3, $4, topic, $5, meta FROM om_fulfillment.events \
        WHERE tenant_id = $1 AND stream_id = $2 ORDER BY version DESC LIMIT 1";
    let written = diesel::sql_query(append)
        .bind::<SqlUuid, _>(world.tenant().uuid())
        .bind::<SqlUuid, _>(stream)
        .bind::<SqlUuid, _>(event)
        .bind::<Text, _>(FulfillmentCancelled::TYPE)
        .bind::<Bytea, _>(news.encode_to_vec())
        .execute(&mut world.system.db.admin().await?)
        .await?;
    assert_eq!(written, 1);
    dealt_with(world, &json!(event)).await
}

/// The work of an order that a change has called off, and the one that it asked for instead.
async fn replaced(world: &World, id: &str) -> Result<(String, String)> {
    let both = eventually(PATIENCE, || async {
        let works = fulfillments(world, id).await?;
        let of = |state: &str| {
            let found = works.iter().find(|work| text(work, "state") == format!("FULFILLMENT_STATE_{state}"));
            found.map(|work| text(work, "id").to_owned())
        };
        Ok(of("CANCELLED").zip(of("SUBMITTED")))
    });
    both.await.context("one was called off and one asked for instead")
}

#[tokio::test]
async fn ful_05_ord_44_news_of_work_that_a_change_has_called_off_does_not_cancel_the_order() -> Result<()> {
    let applied = |world: World, accepted: Value| async move {
        let id = text(&accepted, "id").to_owned();
        let line = json!({"sku": "TEE-L", "quantity": 2});
        let (status, locked) = send(&world, &format!("/api/v1/orders/{id}/items"), &line).await?;
        assert_eq!(status, StatusCode::OK, "{locked}");
        decided(&world, &id, "APPLIED").await?;
        let (old, new) = replaced(&world, &id).await?;
        late_news(&world, &id, &old, 0).await?;
        assert_eq!(state_of(&world.order(&id).await?), "FULFILLMENT_PENDING");
        // What the warehouse gives up of what is asked for now is no old news.
        warehouse_cancels(&world, &new).await?;
        let cancelled = world.until(&id, "CANCELLED").await?;
        assert_eq!(text(&cancelled, "stateReason"), "WAREHOUSE_CANCELLED");
        assert_eq!(world.stock("TEE-L", "OAK").await?.1, 0);
        world.books_agree().await
    };
    slowly("old-news", applied).await?;
    let failed = |world: World, accepted: Value| async move {
        let id = text(&accepted, "id").to_owned();
        let line = json!({"sku": "PRINT-01", "quantity": 2});
        let (status, locked) = send(&world, &format!("/api/v1/orders/{id}/items"), &line).await?;
        assert_eq!(status, StatusCode::OK, "{locked}");
        decided(&world, &id, "FAILED").await?;
        let (old, _) = replaced(&world, &id).await?;
        late_news(&world, &id, &old, 0).await?;
        let order = world.order(&id).await?;
        assert_eq!(state_of(&order), "FULFILLMENT_PENDING");
        assert!(listed(&world, "kinds=cancel").await?.is_empty());
        arrives(&world, &order, &["create TEE-S 1", "cancel TEE-S 1", "create TEE-S 1"]).await
    };
    slowly("old-news-unchanged", failed).await
}
