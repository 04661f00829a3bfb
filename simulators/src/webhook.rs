//! Signed webhooks with bounded retry and bounded concurrency.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Posts at the same time, over all simulators.
const CONCURRENT_POSTS: usize = 32;
/// Events waiting for a 2xx; further ones are dropped and counted.
const WAITING_EVENTS: usize = 50_000;
/// About three minutes with the back-off below: longer than a restart of the platform.
const ATTEMPTS: u32 = 40;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where one tenant wants its events, and the secrets they are signed with.
///
/// An empty URL means the tenant takes no events of that kind.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct WebhookEndpoint {
    /// Typed tenant id; opaque here.
    pub tenant: String,
    /// Takes payment events.
    pub payments_url: String,
    /// Signs payment events.
    pub payments_secret: String,
    /// Takes events of the second payment provider.
    pub second_url: String,
    /// Signs events of the second payment provider.
    pub second_secret: String,
    /// Takes carrier scans.
    pub carrier_url: String,
    /// Signs carrier scans.
    pub carrier_secret: String,
}

/// Who speaks; decides the URL, the secret, the header and how it is signed: `t=<unix>,v1=<hex of "<unix>.<body>">` as
/// Stripe does, or `<unix>:<hex of "<unix>:<body>">`.
#[derive(Clone, Copy)]
pub(crate) enum Channel {
    Payments,
    Second,
    Carrier,
}

impl Channel {
    fn header(self) -> &'static str {
        match self {
            Channel::Payments => "Stripe-Signature",
            Channel::Second => "HmacSignature",
            Channel::Carrier => "X-Carrier-Signature",
        }
    }

    fn sign(self, secret: &str, at: i64, body: &str) -> String {
        match self {
            Channel::Payments | Channel::Carrier => format!("t={at},v1={}", digest(secret, &format!("{at}.{body}"))),
            Channel::Second => format!("{at}:{}", digest(secret, &format!("{at}:{body}"))),
        }
    }

    fn target(self, endpoint: &WebhookEndpoint) -> (&str, &str) {
        match self {
            Channel::Payments => (&endpoint.payments_url, &endpoint.payments_secret),
            Channel::Second => (&endpoint.second_url, &endpoint.second_secret),
            Channel::Carrier => (&endpoint.carrier_url, &endpoint.carrier_secret),
        }
    }
}

/// How the delivery of one event ended.
pub(crate) enum Outcome {
    Delivered,
    Abandoned,
}

/// The sender all simulators share.
pub(crate) struct Webhooks {
    endpoints: RwLock<HashMap<String, WebhookEndpoint>>,
    client: reqwest::Client,
    posting: Semaphore,
    waiting: Arc<Semaphore>,
}

impl Webhooks {
    /// # Errors
    /// The HTTP client cannot be built.
    pub(crate) fn new(endpoints: Vec<WebhookEndpoint>) -> reqwest::Result<Arc<Self>> {
        let client = reqwest::Client::builder()
            .timeout(POST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let webhooks = Self {
            endpoints: RwLock::default(),
            client,
            posting: Semaphore::new(CONCURRENT_POSTS),
            waiting: Arc::new(Semaphore::new(WAITING_EVENTS)),
        };
        webhooks.replace(endpoints);
        Ok(Arc::new(webhooks))
    }

    /// Makes `endpoints` the only ones.
    pub(crate) fn replace(&self, endpoints: Vec<WebhookEndpoint>) {
        let by_tenant = endpoints.into_iter().map(|e| (e.tenant.clone(), e));
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = by_tenant.collect();
    }

    /// Adds `endpoints`, replacing those of the same tenant.
    pub(crate) fn add(&self, endpoints: Vec<WebhookEndpoint>) {
        self.endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(endpoints.into_iter().map(|e| (e.tenant.clone(), e)));
    }

    pub(crate) fn knows(&self, channel: Channel, tenant: &str) -> bool {
        self.target(channel, tenant).is_some()
    }

    /// A place among the waiting events, if one is free.
    pub(crate) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    /// Posts until a 2xx; every attempt looks the endpoint up and signs anew.
    pub(crate) async fn deliver(&self, channel: Channel, tenant: &str, body: &str) -> Outcome {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(backoff(attempt)).await;
            }
            if self.post(channel, tenant, body).await {
                return Outcome::Delivered;
            }
        }
        tracing::warn!(tenant, "Gave a webhook up after {ATTEMPTS} attempts");
        Outcome::Abandoned
    }

    async fn post(&self, channel: Channel, tenant: &str, body: &str) -> bool {
        let Some((url, secret)) = self.target(channel, tenant) else {
            return false;
        };
        let _permit = self.posting.acquire().await.expect("the semaphore is never closed");
        let signature = channel.sign(&secret, Timestamp::now().as_second(), body);
        let sent = self
            .client
            .post(url)
            .header("Content-Type", "application/json")
            .header(channel.header(), signature)
            .body(body.to_owned())
            .send()
            .await;
        sent.is_ok_and(|answer| answer.status().is_success())
    }

    fn target(&self, channel: Channel, tenant: &str) -> Option<(String, String)> {
        let endpoints = self.endpoints.read().unwrap_or_else(PoisonError::into_inner);
        let (url, secret) = channel.target(endpoints.get(tenant)?);
        (!url.is_empty()).then(|| (url.to_owned(), secret.to_owned()))
    }
}

/// HMAC-SHA256 in hexadecimal digits.
fn digest(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any size");
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

/// Doubling from 100 ms to 5 s, with up to a quarter of jitter.
fn backoff(attempt: u32) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1u32 << attempt.saturating_sub(1).min(16));
    doubled.min(LONGEST_BACKOFF).mul_f64(1.0 - rand::random::<f64>() / 4.0)
}
