use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use contract::identity::v1::GetJwksRequest;
use contract::identity::v1::identity_service_client::IdentityServiceClient;
use jsonwebtoken::DecodingKey;
use tokio::sync::Mutex;

use crate::client::PeerClient;

/// Age at which a key set is fetched again although it knows the key.
const FRESH: Duration = Duration::from_mins(5);
/// Pause between two fetches for keys that nobody knows: strangers cannot make us hammer identity.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(30);
/// Pause after a fetch that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Age at which keys are not believed any more although identity is away.
const LAST_GOOD: Duration = Duration::from_hours(12);

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

/// Public keys of identity, by their ids.
pub(crate) struct Keys {
    identity: PeerClient,
    known: RwLock<Arc<Known>>,
    gate: Mutex<Gate>,
}

impl Keys {
    pub(crate) fn new(identity: PeerClient) -> Self {
        Self { identity, known: RwLock::default(), gate: Mutex::default() }
    }

    pub(crate) async fn find(&self, kid: &str) -> Option<DecodingKey> {
        let known = self.known();
        match (known.keys.get(kid), known.age()) {
            (Some(key), Some(age)) if age < FRESH => Some(key.clone()),
            (Some(key), Some(age)) if age < LAST_GOOD => Some(self.refreshed(kid, key).await),
            _ => self.fetch_for(kid).await,
        }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().expect("no panic while the lock is held"))
    }

    /// One request renews an old set; all others go on with the last good one.
    async fn refreshed(&self, kid: &str, last_good: &DecodingKey) -> DecodingKey {
        if let Ok(mut gate) = self.gate.try_lock()
            && gate.open(false)
        {
            self.fetch(&mut gate).await;
        }
        self.known().keys.get(kid).unwrap_or(last_good).clone()
    }

    /// A key that we do not know: wait for one fetch, if one is allowed.
    async fn fetch_for(&self, kid: &str) -> Option<DecodingKey> {
        let before = self.known().fetched;
        let mut gate = self.gate.lock().await;
        let loaded = self.known().fetched.is_some();
        // Somebody else fetched while we waited for the lock.
        let renewed = self.known().fetched != before;
        if !renewed && gate.open(loaded) {
            if loaded {
                gate.unknown = Some(Instant::now());
            }
            self.fetch(&mut gate).await;
        }
        drop(gate);
        self.known().keys.get(kid).cloned()
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
