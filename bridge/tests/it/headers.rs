//! Which headers reach a service, and which never do.

use axum::body::Body;
use http::{Method, Request};

use crate::upstream::{Seen, call, config, get, send};

#[tokio::test]
async fn gw_07_a_correlation_id_is_kept_when_sane_and_made_when_not() {
    let (reply, seen) = call(Method::GET, "/api/v1/orders/a", &[("x-correlation-id", "abc.DEF_1-2")], "").await;
    assert_eq!(reply.header("x-correlation-id"), Some("abc.DEF_1-2"));
    assert_eq!(seen.metadata("x-correlation-id").as_deref(), Some("abc.DEF_1-2"));
    let long = "x".repeat(129);
    for bad in ["", "a b", "a\"b", "<script>", long.as_str()] {
        let (reply, seen) = call(Method::GET, "/api/v1/orders/a", &[("x-correlation-id", bad)], "").await;
        let made = reply.header("x-correlation-id").unwrap().to_owned();
        assert_eq!(uuid::Uuid::parse_str(&made).unwrap().get_version_num(), 7, "{bad}");
        assert_eq!(seen.metadata("x-correlation-id"), Some(made));
    }
    assert!(get("/nowhere").await.header("x-correlation-id").is_some());
}

#[tokio::test]
async fn identity_headers_of_clients_never_reach_a_service() {
    let evil = [
        ("x-user-id", "usr_evil"),
        ("x-roles", "platform_admin"),
        ("x-principal", "service:order"),
        ("grpc-metadata-x-tenant-id", "tnt_evil"),
        ("grpcgateway-authorization", "Bearer evil"),
        ("x-forwarded-client-cert", "URI=spiffe://x"),
        ("x-envoy-internal", "true"),
        ("x-causation-id", "evil"),
        ("cookie", "a=b"),
        ("stripe-signature", "t=1"),
        ("grpc-timeout", "1H"),
        ("grpc-encoding", "gzip"),
        ("traceparent", "nonsense"),
        ("connection", "x-user-id"),
        ("authorization", "Bearer token"),
        ("x-tenant-id", "tnt_mine"),
    ];
    let (reply, seen) = call(Method::GET, "/api/v1/orders/a", &evil, "").await;
    assert_eq!(reply.status, 200);
    let mut names = seen.names();
    names.sort();
    let allowed =
        ["authorization", "content-type", "grpc-timeout", "te", "traceparent", "x-correlation-id", "x-tenant-id"];
    // tonic itself hides content-type and te from handlers in some versions.
    assert!(names.iter().all(|name| allowed.contains(&name.as_str())), "{names:?}");
    assert_eq!(seen.metadata("authorization").as_deref(), Some("Bearer token"));
    assert_eq!(seen.metadata("x-tenant-id").as_deref(), Some("tnt_mine"));
    assert_eq!(seen.metadata("grpc-timeout").as_deref(), Some("1000m"));
    assert_ne!(seen.metadata("traceparent").as_deref(), Some("nonsense"));
}

#[tokio::test]
async fn headers_that_must_be_single_are_refused_twice() {
    for name in ["authorization", "x-tenant-id", "idempotency-key", "if-match"] {
        let request = Request::post("/api/v1/orders/a:cancel").header(name, "\"a\"").header(name, "\"b\"");
        let seen = Seen::default();
        let reply = send(config(&seen), request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.problem(), (400, "DUPLICATE_HEADER".to_owned()), "{name}");
        assert_eq!(reply.json()["errors"][0]["field"], name);
        assert_eq!(seen.calls(), 0);
    }
}

#[tokio::test]
async fn a_trace_goes_on_with_the_callers_id() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (_, seen) = call(Method::GET, "/api/v1/orders/a", &[("traceparent", parent)], "").await;
    let sent = seen.metadata("traceparent").unwrap();
    assert_eq!(telemetry::trace::trace_id(&sent), telemetry::trace::trace_id(parent));
}

#[tokio::test]
async fn signatures_reach_webhooks_with_the_body_byte_for_byte() {
    let seen = Seen::default();
    let request = Request::post("/api/v1/webhooks/payments/stripe/tnt_1")
        .header("content-type", "application/json")
        .header("stripe-signature", "t=1,v1=ab")
        .body(Body::from(&b"{\"raw\" :\xff}"[..]))
        .unwrap();
    assert_eq!(send(config(&seen), request).await.status, 200);
    assert_eq!(seen.metadata("stripe-signature").as_deref(), Some("t=1,v1=ab"));
}

#[tokio::test]
async fn an_idempotency_key_is_handed_on_or_refused() {
    let longest = "k".repeat(255);
    for key in ["a", "9f8b-!~", longest.as_str()] {
        let (reply, seen) = call(Method::POST, "/api/v1/orders", &[("idempotency-key", key)], "{}").await;
        assert_eq!((reply.status.as_u16(), seen.metadata("idempotency-key").as_deref()), (201, Some(key)));
    }
    let too_long = "k".repeat(256);
    for key in ["", "a b", too_long.as_str()] {
        let (reply, seen) = call(Method::POST, "/api/v1/orders", &[("idempotency-key", key)], "{}").await;
        assert_eq!(reply.problem(), (400, "IDEMPOTENCY_KEY_INVALID".to_owned()));
        assert_eq!(seen.calls(), 0);
    }
}

#[tokio::test]
async fn if_match_becomes_the_version_of_the_request() {
    let uri = "/api/v1/orders/a";
    let patch = async |value: &str| call(Method::PATCH, uri, &[("if-match", value)], r#"{"note":"n"}"#).await;
    let (reply, _) = call(Method::PATCH, uri, &[("if-match", "\"6\"")], r#"{"note":"n","etag":"5"}"#).await;
    assert_eq!(reply.problem(), (400, "HEADER_MISMATCH".to_owned()));
    let (_, seen) = patch("\"6\"").await;
    assert!(seen.message().contains("etag: \"6\""), "{}", seen.message());
    assert!(seen.message().contains("paths: [\"note\"]"), "{}", seen.message());
    let (_, seen) = patch("*").await;
    assert!(seen.message().contains("etag: \"\""), "{}", seen.message());
    for bad in ["6", "W/\"6\"", "\"5\", \"6\"", "\"\""] {
        let (reply, seen) = call(Method::PATCH, uri, &[("if-match", bad)], "{}").await;
        assert_eq!(reply.problem(), (400, "INVALID_ETAG".to_owned()), "{bad}");
        assert_eq!(seen.calls(), 0);
    }
    let (reply, _) = call(Method::POST, "/api/v1/orders", &[("if-match", "\"6\"")], "{}").await;
    assert_eq!(reply.problem(), (400, "PRECONDITION_NOT_SUPPORTED".to_owned()));
}

#[tokio::test]
async fn a_callers_patience_shortens_the_deadline_but_never_extends_it() {
    for (asked, sent) in [("50", "50m"), ("999999", "1000m")] {
        let (_, seen) = call(Method::GET, "/api/v1/orders/a", &[("x-request-timeout-ms", asked)], "").await;
        assert_eq!(seen.metadata("grpc-timeout").as_deref(), Some(sent));
    }
    for bad in ["0", "-1", "soon", "1.5", "99999999999999999999"] {
        let (reply, _) = call(Method::GET, "/api/v1/orders/a", &[("x-request-timeout-ms", bad)], "").await;
        assert_eq!(reply.problem(), (400, "INVALID_TIMEOUT".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn pages_of_known_origins_may_call_and_others_not() {
    let known = [("origin", "https://shop.example"), ("access-control-request-method", "POST")];
    let (preflight, seen) = call(Method::OPTIONS, "/api/v1/orders", &known, "").await;
    assert_eq!((preflight.status.as_u16(), seen.calls()), (204, 0));
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(preflight.header("access-control-allow-methods"), Some("GET, HEAD, OPTIONS, POST"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    let (reply, _) = call(Method::GET, "/api/v1/orders/a", &known, "").await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://shop.example"));
    assert!(reply.header("access-control-expose-headers").unwrap().contains("etag"));
    let (failed, _) = call(Method::GET, "/api/v1/orders/missing", &known, "").await;
    assert_eq!(failed.header("access-control-allow-origin"), Some("https://shop.example"));
    let (other, _) = call(Method::GET, "/api/v1/orders/a", &[("origin", "https://evil.example")], "").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    assert!(other.headers.get_all("vary").iter().any(|value| value == "Origin"));
    assert_eq!(call(Method::OPTIONS, "/nowhere", &known, "").await.0.status, 404);
}
