//! One order from POST to DELIVERED, looked at from every side.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use testkit::order;
use tokio::sync::OnceCell;

use super::world::{World, list, minor, number, order_by, state_of, text, total, unique};

static JOURNEY: OnceCell<Journey> = OnceCell::const_new();

const ITEMS: [(&str, i32); 2] = [("MUG-BLUE", 2), ("BOOK-RUST", 1)];
const CORRELATION: &str = "journey-0001";

/// An order that has arrived, and what was seen on the way.
struct Journey {
    world: World,
    quote: Value,
    placed: Value,
    placed_status: StatusCode,
    placed_headers: header::HeaderMap,
    arrived: Value,
}

impl Journey {
    async fn of_all() -> Result<&'static Self> {
        JOURNEY.get_or_try_init(Self::make).await
    }

    async fn make() -> Result<Self> {
        let world = World::open("journey").await?;
        let mut body = order(&ITEMS);
        body["note"] = "leave it with Charles Babbage".into();
        let mut basket = order(&ITEMS);
        basket.as_object_mut().context("an object")?.remove("paymentMethod");
        let quote = world.customer.post("/api/v1/orders:quote", &basket, None).await?;
        let request = world.customer.request(Method::POST, "/api/v1/orders").json(&body);
        let request = request.header("idempotency-key", unique()).header("x-correlation-id", CORRELATION);
        let answer = request.send().await?;
        let (placed_status, placed_headers) = (answer.status(), answer.headers().clone());
        let placed: Value = answer.json().await?;
        let arrived = world.until(text(&placed, "id"), "DELIVERED").await?;
        Ok(Self { world, quote, placed, placed_status, placed_headers, arrived })
    }

    fn id(&self) -> &str {
        text(&self.placed, "id")
    }
}

#[tokio::test]
async fn ord_01_ord_02_a_placed_order_is_pending_numbered_and_priced_line_by_line() -> Result<()> {
    let journey = Journey::of_all().await?;
    let placed = &journey.placed;
    assert_eq!(journey.placed_status, StatusCode::CREATED);
    assert_eq!(journey.placed_headers[header::LOCATION], format!("/api/v1/orders/{}", journey.id()));
    assert_eq!(journey.placed_headers[header::ETAG], format!("\"{}\"", text(placed, "etag")));
    assert_eq!(journey.placed_headers["x-correlation-id"], CORRELATION);
    assert_eq!(state_of(placed), "PENDING");
    assert_eq!(number(&placed["orderNumber"]), 1);
    let lines = list(placed, "lines");
    let prices: Vec<(i64, i64)> = lines.iter().map(|line| (minor(&line["unitPrice"]), minor(&line["net"]))).collect();
    assert_eq!(prices, [(1299, 2598), (3990, 3990)]);
    let totals = &placed["totals"];
    assert_eq!(minor(&totals["itemsNet"]), 6588);
    assert_eq!(total(placed), 6588 + minor(&totals["shipping"]) + minor(&totals["tax"]));
    Ok(())
}

#[tokio::test]
async fn ord_32_a_quote_and_the_order_agree_to_the_minor_unit() -> Result<()> {
    let journey = Journey::of_all().await?;
    assert!(minor(&journey.quote["totals"]["tax"]) > 0, "a quote without tax proves little");
    assert_eq!(journey.quote["totals"], journey.placed["totals"]);
    assert_eq!(journey.quote["lines"], journey.placed["lines"]);
    Ok(())
}

#[tokio::test]
async fn ord_07_an_order_that_arrived_shows_lines_parcels_and_money() -> Result<()> {
    let journey = Journey::of_all().await?;
    let order = &journey.arrived;
    assert_eq!(order["totals"], journey.placed["totals"]);
    for line in list(order, "lines") {
        assert_eq!(line["shipped"], line["quantity"]);
        assert_eq!(line["delivered"], line["quantity"]);
    }
    let parcels = list(order, "shipments");
    assert_eq!(parcels.len(), 1);
    assert_eq!((text(&parcels[0], "state"), text(&parcels[0], "warehouse")), ("DELIVERED", "OAK"));
    assert!(!text(&parcels[0], "trackingNumber").is_empty());
    assert_eq!(minor(&order["payment"]["authorized"]), total(order));
    journey.world.until_captured(journey.id(), total(order)).await?;
    assert_eq!((text(order, "statusRetail"), text(order, "statusLifecycle")), ("Delivered", "Completed"));
    Ok(())
}

#[tokio::test]
async fn pay_02_pay_03_money_is_held_at_placement_and_taken_once_when_the_parcel_leaves() -> Result<()> {
    let journey = Journey::of_all().await?;
    let moves = journey.world.money_moves(journey.id()).await?;
    let seen: Vec<(&str, i64)> = moves.iter().map(|line| (text(line, "op"), number(&line["amount"]))).collect();
    let all = total(&journey.placed);
    assert_eq!(seen, [("authorize", all), ("capture", all)]);
    journey.world.books_agree().await
}

#[tokio::test]
async fn inv_16_units_that_shipped_have_left_on_hand_and_reserved() -> Result<()> {
    let journey = Journey::of_all().await?;
    assert_eq!(journey.world.stock("MUG-BLUE", "OAK").await?, (198, 0));
    assert_eq!(journey.world.stock("BOOK-RUST", "OAK").await?, (89, 0));
    let page = journey.world.admin.get("/api/v1/inventory/MUG-BLUE/movements").await?;
    let moves: Vec<(String, i64, i64)> = list(&page, "movements")
        .iter()
        .filter(|line| text(line, "warehouse") == "OAK")
        .map(|line| (text(line, "reason").to_owned(), number(&line["onHandDelta"]), number(&line["reservedDelta"])))
        .collect();
    let last = &moves[1..];
    assert!(matches!(last, [(_, 0, 2), (_, -2, -2)]), "{moves:?}");
    Ok(())
}

#[tokio::test]
async fn ord_09_the_history_says_what_who_why_and_hides_what_is_personal() -> Result<()> {
    let journey = Journey::of_all().await?;
    let events = journey.world.history(journey.id()).await?;
    let sequence: Vec<i64> = events.iter().map(|event| number(&event["sequence"])).collect();
    assert_eq!(sequence, (1..=i64::try_from(events.len())?).collect::<Vec<_>>());
    assert_eq!(text(&events[0], "type"), "OrderCreated");
    assert_eq!(text(&events[0]["actor"], "kind"), "user");
    assert_eq!(text(&events[0]["actor"], "id"), text(&journey.placed, "customerId"));
    assert!(events.iter().skip(2).all(|event| text(&event["actor"], "kind") == "service"), "{events:?}");
    assert!(events.iter().all(|event| !text(event, "occurTime").is_empty()));
    let upto_shipped = events.iter().take_while(|event| text(event, "type") != "OrderDelivered");
    for event in upto_shipped {
        assert_eq!(text(event, "correlationId"), CORRELATION, "{event}");
    }
    let all = Value::from(events).to_string();
    for secret in ["Ada Lovelace", "500 Market Street", "Babbage", "pm_sim_visa"] {
        assert!(!all.contains(secret), "{secret} is in the history");
    }
    Ok(())
}

#[tokio::test]
async fn evt_04_every_change_of_state_has_its_event() -> Result<()> {
    let journey = Journey::of_all().await?;
    let mut at = "ORDER_STATE_UNSPECIFIED".to_owned();
    let mut way = Vec::new();
    for event in journey.world.history(journey.id()).await? {
        if text(&event, "type") == "OrderStatusChanged" {
            let change: Value = serde_json::from_str(text(&event, "payloadJson"))?;
            let from = change["from"].as_str().unwrap_or("ORDER_STATE_UNSPECIFIED");
            assert_eq!(from, at, "a change begins where the last one ended");
            at = text(&change, "to").to_owned();
            way.push(at.trim_start_matches("ORDER_STATE_").to_owned());
        }
    }
    let expected = [
        "PENDING",
        "PAYMENT_PROCESSING",
        "PAYMENT_COMPLETED",
        "FULFILLMENT_PENDING",
        "FULFILLMENT_IN_PROGRESS",
        "SHIPPED",
        "DELIVERED",
    ];
    assert_eq!(way, expected);
    Ok(())
}

#[tokio::test]
async fn ord_11_a_read_carries_its_version_and_a_known_version_is_not_sent_again() -> Result<()> {
    let journey = Journey::of_all().await?;
    let path = format!("/api/v1/orders/{}", journey.id());
    let first = journey.world.customer.request(Method::GET, &path).send().await?;
    let etag = first.headers()[header::ETAG].clone();
    assert!(first.headers()[header::CACHE_CONTROL].to_str()?.starts_with("private, max-age="));
    let read = |etag: header::HeaderValue| {
        journey.world.customer.request(Method::GET, &path).header(header::IF_NONE_MATCH, etag).send()
    };
    let again = read(etag.clone()).await?;
    assert_eq!((again.status(), &again.headers()[header::ETAG]), (StatusCode::NOT_MODIFIED, &etag));
    assert!(again.bytes().await?.is_empty());
    assert_eq!(read(header::HeaderValue::from_static("\"1\"")).await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn ord_37_the_events_add_up_to_what_is_stored() -> Result<()> {
    let journey = Journey::of_all().await?;
    let path = format!("/api/v1/orders/{}:verify", journey.id());
    let verdict = journey.world.csr.post(&path, &json!({}), None).await?;
    let events = journey.world.history(journey.id()).await?.len();
    assert_eq!((&verdict["equal"], number(&verdict["events"])), (&json!(true), i64::try_from(events)?));
    Ok(())
}

#[tokio::test]
async fn sag_02_the_steps_of_an_order_are_seen_in_their_order() -> Result<()> {
    let journey = Journey::of_all().await?;
    let saga = journey.world.csr.get(&format!("/api/v1/sagas/{}", journey.id())).await?;
    let done: Vec<Value> = list(&saga, "log").into_iter().filter(|entry| entry["outcome"] == "DONE").collect();
    let steps: Vec<&str> = done.iter().map(|entry| text(entry, "step")).collect();
    let table = ["reserve_stock", "evaluate_risk", "authorize_payment", "confirm_reservation", "request_fulfillment"];
    assert_eq!(steps, table);
    assert_eq!(text(&saga, "state"), "SAGA_STATE_COMPLETED");
    Ok(())
}

#[tokio::test]
async fn evt_03_the_events_that_others_rely_on_are_told() -> Result<()> {
    let world = World::open("bus").await?;
    world.place_until(&order(&ITEMS), "DELIVERED").await?;
    let challenged = world.place_until(&order_by("pm_sim_3ds_required", &ITEMS), "PAYMENT_ACTION_REQUIRED").await?;
    let path = format!("/api/v1/orders/{}", text(&challenged, "id"));
    let changed = world.customer.request(Method::PATCH, &path).json(&json!({"note": "ring twice"})).send().await?;
    assert_eq!(changed.status(), StatusCode::OK, "{}", changed.text().await?);
    world.customer.request(Method::DELETE, &format!("{path}?reason=changed+my+mind")).send().await?;
    world.until(text(&challenged, "id"), "CANCELLED").await?;
    let types = "SELECT to_jsonb(t.type) AS row FROM \
        (SELECT DISTINCT type FROM om_order.events WHERE tenant_id = $1 AND topic = 'order.v1') AS t";
    let expected =
        ["OrderCreated", "OrderUpdated", "OrderCancelled", "OrderPaymentCompleted", "OrderShipped", "OrderDelivered"];
    let published = testkit::eventually(super::world::PATIENCE, || async {
        let rows = world.rows(types).await?;
        let names: BTreeSet<String> =
            rows.iter().filter_map(|row| Some(row.as_str()?.rsplit('.').next()?.to_owned())).collect();
        let missing: Vec<&&str> = expected.iter().filter(|name| !names.contains(**name)).collect();
        anyhow::ensure!(missing.is_empty(), "not told: {missing:?}");
        Ok(Some(names))
    });
    published.await?;
    Ok(())
}

#[tokio::test]
async fn two_tenants_do_not_see_each_others_orders() -> Result<()> {
    let journey = Journey::of_all().await?;
    let other = World::open("neighbour").await?;
    let mine = other.place(&order(&ITEMS)).await?;
    assert_eq!(number(&mine["orderNumber"]), 1, "numbers are a tenant's own");
    for person in [&other.customer, &other.csr, &other.admin] {
        let paths = ["", "/history", ":watch"].map(|end| format!("/api/v1/orders/{}{end}", journey.id()));
        for path in paths {
            let answer = person.request(Method::GET, &path).send().await?;
            let allowed = [StatusCode::NOT_FOUND, StatusCode::FORBIDDEN];
            assert!(allowed.contains(&answer.status()), "{path}: {}", answer.status());
        }
        let page = person.get("/api/v1/orders").await?;
        assert!(list(&page, "orders").iter().all(|order| order["id"] == mine["id"]));
    }
    Ok(())
}
