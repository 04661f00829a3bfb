//! Spans really leave the process when an endpoint is set, the last ones when the guard is dropped.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_spans_are_sent_when_the_guard_goes() {
    let collector = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("http://{}/", collector.local_addr().expect("bound"));
    let posted = tokio::spawn(async move {
        let (mut stream, _) = collector.accept().await.expect("a caller");
        let mut sent = Vec::new();
        // The span's name is in the body, which may come in a second packet.
        while !sent.windows(9).any(|window| window == b"the-thing") {
            let read = stream.read_buf(&mut sent).await.expect("reads");
            assert!(read > 0, "hung up early");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("answers");
        sent
    });
    let guard = telemetry::init("orders", Some(&endpoint), true).expect("the first of the process");
    assert!(telemetry::init("orders", None, true).is_err(), "only once");
    tracing::info_span!("the-thing").in_scope(|| ());
    drop(guard);
    let sent = tokio::time::timeout(Duration::from_secs(60), posted).await.expect("in time").expect("no panic");
    assert!(sent.starts_with(b"POST /v1/traces HTTP/1.1"), "{}", String::from_utf8_lossy(&sent));
    assert!(sent.windows(6).any(|window| window == b"orders"), "says which service it is");
}
