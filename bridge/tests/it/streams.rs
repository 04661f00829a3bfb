//! Streams: events, resumption, errors before and in the middle, signs of life.

use std::time::Duration;

use axum::body::Body;
use futures::StreamExt as _;
use http::{Method, Request};
use tower::ServiceExt as _;

use crate::upstream::{Reply, Seen, call, config};

async fn watch(id: &str, headers: &[(&str, &str)]) -> (Reply, Seen) {
    call(Method::GET, &format!("/api/v1/orders/{id}:watch"), headers, "").await
}

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).unwrap()
}

#[tokio::test]
async fn evt_09_a_stream_is_events_with_ids_and_an_end() {
    let (reply, _) = watch("a", &[("accept", "text/event-stream")]).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let events = text(&reply);
    let blocks: Vec<&str> = events.trim_end().split("\n\n").collect();
    assert_eq!(blocks.len(), 4, "{events}");
    assert_eq!(blocks[0], "retry: 2000");
    assert!(blocks[1].starts_with("id: 1\nevent: message\ndata: {\"id\":\"a\""), "{events}");
    assert!(blocks[2].starts_with("id: 2\nevent: message\n"), "{events}");
    assert_eq!(blocks[3], "event: end\ndata: {}");
}

#[tokio::test]
async fn evt_09_who_comes_back_goes_on_where_he_was() {
    let (_, seen) = watch("a", &[("last-event-id", "1")]).await;
    assert!(seen.message().contains("etag: \"1\""), "{}", seen.message());
    let (_, seen) = call(Method::GET, "/api/v1/orders/a:watch?etag=0", &[("last-event-id", "1")], "").await;
    assert!(seen.message().contains("etag: \"1\""), "{}", seen.message());
    assert_eq!(seen.metadata("grpc-timeout").as_deref(), Some("3600000m"));
}

#[tokio::test]
async fn a_stream_can_be_lines_of_json() {
    let (reply, _) = watch("a", &[("accept", "application/x-ndjson")]).await;
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let lines = text(&reply);
    let etags: Vec<_> =
        lines.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["etag"].clone()).collect();
    assert_eq!(etags, ["1", "2"]);
    let (reply, _) = watch("a", &[("accept", "image/png")]).await;
    assert_eq!(reply.problem(), (406, "NOT_ACCEPTABLE".to_owned()));
}

#[tokio::test]
async fn an_error_before_the_first_message_is_an_http_status() {
    for id in ["missing", "refused"] {
        let expected = (404, "ORDER_NOT_FOUND".to_owned());
        assert_eq!(watch(id, &[]).await.0.problem(), expected, "{id}");
    }
}

#[tokio::test]
async fn an_error_in_the_middle_is_never_silent() {
    let (reply, _) = watch("breaks", &[]).await;
    let events = text(&reply);
    let last = events.trim_end().rsplit("\n\n").next().unwrap();
    let problem = last.strip_prefix("event: error\ndata: ").unwrap();
    let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
    assert_eq!(problem["reason"], "ORDER_STATE_FORBIDS");
    assert_eq!(problem["instance"].as_str(), reply.header("x-correlation-id"));
    assert!(!events.contains("event: end"));
    let (lines, _) = watch("breaks", &[("accept", "application/x-ndjson")]).await;
    let lines = text(&lines);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["status"], 409);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_gives_signs_of_life_until_its_deadline() {
    let request = Request::get("/api/v1/orders/silent:watch").header("x-request-timeout-ms", "40000");
    let mut config = config(&Seen::default());
    config.heartbeat = Duration::from_secs(15);
    let response = bridge::app(config).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let chunks: Vec<_> = response.into_body().into_data_stream().map(|chunk| chunk.unwrap()).collect().await;
    let chunks: Vec<_> = chunks.iter().map(|chunk| std::str::from_utf8(chunk).unwrap()).collect();
    assert_eq!(chunks[..3], ["retry: 2000\n\n", ": still here\n\n", ": still here\n\n"]);
    assert!(chunks[3].starts_with("event: error\ndata: ") && chunks[3].contains("DEADLINE_EXCEEDED"), "{chunks:?}");
    assert_eq!(chunks.len(), 4);
}
