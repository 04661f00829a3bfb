//! The endpoint for webhooks on a socket, to which the second provider posts what it notifies of.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use fault::{Fault, Kind};
use secrecy::ExposeSecret;
use serde_json::Value;
use simulators::WebhookEndpoint;
use testkit::eventually;
use tokio_util::sync::DropGuard;

use super::{SOON, World};

/// Hands on what is posted, and loses the first answer of each notification, so that the provider posts it again.
pub struct Door {
    world: World,
    addr: SocketAddr,
    posts: Posts,
    _open: DropGuard,
}

#[derive(Clone, Default)]
struct Posts(Arc<Mutex<Vec<Post>>>);

/// A notification that was posted, and what the service said to it.
#[derive(Debug, Clone)]
struct Post {
    body: Vec<u8>,
    signature: String,
    answer: StatusCode,
}

impl Posts {
    fn lock(&self) -> MutexGuard<'_, Vec<Post>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Opens an endpoint of this tenant.
    pub async fn open_door(&self) -> Result<Door> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let (addr, posts) = (listener.local_addr()?, Posts::default());
        let router = Router::new().route("/", post(take)).with_state((self.clone(), posts.clone()));
        let closing = self.running.stop.child_token();
        let closed = closing.clone().cancelled_owned();
        self.running.tasks.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(closed).await });
        Ok(Door { world: self.clone(), addr, posts, _open: closing.drop_guard() })
    }
}

async fn take(State((world, posts)): State<(World, Posts)>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers.get("HmacSignature").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let answer = match world.push_to("adyen", &body, &signature).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(fault) if fault.kind() == Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut posts = posts.lock();
    let known = posts.iter().any(|post| post.body == body && post.answer.is_success());
    posts.push(Post { body: body.to_vec(), signature, answer });
    if known || !answer.is_success() { answer } else { StatusCode::BAD_GATEWAY }
}

impl Door {
    /// From now on the provider posts here, signed with the tenant's secret or another.
    pub fn let_in(&self, other_secret: Option<&str>) {
        let ours = self.world.settings.webhook_secret("payments.second", self.world.tenant);
        self.world.running.simulators.add_webhook(WebhookEndpoint {
            tenant: self.world.tenant.to_string(),
            second_url: format!("http://{}/", self.addr),
            second_secret: other_secret.unwrap_or(ours.expose_secret()).to_owned(),
            ..WebhookEndpoint::default()
        });
    }

    /// Waits until so many posts were turned away as not genuine.
    pub async fn turned_away(&self, least: usize) -> Result<()> {
        let refused = || self.posts.lock().iter().filter(|post| post.answer == StatusCode::UNAUTHORIZED).count();
        eventually(SOON, || async { Ok((refused() >= least).then_some(())) }).await
    }

    /// Waits until so many notifications came in, each of them twice; how often each code came.
    pub async fn twice(&self, notifications: usize) -> Result<BTreeMap<String, usize>> {
        eventually(SOON, || async {
            let mut bodies: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            for post in self.posts.lock().iter().filter(|post| post.answer.is_success()) {
                *bodies.entry(post.body.clone()).or_default() += 1;
            }
            let all = bodies.len() == notifications && bodies.values().all(|times| *times == 2);
            let codes = bodies.keys().map(|body| code(body)).collect::<Result<Vec<_>>>()?;
            let mut counted: BTreeMap<String, usize> = BTreeMap::new();
            codes.into_iter().for_each(|code| *counted.entry(code).or_default() += 1);
            Ok(all.then_some(counted))
        })
        .await
    }

    /// Posts the first genuine notification once more, as it was signed or with another word in it.
    pub async fn again(&self, change: Option<(&str, &str)>) -> Result<u16> {
        let taken = self.posts.lock().iter().find(|post| post.answer.is_success()).cloned();
        let Post { body, signature, .. } = taken.context("nothing was taken in")?;
        let body = match change {
            Some((from, to)) => String::from_utf8(body)?.replace(from, to).into_bytes(),
            None => body,
        };
        let url = format!("http://{}/", self.addr);
        let sent = self.world.http.post(url).header("HmacSignature", signature).body(body).send();
        Ok(sent.await.map_err(Fault::internal)?.status().as_u16())
    }
}

fn code(body: &[u8]) -> Result<String> {
    let body: Value = serde_json::from_slice(body)?;
    let code = body["notificationItems"][0]["NotificationRequestItem"]["eventCode"].as_str();
    Ok(code.context("a notification has a code")?.to_owned())
}
