//! Copies of answers: order details 5 min, lists of a user 2 min, counts 30 s (ORD-41).
//!
//! A copy belongs to a scope: an order, a user or a tenant. What is written ends every copy of its scopes: a copy carries
//! the stamp that its scope had before the database was asked, and counts only as long as the scope still has it. So a
//! reader who was slow cannot bring back what a writer ended. From just before a commit until the log shows it, what it
//! touches is in [doubt](doubt) and nobody of this process looks at copies of it; others hear of it by the log. Who does
//! not hear the log takes no copies at all. A cache that is down is a cache that has nothing.

mod backend;
pub mod doubt;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fault::Fault;
use ids::{OrderId, TenantId, UserId};
use prost::Message;
use uuid::Uuid;

pub use backend::{Backend, BackendError};

/// Life of an order's details.
pub const DETAILS: Duration = Duration::from_secs(300);
/// Life of a page of a user's list.
pub const LISTS: Duration = Duration::from_secs(120);
/// Life of a count.
pub const COUNTS: Duration = Duration::from_secs(30);

/// Who has not heard the log for so long takes no copies.
const DEAF: Duration = Duration::from_secs(2);
/// A cache that failed is left alone for so long.
const REST: Duration = Duration::from_secs(1);

/// Whose copies end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One order.
    Order(OrderId),
    /// The orders of a user.
    User(UserId),
    /// All orders of the tenant.
    Tenant,
}

impl Scope {
    fn key(self, tenant: TenantId) -> String {
        match self {
            Self::Order(id) => format!("{tenant}:{id}"),
            Self::User(id) => format!("{tenant}:{id}"),
            Self::Tenant => format!("{tenant}:all"),
        }
    }

    fn doubtful(self, tenant: TenantId) -> bool {
        doubt::is_doubtful(match self {
            Self::Order(id) => id.uuid(),
            Self::User(id) => id.uuid(),
            Self::Tenant => tenant.uuid(),
        })
    }
}

/// Which copy: its kind, whose it is, what exactly was asked, and how long it lives.
#[derive(Debug, Clone)]
pub struct Copy {
    /// "order", "list" or "count"; first part of its key.
    pub kind: &'static str,
    /// The tenant.
    pub tenant: TenantId,
    /// What ends it.
    pub scope: Scope,
    /// The question, when there are several in a scope.
    pub question: String,
    /// How long it lives at most.
    pub life: Duration,
}

impl Copy {
    fn key(&self) -> String {
        let whose = self.scope.key(self.tenant);
        match self.question.as_str() {
            "" => format!("om:{}:{whose}", self.kind),
            question => {
                let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, question.as_bytes()).simple();
                format!("om:{}:{whose}:{hash}", self.kind)
            }
        }
    }
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A copy.
    Hit,
    /// The database.
    Miss,
}

impl Source {
    /// The text of the header `x-cache`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
        }
    }
}

/// The cache of a process.
#[derive(Clone, Debug)]
pub struct Cache {
    backend: Arc<Backend>,
    born: Instant,
    /// Milliseconds after birth: when the log was heard last, and until when a failed cache rests.
    heard: Arc<AtomicU64>,
    rests_until: Arc<AtomicU64>,
}

impl Cache {
    /// A cache that takes no copies until [`Cache::heard`].
    pub fn new(backend: Backend) -> Self {
        Self { backend: Arc::new(backend), born: Instant::now(), heard: Arc::default(), rests_until: Arc::default() }
    }

    /// The copy, or the database's answer, of which a copy is kept.
    ///
    /// # Errors
    /// Those of `load`; never the cache's own.
    pub async fn answer<M, F>(&self, copy: &Copy, load: F) -> Result<(M, Source), Fault>
    where
        M: Message + Default,
        F: Future<Output = Result<M, Fault>>,
    {
        let found =
            if self.is_deaf() || copy.scope.doubtful(copy.tenant) { Found::default() } else { self.look(copy).await };
        let hit = found.bytes.as_deref().and_then(|bytes| M::decode(bytes).ok());
        let source = if hit.is_some() { Source::Hit } else { Source::Miss };
        metrics::counter!("cache_requests_total", "kind" => copy.kind, "outcome" => source.text()).increment(1);
        if let Some(message) = hit {
            return Ok((message, source));
        }
        let message = load.await?;
        if let Some(stamp) = found.stamp {
            let kept = self.backend.put(&copy.key(), &stamp, message.encode_to_vec(), copy.life).await;
            self.note(kept);
        }
        Ok((message, source))
    }

    /// Ends all copies of these scopes.
    ///
    /// # Errors
    /// When the cache is down; try again before copies are taken.
    pub async fn end(&self, scopes: &[(TenantId, Scope)]) -> Result<(), BackendError> {
        let keys: Vec<_> = scopes.iter().map(|(tenant, scope)| stamp_key(&scope.key(*tenant))).collect();
        let ended = self.backend.stamp(&keys).await;
        if ended.is_err() {
            self.note::<()>(Err(BackendError::Down));
        }
        ended
    }

    /// Ends every copy there is: nobody knows what was written while no process listened.
    ///
    /// # Errors
    /// As [`Cache::end`].
    pub async fn end_all(&self) -> Result<(), BackendError> {
        self.backend.stamp(&[EPOCH.to_owned()]).await
    }

    /// The log was read up to `then`, and what it showed has been ended.
    pub fn heard(&self, then: Instant) {
        self.heard.fetch_max(self.millis(then) + 1, Ordering::Relaxed);
    }

    /// Seconds since the log was heard.
    pub fn silence(&self) -> f64 {
        let heard = self.heard.load(Ordering::Relaxed);
        Duration::from_millis(self.millis(Instant::now()).saturating_sub(heard)).as_secs_f64()
    }

    fn is_deaf(&self) -> bool {
        let (now, heard) = (self.millis(Instant::now()), self.heard.load(Ordering::Relaxed));
        heard == 0
            || u128::from(now.saturating_sub(heard)) > DEAF.as_millis()
            || now < self.rests_until.load(Ordering::Relaxed)
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }

    async fn look(&self, copy: &Copy) -> Found {
        let stamp = stamp_key(&copy.scope.key(copy.tenant));
        self.note(self.backend.look(EPOCH, &stamp, &copy.key()).await).unwrap_or_default()
    }

    fn note<T>(&self, result: Result<T, BackendError>) -> Option<T> {
        if let Err(error) = &result {
            metrics::counter!("cache_errors_total").increment(1);
            tracing::debug!(%error, "the cache did not answer");
            let rest = self.millis(Instant::now() + REST);
            self.rests_until.store(rest, Ordering::Relaxed);
        }
        result.ok()
    }
}

const EPOCH: &str = "om:stamp:epoch";

fn stamp_key(scope: &str) -> String {
    format!("om:stamp:{scope}")
}

/// What a look found: a copy that counts, or the stamp to keep one with.
#[derive(Debug, Default)]
pub struct Found {
    bytes: Option<Vec<u8>>,
    stamp: Option<Stamp>,
}

/// Stamps of everything and of a scope, as they were before the database was asked.
pub type Stamp = [u8; 32];

#[cfg(test)]
mod tests;
