//! The carrier: rates, labels, void, handover, scans and the call limit.

use std::net::SocketAddr;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::support::{Desk, TENANT, eventually, start};

async fn send(carrier: SocketAddr, method: Method, path: &str, body: Value) -> Response {
    let request = Client::new().request(method, format!("http://{carrier}/v1/{path}")).bearer_auth("key").json(&body);
    request.send().await.unwrap()
}

async fn get(carrier: SocketAddr, path: &str) -> Value {
    let response = send(carrier, Method::GET, path, json!(null)).await;
    response.json().await.unwrap()
}

async fn post(carrier: SocketAddr, path: &str, body: Value) -> (u16, Value) {
    let response = send(carrier, Method::POST, path, body).await;
    (response.status().as_u16(), response.json().await.unwrap())
}

fn parcel(reference: &str) -> Value {
    json!({
        "reference": reference, "tenant": TENANT, "service": "STANDARD", "weight_grams": 1200,
        "from": {"country": "US", "postal_code": "10001"},
        "to": {"name": "N^1", "line1": "L", "city": "Boise", "region": "ID",
               "postal_code": "83702", "country": "US"},
    })
}

async fn label(carrier: SocketAddr, reference: &str) -> Value {
    let (status, label) = post(carrier, "shipments", parcel(reference)).await;
    assert_eq!(status, 200);
    label
}

#[tokio::test]
async fn faster_services_cost_more_and_take_fewer_days() {
    let sims = start(0.0).await;
    let place = json!({"country": "US", "postal_code": "1"});
    let ask = json!({"from": place, "to": place, "weight_grams": 500});
    let (_, answer) = post(sims.carrier, "rates", ask).await;
    let rates = answer["rates"].as_array().unwrap();
    let column = |name| rates.iter().map(|r| r[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("service"), ["STANDARD", "EXPRESS", "OVERNIGHT"]);
    assert!(column("amount_minor").is_sorted_by_key(|v| v.as_i64()));
    assert!(column("transit_days").is_sorted_by_key(|v| -v.as_i64().unwrap()));
}

#[tokio::test]
async fn a_label_is_bought_once_per_reference() {
    let sims = start(0.0).await;
    let first = label(sims.carrier, "shp_1").await;
    let tracking = first["tracking_number"].as_str().unwrap();
    assert!(tracking.starts_with("794"));
    let zpl = first["label"]["data"].as_str().unwrap();
    assert!(zpl.starts_with("^XA") && zpl.ends_with("^XZ") && zpl.contains("N 1"));
    assert_eq!(label(sims.carrier, "shp_1").await, first);
    let found = get(sims.carrier, &format!("shipments?reference=shp_1&tenant={TENANT}")).await;
    assert_eq!(found, json!({"shipments": [first]}));
    let none = get(sims.carrier, "shipments?reference=shp_1&tenant=tnt_2").await;
    assert_eq!(none, json!({"shipments": []}));
    assert_eq!(Desk(sims.carrier).ops().await, ["label"]);
}

#[tokio::test]
async fn a_label_is_void_once_and_never_after_the_handover() {
    let sims = start(1.0).await;
    let id = |label: &Value| label["id"].as_str().unwrap().to_owned();
    let given_back = id(&label(sims.carrier, "shp_1").await);
    for _ in 0..2 {
        let (status, void) = post(sims.carrier, &format!("shipments/{given_back}/void"), json!({})).await;
        assert_eq!((status, &void["status"]), (200, &json!("VOIDED")));
    }
    let path = format!("shipments/{given_back}/handover");
    assert_eq!(post(sims.carrier, &path, json!({})).await.0, 409);
    let sent = id(&label(sims.carrier, "shp_2").await);
    let path = format!("shipments/{sent}/handover");
    assert_eq!(post(sims.carrier, &path, json!({})).await.0, 200);
    let path = format!("shipments/{sent}/void");
    assert_eq!(post(sims.carrier, &path, json!({})).await.0, 409);
    let ops = Desk(sims.carrier).ops().await;
    assert_eq!(ops, ["label", "void", "label", "handover"]);
}

#[tokio::test]
async fn a_parcel_handed_over_twice_is_scanned_once_until_delivery() {
    let sims = start(0.0).await;
    let label = label(sims.carrier, "shp_1").await;
    let path = format!("shipments/{}/handover", label["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(post(sims.carrier, &path, json!({})).await.0, 200);
    }
    let path = format!("tracking/{}", label["tracking_number"].as_str().unwrap());
    let events = eventually(async || {
        let events = get(sims.carrier, &path).await["events"].take();
        let events = events.as_array().unwrap().clone();
        (events.len() >= 4).then_some(events)
    })
    .await;
    let codes: Vec<_> = events.iter().map(|e| e["code"].as_str().unwrap()).collect();
    let all = ["PICKED_UP", "IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED"];
    assert_eq!(codes, all);
    let ops = Desk(sims.carrier).ops().await;
    assert_eq!(ops, ["label", "handover", "scan", "scan", "scan", "scan"]);
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_code() {
    let sims = start(0.0).await;
    let mut slow = parcel("shp_1");
    slow["service"] = json!("BICYCLE");
    assert_eq!(post(sims.carrier, "shipments", slow).await.0, 422);
    assert_eq!(post(sims.carrier, "shipments", json!({})).await.0, 400);
    assert_eq!(post(sims.carrier, "shipments/none/void", json!({})).await.0, 404);
    let url = format!("http://{}/v1/rates", sims.carrier);
    let no_key = Client::new().post(url).send().await.unwrap();
    assert_eq!(no_key.status(), 401);
    assert!(Desk(sims.carrier).ops().await.is_empty());
}

#[tokio::test]
async fn shp_04_calls_over_the_limit_get_429_with_retry_after() {
    let sims = start(0.0).await;
    let desk = Desk(sims.carrier);
    desk.post("limit", json!({"per_minute": 3})).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(send(sims.carrier, Method::GET, "tracking/1", json!(null)).await);
    }
    let statuses: Vec<_> = answers.iter().map(|a| a.status().as_u16()).collect();
    assert_eq!(statuses, [404, 404, 404, 429]);
    let wait: u64 = answers[3].headers()["Retry-After"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    let limit = desk.get("limit").await;
    assert_eq!(limit, json!({"per_minute": 3, "peak_per_minute": 4}));
    assert_eq!(desk.get("calls").await["throttled"], 1);
}

#[tokio::test]
async fn a_label_bought_behind_a_lost_answer_is_found_by_its_reference() {
    let sims = start(0.0).await;
    let desk = Desk(sims.carrier);
    desk.fault(json!({"op": "shipments.create", "match": "shp_1", "kind": "reset_after"})).await;
    let lost = Client::new()
        .post(format!("http://{}/v1/shipments", sims.carrier))
        .bearer_auth("key")
        .json(&parcel("shp_1"))
        .send()
        .await;
    assert!(lost.is_err());
    let found = get(sims.carrier, &format!("shipments?reference=shp_1&tenant={TENANT}")).await;
    let bought = &found["shipments"][0];
    assert_eq!(&label(sims.carrier, "shp_1").await, bought);
    assert_eq!(desk.ops().await, ["label"]);
}
