//! What is sent compressed, and what never is.

use std::io::Read as _;

use http::Method;

use crate::upstream::{Reply, call, get};

const ANY: (&str, &str) = ("accept-encoding", "gzip, deflate, br, zstd");

async fn fetch(uri: &str, headers: &[(&str, &str)]) -> Reply {
    call(Method::GET, uri, headers, "").await.0
}

fn varies_by_encoding(reply: &Reply) -> bool {
    reply.headers.get_all("vary").iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"accept-encoding"))
}

#[tokio::test]
async fn a_large_answer_is_compressed_as_the_client_asks() {
    let plain = get("/api/v1/orders/large").await;
    assert_eq!(plain.header("content-encoding"), None);
    assert!(varies_by_encoding(&plain), "a cache must not give it to others");
    let gzip = fetch("/api/v1/orders/large", &[("accept-encoding", "gzip")]).await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.body.len() < plain.body.len() / 4, "{} of {}", gzip.body.len(), plain.body.len());
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice()).read_to_end(&mut body).unwrap();
    assert_eq!(body, plain.body);
    let zstd = fetch("/api/v1/orders/large", &[ANY]).await;
    assert_eq!(zstd.header("content-encoding"), Some("zstd"));
    assert_eq!(zstd.body[..4], 0xFD2F_B528_u32.to_le_bytes(), "the magic number of RFC 8878");
    for same in ["etag", "content-type", "cache-control"] {
        assert_eq!(zstd.header(same), plain.header(same), "{same}");
    }
    for refused in ["identity", "gzip;q=0", "br"] {
        let reply = fetch("/api/v1/orders/large", &[("accept-encoding", refused)]).await;
        assert_eq!((reply.header("content-encoding"), &reply.body), (None, &plain.body), "{refused}");
    }
}

#[tokio::test]
async fn pages_and_documents_are_compressed_too() {
    for uri in ["/docs", "/openapi.json"] {
        assert_eq!(fetch(uri, &[ANY]).await.header("content-encoding"), Some("zstd"), "{uri}");
    }
}

#[tokio::test]
async fn what_is_small_or_empty_is_sent_as_it_is() {
    let known = fetch("/api/v1/orders/large", &[ANY, ("if-none-match", "\"7\"")]).await;
    assert_eq!((known.status.as_u16(), known.header("content-encoding")), (304, None));
    let head = call(Method::HEAD, "/api/v1/orders/large", &[ANY], "").await.0;
    assert_eq!((head.header("content-encoding"), head.body.len()), (None, 0));
    for small in ["/api/v1/orders/a", "/api/v1/orders/missing", "/healthz"] {
        assert_eq!(fetch(small, &[ANY]).await.header("content-encoding"), None, "{small}");
    }
}

#[tokio::test]
async fn a_stream_is_never_held_back_by_a_compressor() {
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let reply = fetch("/api/v1/orders/a:watch", &[ANY, ("accept", accept)]).await;
        assert_eq!((reply.header("content-type"), reply.header("content-encoding")), (Some(accept), None));
    }
}
