//! What errors of services become.

use http::Method;
use serde_json::json;

use crate::upstream::{call, get, post};

async fn cancel(id: &str, headers: &[(&str, &str)]) -> crate::upstream::Reply {
    call(Method::POST, &format!("/api/v1/orders/{id}:cancel"), headers, r#"{"reason":"r"}"#).await.0
}

fn problem(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[tokio::test]
async fn services_errors_become_problems() {
    let missing = get("/api/v1/orders/missing").await;
    assert_eq!(missing.problem(), problem(404, "ORDER_NOT_FOUND"));
    let json = missing.json();
    assert_eq!(json["type"], "urn:ordermesh:problem:order-not-found");
    assert_eq!((&json["code"], &json["title"]), (&json!("NOT_FOUND"), &json!("Not Found")));
    assert_eq!(json["metadata"], json!({"order_id": "missing"}));
    assert_eq!(cancel("late", &[]).await.problem(), problem(409, "ORDER_STATE_FORBIDS"));
    let price = post("/api/v1/orders", r#"{"note":"price"}"#).await;
    assert_eq!(price.problem(), problem(409, "PRICE_CHANGED"));
    assert_eq!(price.json()["metadata"]["total_minor"], "4200");
    assert_eq!(post("/api/v1/orders", r#"{"note":"reused"}"#).await.problem(), problem(422, "IDEMPOTENCY_KEY_REUSED"));
}

#[tokio::test]
async fn a_stale_version_is_412_when_if_match_was_used_and_409_otherwise() {
    let asked = cancel("stale", &[("if-match", "\"6\"")]).await;
    assert_eq!(asked.problem(), problem(412, "ETAG_MISMATCH"));
    assert_eq!(cancel("stale", &[]).await.problem(), problem(409, "ETAG_MISMATCH"));
    assert_eq!(cancel("stale", &[("if-match", "*")]).await.problem(), problem(409, "ETAG_MISMATCH"));
}

#[tokio::test]
async fn waiting_times_are_said() {
    let busy = get("/api/v1/orders/busy").await;
    assert_eq!(busy.problem(), problem(429, "RATE_LIMITED"));
    assert_eq!(busy.header("retry-after"), Some("3"));
    let flying = cancel("flying", &[]).await;
    assert_eq!(flying.problem(), problem(409, "IN_FLIGHT"));
    assert_eq!(flying.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn ord_12_fields_that_services_refuse_have_pointers_into_the_body() {
    let reply = post("/api/v1/orders", r#"{"note":"fields"}"#).await;
    assert_eq!(reply.status, 400);
    let errors = reply.json()["errors"].clone();
    assert_eq!(
        errors[0],
        json!({"pointer": "/items/1/sku", "field": "items[1].sku", "in": "body", "reason": "UNKNOWN_SKU", "detail": "no such product"})
    );
    assert_eq!(errors[1]["pointer"], "/shippingAddress/countryCode");
}

#[tokio::test]
async fn who_is_unknown_is_told_how_to_log_in() {
    let reply = get("/api/v1/orders/nobody").await;
    assert_eq!(reply.problem(), problem(401, "TOKEN_EXPIRED"));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"ordermesh\""));
    let (reply, _) = call(Method::GET, "/api/v1/orders/nobody", &[("authorization", "Bearer x")], "").await;
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"ordermesh\", error=\"invalid_token\""));
}

#[tokio::test]
async fn a_broken_service_does_not_tell_its_secrets() {
    let reply = get("/api/v1/orders/broken").await;
    assert_eq!(reply.problem(), problem(500, "UNKNOWN"));
    assert!(!String::from_utf8_lossy(&reply.body).contains("relation"));
}

#[tokio::test]
async fn a_service_that_is_away_is_503_and_garbage_is_502() {
    let away = get("/api/v1/products").await;
    assert_eq!(away.problem(), problem(503, "UPSTREAM_UNAVAILABLE"));
    assert_eq!(away.header("retry-after"), Some("1"));
    let unconfigured = get("/api/v1/fulfillments").await;
    assert_eq!(unconfigured.problem(), problem(503, "UPSTREAM_UNAVAILABLE"));
    assert_eq!(get("/api/v1/shipments").await.problem(), problem(502, "BAD_UPSTREAM_ANSWER"));
    assert_eq!(get("/api/v1/orders/year-10000").await.problem(), problem(502, "BAD_UPSTREAM_ANSWER"));
}

#[tokio::test]
async fn a_service_that_does_not_serve_the_method_is_501() {
    assert_eq!(get("/api/v1/policy").await.problem(), problem(501, "UNIMPLEMENTED"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_service_is_504_at_the_callers_deadline() {
    let (reply, seen) = call(Method::GET, "/api/v1/orders/slow", &[("x-request-timeout-ms", "50")], "").await;
    assert_eq!(reply.problem(), problem(504, "DEADLINE_EXCEEDED"));
    assert_eq!(seen.metadata("grpc-timeout").as_deref(), Some("50m"));
}

#[tokio::test]
async fn a_panic_of_a_handler_is_500() {
    let reply = post("/api/v1/orders:quote", r#"{"currencyCode":"PANIC"}"#).await;
    assert_eq!(reply.problem(), problem(500, "INTERNAL"));
}
