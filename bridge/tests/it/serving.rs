//! The listener: real sockets, silent ones, and the end of the process.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::upstream::{Seen, config};

/// The edge on a port of its own.
pub struct Edge {
    pub address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Edge {
    pub async fn start(config: bridge::Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(bridge::serve(listener, None, bridge::app(config), shutdown.clone()));
        Self { address, shutdown, running }
    }

    pub async fn end(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

async fn edge() -> Edge {
    Edge::start(config(&Seen::default())).await
}

#[tokio::test]
async fn rest_is_served_over_a_socket() {
    let edge = edge().await;
    let url = format!("http://{}/api/v1/orders/a", edge.address);
    let response = reqwest::get(&url).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["etag"], "\"7\"");
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().json::<serde_json::Value>().await.unwrap()["id"], "a");
    edge.end().await;
}

#[tokio::test]
async fn silent_idle_and_half_sent_connections_do_not_hold_up_the_end() {
    let edge = edge().await;
    let silent = TcpStream::connect(edge.address).await.unwrap();
    let mut half = TcpStream::connect(edge.address).await.unwrap();
    half.write_all(b"POST /api/v1/orders HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut idle = TcpStream::connect(edge.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    let started = Instant::now();
    edge.shutdown.cancel();
    edge.running.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    drop((silent, half));
}

#[tokio::test]
async fn streams_are_told_to_come_back_when_the_process_ends() {
    let edge = edge().await;
    let mut response = reqwest::get(format!("http://{}/api/v1/orders/endless:watch", edge.address)).await.unwrap();
    let mut text = String::new();
    while !text.contains("id: 2") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    let started = Instant::now();
    edge.shutdown.cancel();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    edge.running.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    assert!(text.contains("event: error") && text.contains("SHUTTING_DOWN"), "{text}");
}

#[tokio::test]
async fn garbage_on_the_socket_is_answered_or_closed() {
    let edge = edge().await;
    for garbage in
        [&b"\0\0\0\0\r\n\r\n"[..], b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n"]
    {
        let mut socket = TcpStream::connect(edge.address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an answer.
        let _ = socket.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    edge.end().await;
}
