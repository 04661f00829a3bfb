use std::time::{Duration, Instant};

use moka::Expiry;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use uuid::Uuid;

use super::{Found, Stamp};

/// Longest wait for Redis; the database is faster than that.
const PATIENCE: Duration = Duration::from_millis(100);
/// Life of a stamp: longer than that of any copy. One that is gone ends its copies, which is never wrong.
const STAMPS: Duration = Duration::from_secs(900);
/// Most bytes of copies in memory.
const MEMORY: u64 = 64 << 20;
/// Most stamps in memory.
const MOST_STAMPS: u64 = 500_000;

/// Why a cache did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Redis said no.
    #[error("redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// It was down before.
    #[error("the cache is down")]
    Down,
}

/// Where copies are kept.
pub enum Backend {
    /// In this process.
    Memory {
        /// Copies.
        copies: moka::sync::Cache<String, Kept>,
        /// Stamps of scopes.
        stamps: moka::sync::Cache<String, Uuid>,
    },
    /// In Redis, for all processes.
    Redis(ConnectionManager),
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory { .. } => "Memory",
            Self::Redis(_) => "Redis",
        })
    }
}

/// A copy in memory.
#[derive(Clone)]
pub struct Kept {
    stamp: Stamp,
    bytes: Vec<u8>,
    life: Duration,
}

struct Life;

impl Expiry<String, Kept> for Life {
    fn expire_after_create(&self, _: &String, kept: &Kept, _: Instant) -> Option<Duration> {
        Some(kept.life)
    }

    fn expire_after_update(&self, _: &String, kept: &Kept, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(kept.life)
    }
}

impl Backend {
    /// In this process.
    pub fn memory() -> Self {
        let weight = |key: &String, kept: &Kept| u32::try_from(key.len() + kept.bytes.len() + 128).unwrap_or(u32::MAX);
        Self::Memory {
            copies: moka::sync::Cache::builder().max_capacity(MEMORY).weigher(weight).expire_after(Life).build(),
            stamps: moka::sync::Cache::builder().max_capacity(MOST_STAMPS).time_to_live(STAMPS).build(),
        }
    }

    /// In the Redis of a URL such as `redis://host:6379`; it is connected to when it is needed.
    ///
    /// # Errors
    /// [`BackendError::Redis`] for a URL that is none.
    pub fn redis(url: &str) -> Result<Self, BackendError> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_number_of_retries(1)
            .set_max_delay(PATIENCE);
        Ok(Self::Redis(ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, config)?))
    }

    /// The copy of a key when its stamps are those of now.
    pub(super) async fn look(&self, epoch: &str, scope: &str, key: &str) -> Result<Found, BackendError> {
        match self {
            Self::Memory { copies, stamps } => {
                let stamp = |name: &str| stamps.get_with(name.to_owned(), Uuid::now_v7);
                let now = join(stamp(epoch), stamp(scope));
                let kept = copies.get(key).filter(|kept| kept.stamp == now);
                Ok(Found { bytes: kept.map(|kept| kept.bytes), stamp: Some(now) })
            }
            Self::Redis(redis) => {
                let mut redis = redis.clone();
                let look = redis::cmd("MGET").arg(epoch).arg(scope).arg(key).query_async(&mut redis).await?;
                let [all, one, copy]: [Option<Vec<u8>>; 3] = look;
                let (all, one) = match (uuid(all.as_deref()), uuid(one.as_deref())) {
                    (Some(all), Some(one)) => (all, one),
                    (all, one) => (settle(&mut redis, epoch, all).await?, settle(&mut redis, scope, one).await?),
                };
                let now = join(all, one);
                let bytes = copy.and_then(|copy| copy.strip_prefix(&now).map(<[u8]>::to_vec));
                Ok(Found { bytes, stamp: Some(now) })
            }
        }
    }

    /// Keeps a copy under the stamps it was made with.
    pub(super) async fn put(
        &self,
        key: &str,
        stamp: &Stamp,
        bytes: Vec<u8>,
        life: Duration,
    ) -> Result<(), BackendError> {
        match self {
            Self::Memory { copies, .. } => {
                copies.insert(key.to_owned(), Kept { stamp: *stamp, bytes, life });
                Ok(())
            }
            Self::Redis(redis) => {
                let value = [&stamp[..], &bytes].concat();
                let mut set = redis::cmd("SET");
                set.arg(key).arg(value).arg("EX").arg(life.as_secs());
                Ok(set.query_async(&mut redis.clone()).await?)
            }
        }
    }

    /// Gives these names new stamps.
    pub(super) async fn stamp(&self, names: &[String]) -> Result<(), BackendError> {
        match self {
            Self::Memory { stamps, .. } => {
                names.iter().for_each(|name| stamps.insert(name.clone(), Uuid::now_v7()));
                Ok(())
            }
            Self::Redis(redis) => {
                let mut all = redis::pipe();
                for name in names {
                    let stamp = Uuid::now_v7().into_bytes();
                    all.cmd("SET").arg(name).arg(&stamp[..]).arg("EX").arg(STAMPS.as_secs()).ignore();
                }
                if names.is_empty() {
                    return Ok(());
                }
                Ok(all.query_async(&mut redis.clone()).await?)
            }
        }
    }
}

/// The stamp of a name that may have none: the first who sets one decides.
async fn settle(redis: &mut ConnectionManager, name: &str, known: Option<Uuid>) -> Result<Uuid, BackendError> {
    if let Some(known) = known {
        return Ok(known);
    }
    let fresh = Uuid::now_v7().into_bytes();
    let mut set = redis::cmd("SET");
    set.arg(name).arg(&fresh[..]).arg("NX").arg("EX").arg(STAMPS.as_secs());
    let _set: Option<String> = set.query_async(redis).await?;
    let now: Option<Vec<u8>> = redis::cmd("GET").arg(name).query_async(redis).await?;
    uuid(now.as_deref()).ok_or(BackendError::Down)
}

fn uuid(bytes: Option<&[u8]>) -> Option<Uuid> {
    bytes.and_then(|bytes| Uuid::from_slice(bytes).ok())
}

fn join(all: Uuid, one: Uuid) -> Stamp {
    let mut stamp = [0; 32];
    stamp[..16].copy_from_slice(all.as_bytes());
    stamp[16..].copy_from_slice(one.as_bytes());
    stamp
}
