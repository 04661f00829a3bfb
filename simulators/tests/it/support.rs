//! Started simulators, a control client, a polling helper and a webhook receiver.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use simulators::{Config, Simulators, WebhookEndpoint};

pub const TENANT: &str = "tnt_1";

pub async fn start(speed: f64) -> Simulators {
    let config = Config { speed, ..Config::default() };
    Simulators::start(config).await.unwrap()
}

/// The `/_sim` controls of one listener.
pub struct Desk(pub SocketAddr);

impl Desk {
    pub async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}/_sim/{path}", self.0);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) {
        let url = format!("http://{}/_sim/{path}", self.0);
        let sent = reqwest::Client::new().post(url).json(&body).send().await;
        assert!(sent.unwrap().status().is_success());
    }

    /// The `op` of every ledger entry, in order.
    pub async fn ops(&self) -> Vec<String> {
        let ledger = self.get("ledger").await;
        let op = |entry: &Value| entry["op"].as_str().unwrap().to_owned();
        ledger.as_array().unwrap().iter().map(op).collect()
    }

    pub async fn fault(&self, rule: Value) {
        self.post("faults", json!([rule])).await;
    }
}

/// Polls until `look` finds something; panics after a minute.
pub async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// HMAC-SHA256 in hexadecimal digits.
pub fn digest(secret: &str, text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(text);
    hex::encode(mac.finalize().into_bytes())
}

/// One webhook as it came in.
#[derive(Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks `t=…,v1=…` against the secret.
    pub fn signed_with(&self, header: &str, secret: &str) -> bool {
        let value = self.headers[header].to_str().unwrap();
        let (at, signature) = value.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.{}", self.body).as_bytes());
        mac.verify_slice(&hex::decode(signature).unwrap()).is_ok()
    }
}

#[derive(Default)]
struct Inbox {
    received: Vec<Received>,
    refuse: usize,
}

/// A receiver that refuses the first posts, then takes all.
pub struct Receiver {
    addr: SocketAddr,
    inbox: Arc<Mutex<Inbox>>,
}

impl Receiver {
    pub async fn start(refuse: usize) -> Self {
        let inbox = Arc::new(Mutex::new(Inbox { refuse, ..Inbox::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&inbox));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { addr, inbox }
    }

    /// Both kinds of events of `TENANT` go here.
    pub fn endpoint(&self) -> WebhookEndpoint {
        let url = format!("http://{}/hook", self.addr);
        WebhookEndpoint {
            tenant: TENANT.into(),
            payments_url: url.clone(),
            payments_secret: "whsec_pay".into(),
            second_url: url.clone(),
            second_secret: "whsec_second".into(),
            carrier_url: url,
            carrier_secret: "whsec_car".into(),
        }
    }

    /// Waits until `count` events were taken.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(async || {
            let received = self.inbox.lock().unwrap().received.clone();
            (received.len() >= count).then_some(received)
        })
        .await
    }
}

async fn take(State(inbox): State<Arc<Mutex<Inbox>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut inbox = inbox.lock().unwrap();
    if inbox.refuse > 0 {
        inbox.refuse -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let body = String::from_utf8(body.to_vec()).unwrap();
    inbox.received.push(Received { headers, body });
    StatusCode::NO_CONTENT
}
