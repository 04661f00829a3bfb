//! What a failed call says about its outcome, against raw sockets.

use std::time::Duration;

use fault::{Fault, Kind};
use resilience::{Http, HttpError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

/// A peer that reads what comes first, says `answer`, and hangs up when the caller does, at the latest after `stay`.
async fn peer(answer: Vec<u8>, stay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&answer).await;
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(stay, stream.read_to_end(&mut rest)).await;
        }
    });
    base
}

async fn ask(base: &str) -> Result<resilience::Answer, HttpError> {
    ask_within(Duration::from_secs(30), base).await
}

async fn ask_within(limit: Duration, base: &str) -> Result<resilience::Answer, HttpError> {
    let http = Http::new("peer", base, limit).expect("a good base URL");
    http.send("ask", http.post("/charges?email=a@b.c").body("x")).await
}

#[tokio::test]
async fn every_status_is_an_answer() {
    let head =
        b"HTTP/1.1 402 Payment Required\r\nretry-after: 7\r\ncontent-length: 13\r\n\r\n{\"code\": \"x\"}".to_vec();
    let answer = ask(&peer(head, Duration::ZERO).await).await.expect("an answer");
    assert_eq!(answer.status, 402);
    assert_eq!(answer.retry_after(), Some(Duration::from_secs(7)));
    assert_eq!(answer.json::<serde_json::Value>().expect("json")["code"], "x");
    assert!(matches!(answer.json::<u8>(), Err(HttpError::Malformed { .. })));
}

#[tokio::test]
async fn a_closed_port_means_that_nothing_happened() {
    // Bound and not listening: nobody answers there, and nobody else gets the port meanwhile.
    let closed = TcpSocket::new_v4().expect("a socket");
    closed.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let base = format!("http://{}", closed.local_addr().expect("bound"));
    let error = ask(&base).await.expect_err("nobody there");
    assert!(!error.outcome_unknown(), "{error:?}");
    assert_eq!(Fault::from(error).kind(), Kind::Unavailable);
}

#[tokio::test]
async fn silence_and_a_cut_after_sending_mean_an_unknown_outcome() {
    for (answer, stay) in [
        (Vec::new(), Duration::from_secs(60)),
        (Vec::new(), Duration::ZERO),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec(), Duration::ZERO),
    ] {
        let limit = Duration::from_millis(400);
        let error = ask_within(limit, &peer(answer, stay).await).await.expect_err("no whole answer");
        assert!(error.outcome_unknown(), "{error:?}");
        assert!(!format!("{error:?}").contains("a@b.c"), "URLs stay out of errors");
        assert_eq!(Fault::from(error).reason(), "OUTCOME_UNKNOWN");
    }
}

#[tokio::test]
async fn redirects_are_answers_and_not_followed() {
    let head =
        b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec();
    assert_eq!(ask(&peer(head, Duration::ZERO).await).await.expect("an answer").status, 307);
}

#[test]
fn a_malformed_base_url_fails_at_the_start() {
    assert!(Http::new("peer", "not a url", Duration::from_secs(1)).is_err());
}
