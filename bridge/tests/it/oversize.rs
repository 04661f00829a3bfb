//! Bodies that are too large, over real sockets: whoever sends one gets to read why it was refused.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::serving::Edge;
use crate::upstream::{Seen, config};

/// Far above what anything here takes, so that only a hang runs into it.
const HANG: Duration = Duration::from_secs(60);
const POST: &str = "POST /api/v1/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";

const CHUNKED: &str = "transfer-encoding: chunked\r\n";

async fn edge() -> Edge {
    let mut config = config(&Seen::default());
    config.body_timeout = HANG;
    Edge::start(config).await
}

async fn opened(edge: &Edge, headers: &str) -> TcpStream {
    let mut socket = TcpStream::connect(edge.address).await.unwrap();
    socket.write_all(format!("{POST}{headers}\r\n").as_bytes()).await.unwrap();
    socket
}

/// Reads one answer, whole, and says what its problem document is.
async fn refused(socket: &mut TcpStream) -> serde_json::Value {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
            assert!(head.contains("content-type: application/problem+json"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return serde_json::from_str(body).unwrap();
            }
        }
        let read = timeout(HANG, socket.read_buf(&mut answer)).await.expect("the answer comes").expect("no reset");
        assert!(read > 0, "closed in the middle of the answer: {text}");
    }
}

#[tokio::test]
async fn who_sends_all_of_a_large_body_before_reading_still_reads_the_refusal() {
    let edge = edge().await;
    let bytes = 8 << 20;
    for announced in [true, false] {
        let headers = if announced { format!("content-length: {bytes}\r\n") } else { CHUNKED.to_owned() };
        let mut socket = opened(&edge, &headers).await;
        let chunk = vec![b' '; 1 << 20];
        for _ in 0..8 {
            if !announced {
                socket.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await.unwrap();
            }
            timeout(HANG, socket.write_all(&chunk)).await.expect("somebody reads").expect("no reset");
            if !announced {
                socket.write_all(b"\r\n").await.unwrap();
            }
        }
        if !announced {
            socket.write_all(b"0\r\n\r\n").await.unwrap();
        }
        let problem = refused(&mut socket).await;
        assert_eq!((&problem["reason"], &problem["status"]), (&"REQUEST_TOO_LARGE".into(), &413.into()));
        assert_eq!(problem["metadata"]["max_bytes"], "65536");
    }
    edge.end().await;
}

#[tokio::test]
async fn who_asks_first_is_refused_without_being_told_to_send() {
    let edge = edge().await;
    let mut socket = opened(&edge, "content-length: 8388608\r\nexpect: 100-continue\r\n").await;
    // `refused` wants the 413 to be the first thing that is said: a 100 would ask for eight megabytes.
    assert_eq!(refused(&mut socket).await["reason"], "REQUEST_TOO_LARGE");
    let mut fine = opened(&edge, "content-length: 2\r\nexpect: 100-continue\r\n").await;
    let mut go_on = [0; 25];
    timeout(HANG, fine.read_exact(&mut go_on)).await.expect("an answer").unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    drop(fine);
    edge.end().await;
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_off() {
    let edge = edge().await;
    let mut socket = opened(&edge, CHUNKED).await;
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let mut sent_mib = 0;
    while timeout(HANG, socket.write_all(&chunk)).await.expect("sent or cut off").is_ok() {
        sent_mib += 1;
        // 16 MiB are heard out; what the sockets of both sides hold comes on top.
        assert!(sent_mib < 64, "nobody stops it");
    }
    assert!(sent_mib >= 16, "cut off after {sent_mib} MiB already");
    edge.end().await;
}
