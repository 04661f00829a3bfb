//! Input that is refused before any service sees it.

use axum::body::Body;
use http::{Method, Request};

use crate::upstream::{Seen, call, config, get, post, send};

#[tokio::test]
async fn a_path_nobody_has_is_404_and_another_method_405() {
    assert_eq!(get("/api/v1/nothing").await.problem(), (404, "NO_ROUTE".to_owned()));
    assert_eq!(get("/api/v1/orders/7:explode").await.problem(), (404, "NO_ROUTE".to_owned()));
    let (reply, seen) = call(Method::DELETE, "/api/v1/orders", &[], "").await;
    assert_eq!(reply.problem(), (405, "METHOD_NOT_ALLOWED".to_owned()));
    assert_eq!(reply.header("allow"), Some("GET, HEAD, OPTIONS, POST"));
    assert_eq!(seen.calls(), 0);
    let (reply, _) = call(Method::POST, "/docs", &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn internal_rpcs_and_grpc_itself_are_out_of_reach() {
    let path = "/ordermesh.inventory.v1.ReservationService/ReserveStock";
    assert_eq!(post(path, "{}").await.problem(), (404, "NO_ROUTE".to_owned()));
    for content_type in ["application/grpc", "application/grpc+proto", "application/grpc-web"] {
        let (reply, _) = call(Method::POST, path, &[("content-type", content_type)], "x").await;
        assert_eq!(reply.status, 415, "{content_type}");
    }
}

#[tokio::test]
async fn a_body_larger_than_the_method_allows_is_413() {
    let body = format!("{{\"note\":\"{}\"}}", "x".repeat(65536));
    let (reply, seen) = call(Method::POST, "/api/v1/orders", &[], &body).await;
    assert_eq!(reply.problem(), (413, "REQUEST_TOO_LARGE".to_owned()));
    assert_eq!(reply.json()["metadata"]["max_bytes"], "65536");
    assert_eq!(seen.calls(), 0);
    let chunks = futures::stream::iter((0..70).map(|_| Ok::<_, std::io::Error>("x".repeat(1000))));
    let request = Request::post("/api/v1/orders").header("content-type", "application/json");
    let reply = send(config(&Seen::default()), request.body(Body::from_stream(chunks)).unwrap()).await;
    assert_eq!(reply.problem(), (413, "REQUEST_TOO_LARGE".to_owned()));
}

#[tokio::test]
async fn a_body_that_breaks_off_or_never_comes_is_the_clients_fault() {
    let request = || Request::post("/api/v1/orders").header("content-type", "application/json");
    let broken = futures::stream::iter([Ok("{"), Err(std::io::Error::other("gone"))]);
    let reply = send(config(&Seen::default()), request().body(Body::from_stream(broken)).unwrap()).await;
    assert_eq!(reply.problem(), (400, "BODY_INCOMPLETE".to_owned()));
    tokio::time::pause();
    let never = futures::stream::pending::<Result<String, std::io::Error>>();
    let reply = send(config(&Seen::default()), request().body(Body::from_stream(never)).unwrap()).await;
    assert_eq!(reply.problem(), (408, "BODY_TIMEOUT".to_owned()));
}

#[tokio::test]
async fn bodies_must_be_json_in_utf8_and_not_compressed() {
    let refused: [&[(&str, &str)]; 5] = [
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-type", "multipart/form-data")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
    ];
    for headers in refused {
        let (reply, seen) = call(Method::POST, "/api/v1/orders", headers, "{}").await;
        assert_eq!(reply.problem(), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()), "{headers:?}");
        assert_eq!(seen.calls(), 0);
    }
    for fine in ["application/json", "Application/JSON; charset=UTF-8", "application/merge-patch+json"] {
        let (reply, _) = call(Method::POST, "/api/v1/orders", &[("content-type", fine)], "{}").await;
        assert_eq!(reply.status, 201, "{fine}");
    }
    let untyped = Request::post("/api/v1/orders").body(Body::from("{}")).unwrap();
    assert_eq!(send(config(&Seen::default()), untyped).await.status, 415);
}

#[tokio::test]
async fn ord_12_all_wrong_fields_of_body_query_and_headers_come_at_once() {
    let headers = [("idempotency-key", ""), ("x-request-timeout-ms", "soon")];
    let body = r#"{"items":[{"sku":1}],"colour":"red","currencyCode":"USD","currencyCode":"EUR"}"#;
    let (reply, seen) = call(Method::POST, "/api/v1/orders?dryRun=true", &headers, body).await;
    assert_eq!(reply.problem(), (400, "INVALID_REQUEST".to_owned()));
    let mut errors = reply.errors();
    errors.sort();
    let mut expected: Vec<(String, String)> = [
        ("", "IDEMPOTENCY_KEY_INVALID"),
        ("", "INVALID_TIMEOUT"),
        ("/items/0/sku", "TYPE_MISMATCH"),
        ("/colour", "UNKNOWN_FIELD"),
        ("/currencyCode", "DUPLICATE_KEY"),
        ("/dryRun", "UNKNOWN_PARAMETER"),
    ]
    .map(|(pointer, reason)| (pointer.to_owned(), reason.to_owned()))
    .to_vec();
    expected.sort();
    assert_eq!(errors, expected);
    assert_eq!(seen.calls(), 0);
}

#[tokio::test]
async fn malformed_deep_and_undecodable_bodies_are_400() {
    let deep = "[".repeat(30_000);
    for (body, reason) in [("{\"a\"", "MALFORMED_JSON"), (deep.as_str(), "TOO_DEEP"), ("7", "TYPE_MISMATCH")] {
        assert_eq!(post("/api/v1/orders", body).await.problem(), (400, reason.to_owned()));
    }
    let request = Request::post("/api/v1/orders").header("content-type", "application/json");
    let reply = send(config(&Seen::default()), request.body(Body::from(&b"{\"note\":\"\xff\"}"[..])).unwrap()).await;
    assert_eq!(reply.problem(), (400, "INVALID_UTF8".to_owned()));
    let with_body = call(Method::GET, "/api/v1/orders", &[], "{}").await.0;
    assert_eq!(with_body.problem(), (400, "BODY_NOT_ALLOWED".to_owned()));
}

#[tokio::test]
async fn paths_and_queries_with_broken_encoding_are_400() {
    assert_eq!(get("/api/v1/orders/%ff").await.problem(), (400, "MALFORMED_PATH".to_owned()));
    assert_eq!(get("/api/v1/orders?customerId=%zz").await.problem(), (400, "INVALID_UTF8".to_owned()));
}

#[tokio::test]
async fn a_lenient_caller_may_send_unknown_fields() {
    let headers = [("prefer", "respond-async, handling=lenient")];
    let (reply, _) = call(Method::POST, "/api/v1/orders", &headers, r#"{"new":1}"#).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("preference-applied"), Some("handling=lenient"));
}
