//! What a success looks like.

use http::Method;
use serde_json::json;

use crate::upstream::{call, get, post};

#[tokio::test]
async fn gw_08_an_rpc_is_answered_as_proto3_json() {
    let reply = get("/api/v1/orders/ord_1").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let json = reply.json();
    assert_eq!(json["orderNumber"], "9007199254740992");
    assert_eq!(json["state"], "ORDER_STATE_UNSPECIFIED");
    assert_eq!(json["lines"], json!([]));
    assert!(json.get("totals").is_none());
}

#[tokio::test]
async fn a_created_resource_is_201_with_its_place() {
    let reply = post("/api/v1/orders", r#"{"currencyCode":"USD"}"#).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("location"), Some("/api/v1/orders/ord_1"));
    assert_eq!(reply.header("etag"), Some("\"1\""));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let user = post("/api/v1/users", "{}").await;
    assert_eq!(user.header("location"), Some("/api/v1/users/usr%2F1"));
    let quote = post("/api/v1/orders:quote", "").await;
    assert_eq!((quote.status.as_u16(), quote.header("location")), (200, None));
}

#[tokio::test]
async fn a_known_version_is_not_sent_again() {
    let fresh = get("/api/v1/orders/a").await;
    assert_eq!(fresh.header("etag"), Some("\"7\""));
    assert_eq!(fresh.header("cache-control"), Some("private, max-age=0, must-revalidate"));
    for list in ["\"7\"", "W/\"7\"", "\"1\", \"7\"", "*"] {
        let (reply, _) = call(Method::GET, "/api/v1/orders/a", &[("if-none-match", list)], "").await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0), "{list}");
        assert_eq!(reply.header("etag"), Some("\"7\""));
    }
    let (reply, _) = call(Method::GET, "/api/v1/orders/a", &[("if-none-match", "\"8\"")], "").await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let get = get("/api/v1/orders/a").await;
    let (head, _) = call(Method::HEAD, "/api/v1/orders/a", &[], "").await;
    assert_eq!((head.status, head.body.len()), (get.status, 0));
    assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
    assert_eq!(head.header("etag"), get.header("etag"));
}

#[tokio::test]
async fn a_page_links_to_the_next_until_the_last() {
    let reply = get("/api/v1/orders?pageSize=5&pageToken=x&states=ORDER_STATE_PENDING").await;
    let link = "</api/v1/orders?pageSize=5&states=ORDER_STATE_PENDING&pageToken=a%2Bb%2Fc%3D>; rel=\"next\"";
    assert_eq!(reply.header("link"), Some(link));
    assert_eq!(get("/api/v1/orders?page_token=last").await.header("link"), None);
}

#[tokio::test]
async fn a_replayed_answer_says_so() {
    let reply = post("/api/v1/orders", r#"{"note":"again"}"#).await;
    assert_eq!((reply.status.as_u16(), reply.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(post("/api/v1/orders", "{}").await.header("idempotent-replayed"), None);
}

#[tokio::test]
async fn sessions_are_never_stored_and_keys_may_be() {
    let session = post("/api/v1/sessions", r#"{"tenant":"a","email":"b","password":"c"}"#).await;
    assert_eq!((session.status.as_u16(), session.header("cache-control")), (200, Some("no-store")));
    for path in ["/api/v1/jwks", "/.well-known/jwks.json"] {
        let keys = get(path).await;
        assert_eq!(keys.json()["keys"][0]["kid"], "k1");
        assert_eq!(keys.header("cache-control"), Some("public, max-age=300"));
    }
}

#[tokio::test]
async fn the_reference_page_needs_nobody_else() {
    let page = get("/docs").await;
    assert_eq!(page.status, 200);
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert!(!text.contains("http://") && !text.contains("https://"), "asks another host");
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    assert_eq!(get("/").await.header("location"), Some("/docs"));
    assert_eq!(get("/healthz").await.status, 200);
    assert_eq!(get("/readyz").await.status, 200);
}

#[tokio::test]
async fn gw_08_every_route_is_in_the_openapi_document() {
    // OpenAPI does not allow dots in the names of path parameters, so names are left out.
    fn nameless(template: &str) -> String {
        template
            .split('{')
            .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest))
            .collect::<Vec<_>>()
            .join("{}")
    }
    let document = get("/openapi.json").await.json();
    let paths: Vec<_> =
        document["paths"].as_object().unwrap().iter().map(|(path, item)| (nameless(path), item)).collect();
    let router = transcode::Router::from_image(contract::IMAGE).unwrap();
    for route in router.routes() {
        let verb = route.verb().as_str().to_ascii_lowercase();
        let wanted = nameless(route.template());
        let is_there = paths.iter().any(|(path, item)| *path == wanted && item[&verb].is_object());
        assert!(is_there, "{verb} {}", route.template());
    }
}

#[tokio::test]
async fn requests_are_counted_by_template_and_not_by_path() {
    let metrics = telemetry::metrics::install();
    get("/api/v1/orders/counted").await;
    get("/api/v1/orders/missing").await;
    get("/api/v1/nowhere").await;
    let text = metrics.render();
    for labels in [
        r#"route="/api/v1/orders/{order_id}",method="GET",status="200""#,
        r#"route="/api/v1/orders/{order_id}",method="GET",status="404""#,
        r#"route="unmatched",method="GET",status="404""#,
    ] {
        assert!(text.contains(&format!("http_server_requests_total{{{labels}")), "{labels} in {text}");
    }
    assert!(text.contains("http_server_request_duration_seconds"), "{text}");
    assert!(!text.contains("counted"), "{text}");
}
