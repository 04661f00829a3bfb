use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use contract::identity::v1::GetJwksRequest;
use contract::identity::v1::identity_service_client::IdentityServiceClient;
use jsonwebtoken::DecodingKey;
use tokio::sync::Mutex;

use crate::client::PeerClient;

/// Age at which a key set is fetched again although it knows the key.
const FRESH: Duration = Duration::from_secs(5 * 60);
/// Pause between two fetches for keys that nobody knows: strangers cannot make us hammer identity.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(30);
/// Pause after a fetch that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Age at which keys are not believed any more although identity is away.
const LAST_GOOD: Duration = Duration::from_secs(12 * 3600);

#[derive(Default)]
struct Known {
    keys: HashMap<String, DecodingKey>,
    fetched: Option<Instant>,
}

impl Known {
    fn age(&self) -> Option<Duration> {
        self.fetched.map(|at| at.elapsed())
    }
}

/// When a fetch is allowed again.
#[derive(Default)]
struct Gate {
    unknown: Option<Instant>,
    failed: Option<Instant>,
}

impl Gate {
    fn open(&self, loaded: bool) -> bool {
        let over = |since: Option<Instant>, pause| since.is_none_or(|since: Instant| since.elapsed() >= pause);
        over(self.failed, FAILED_PAUSE) && (!loaded || over(self.unknown, UNKNOWN_PAUSE))
    }
}

/// What is known of a key.
pub(crate) enum Found {
    /// It is one of identity's.
    Key(DecodingKey),
    /// It is none of identity's.
    None,
    /// Nobody can say: identity's keys could not be loaded.
    Away,
}

/// Public keys of identity, by their ids.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Inner>);

struct Inner {
    identity: PeerClient,
    known: RwLock<Arc<Known>>,
    gate: Mutex<Gate>,
}

impl Keys {
    pub(crate) fn new(identity: PeerClient) -> Self {
        Self(Arc::new(Inner { identity, known: RwLock::default(), gate: Mutex::default() }))
    }

    pub(crate) async fn find(&self, kid: &str) -> Found {
        let known = self.0.known();
        match (known.keys.get(kid), known.age()) {
            (Some(key), Some(age)) if age < FRESH => Found::Key(key.clone()),
            (Some(key), Some(age)) if age < LAST_GOOD => {
                // Nobody waits for the renewal: the last good key serves meanwhile.
                tokio::spawn(Arc::clone(&self.0).renew());
                Found::Key(key.clone())
            }
            _ => {
                // On its own task: a caller who leaves must not cut short a fetch that others wait for.
                let fetch = tokio::spawn(Arc::clone(&self.0).fetch_unknown(known.fetched));
                if let Err(error) = fetch.await {
                    tracing::error!(%error, "fetching the keys of identity panicked");
                }
                let known = self.0.known();
                match known.keys.get(kid) {
                    _ if known.age().is_none_or(|age| age >= LAST_GOOD) => Found::Away,
                    Some(key) => Found::Key(key.clone()),
                    None => Found::None,
                }
            }
        }
    }
}

impl Inner {
    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().expect("no panic while the lock is held"))
    }

    /// An old set: one fetch at a time.
    async fn renew(self: Arc<Self>) {
        if let Ok(mut gate) = self.gate.try_lock()
            && self.known().age().is_none_or(|age| age >= FRESH)
            && gate.open(false)
        {
            self.fetch(&mut gate).await;
        }
    }

    /// A key that was not in the set fetched at `before`: one fetch, if one is allowed.
    async fn fetch_unknown(self: Arc<Self>, before: Option<Instant>) {
        let mut gate = self.gate.lock().await;
        let now = self.known().fetched;
        // Somebody else fetched while we waited for the lock.
        if now == before && gate.open(now.is_some()) {
            if now.is_some() {
                gate.unknown = Some(Instant::now());
            }
            self.fetch(&mut gate).await;
        }
    }

    async fn fetch(&self, gate: &mut Gate) {
        let answer = IdentityServiceClient::new(self.identity.clone()).get_jwks(GetJwksRequest {}).await;
        match answer {
            Ok(jwks) => {
                let usable = jwks.into_inner().keys.into_iter().filter(|key| key.kty == "OKP" && key.crv == "Ed25519");
                let keys = usable.filter_map(|key| Some((key.kid, DecodingKey::from_ed_components(&key.x).ok()?)));
                let known = Known { keys: keys.collect(), fetched: Some(Instant::now()) };
                *self.known.write().expect("no panic while the lock is held") = Arc::new(known);
                gate.failed = None;
            }
            Err(status) => {
                gate.failed = Some(Instant::now());
                tracing::warn!(code = ?status.code(), "the keys of identity could not be fetched; the last ones are kept");
            }
        }
    }
}
