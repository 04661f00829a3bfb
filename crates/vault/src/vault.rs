mod turn;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diesel::define_sql_function;
use fault::Fault;
use ids::TenantId;
use pg::Pg;
use serde::Deserialize;
use serde_json::Value;

use crate::cipher::{KEY, Key, parts, prefix};
use crate::index::Index;
use crate::master::Master;

/// How long a tenant's keys are used without looking for newer ones.
const FRESH: Duration = Duration::from_secs(60);
/// The data key that the key of digests is derived from; it is never removed.
const FIRST: i32 = 1;

define_sql_function! {
    /// The keys of a tenant.
    fn data_keys_of(tenant: diesel::sql_types::Uuid) -> diesel::sql_types::Jsonb;
}
define_sql_function! {
    /// Adds a key unless the tenant has that version; all keys of it then.
    fn data_key_add(tenant: diesel::sql_types::Uuid, version: diesel::sql_types::Integer,
        wrapped: diesel::sql_types::Binary, master: diesel::sql_types::Text) -> diesel::sql_types::Jsonb;
}

/// Seals and opens values of a service; clones share the keys.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    pg: Pg,
    master: Master,
    rings: Mutex<HashMap<TenantId, Ring>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Vault").field(&self.inner.pg.service()).finish()
    }
}

/// A tenant's keys as they were read.
#[derive(Clone)]
struct Ring {
    keys: Arc<Keys>,
    read: Instant,
}

struct Keys {
    versions: BTreeMap<i32, Key>,
    index: Option<Index>,
}

#[derive(Deserialize)]
struct Wrapped {
    version: i32,
    wrapped: String,
    master: String,
}

impl Vault {
    /// A vault whose data keys are kept in the schema of this service.
    pub fn new(pg: Pg, master: Master) -> Self {
        Self { inner: Arc::new(Inner { pg, master, rings: Mutex::default() }) }
    }

    /// Seals a value with the newest key of its tenant; `place` names table, column and row.
    ///
    /// # Errors
    /// [`Fault`] of the database; Internal when no master key opens the tenant's.
    pub async fn seal(&self, tenant: TenantId, place: &str, plain: &[u8]) -> Result<Vec<u8>, Fault> {
        let ring = self.ring(tenant).await?;
        let (version, key) =
            ring.versions.last_key_value().ok_or_else(|| Fault::internal("a tenant without a data key"))?;
        let sealed = key.seal(&bound(tenant, place), plain);
        Ok([prefix(*version), sealed].concat())
    }

    /// Opens what was sealed for the same tenant and place, with whichever key.
    ///
    /// # Errors
    /// [`Fault`] of the database; Internal when it was not sealed so.
    pub async fn open(&self, tenant: TenantId, place: &str, sealed: &[u8]) -> Result<Vec<u8>, Fault> {
        let (version, rest) = parts(sealed).ok_or_else(|| Fault::internal("a column that must be sealed is not"))?;
        let mut ring = self.ring(tenant).await?;
        if !ring.versions.contains_key(&version) {
            ring = self.read(tenant).await?;
        }
        let opened = ring.versions.get(&version).and_then(|key| key.open(&bound(tenant, place), rest));
        opened.ok_or_else(|| Fault::internal("a sealed value does not open"))
    }

    /// Digest by which a value is found again: the same for the same tenant, place and value, for ever (PAY-12).
    ///
    /// `place` names table and column. The key is derived from the tenant's first data key, which stays when it gets
    /// successors and when the master key turns, so that what was stored once is found always.
    ///
    /// # Errors
    /// [`Fault`] of the database; Internal when no master key opens the tenant's.
    pub async fn digest(&self, tenant: TenantId, place: &str, value: &[u8]) -> Result<Vec<u8>, Fault> {
        let ring = self.ring(tenant).await?;
        let index = ring.index.as_ref().ok_or_else(|| Fault::internal("a tenant without its first data key"))?;
        Ok(index.digest(place, value))
    }

    async fn ring(&self, tenant: TenantId) -> Result<Arc<Keys>, Fault> {
        let known = self.rings().get(&tenant).filter(|ring| ring.read.elapsed() < FRESH).cloned();
        match known {
            Some(ring) => Ok(ring.keys),
            None => self.read(tenant).await,
        }
    }

    /// Reads the tenant's keys; its first is made when there is none.
    async fn read(&self, tenant: TenantId) -> Result<Arc<Keys>, Fault> {
        let wrapped = self.wrapped(tenant).await?;
        if wrapped.is_empty() { self.add(tenant, FIRST).await } else { self.keep(tenant, &wrapped) }
    }

    async fn wrapped(&self, tenant: TenantId) -> Result<Vec<Wrapped>, Fault> {
        let rows: Value = self.inner.pg.ask("vault.read", diesel::select(data_keys_of(tenant.uuid()))).await?;
        serde_json::from_value(rows).map_err(Fault::internal)
    }

    /// Of many who add the same version one does; all get that one's key.
    async fn add(&self, tenant: TenantId, version: i32) -> Result<Arc<Keys>, Fault> {
        let bytes: [u8; KEY] = rand::random();
        let wrapped = self.inner.master.wrap(&bound(tenant, &version.to_string()), &bytes);
        let query = diesel::select(data_key_add(tenant.uuid(), version, wrapped, self.inner.master.name().to_owned()));
        let rows: Value = self.inner.pg.call("vault.add", query).await?;
        let rows: Vec<Wrapped> = serde_json::from_value(rows).map_err(Fault::internal)?;
        self.keep(tenant, &rows)
    }

    fn keep(&self, tenant: TenantId, wrapped: &[Wrapped]) -> Result<Arc<Keys>, Fault> {
        let mut keys = Keys { versions: BTreeMap::new(), index: None };
        for one in wrapped {
            let bytes = self.unwrap(tenant, one)?;
            if one.version == FIRST {
                keys.index = Some(Index::new(&bytes));
            }
            keys.versions.insert(one.version, Key::new(&bytes));
        }
        let keys = Arc::new(keys);
        self.rings().insert(tenant, Ring { keys: Arc::clone(&keys), read: Instant::now() });
        Ok(keys)
    }

    fn unwrap(&self, tenant: TenantId, one: &Wrapped) -> Result<[u8; KEY], Fault> {
        let wrapped = hex::decode(&one.wrapped).map_err(Fault::internal)?;
        let bytes = self.inner.master.unwrap(&one.master, &bound(tenant, &one.version.to_string()), &wrapped);
        bytes.ok_or_else(|| Fault::internal("no master key that is here opens a data key"))
    }

    fn rings(&self) -> MutexGuard<'_, HashMap<TenantId, Ring>> {
        self.inner.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tenant's id has always 16 bytes, so that tenant and place stay apart.
fn bound(tenant: TenantId, place: &str) -> Vec<u8> {
    [tenant.uuid().as_bytes(), place.as_bytes()].concat()
}
