use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use diesel::define_sql_function;
use fault::Fault;
use ids::TenantId;
use pg::Pg;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::cipher::{KEY, Key, parts, prefix};
use crate::master::Master;

/// How long a tenant's keys are used without looking for newer ones.
const FRESH: Duration = Duration::from_secs(60);
/// Age at which a data key gets a successor, days.
const DAYS: i32 = 90;

define_sql_function! {
    /// The keys of a tenant.
    fn data_keys_of(tenant: diesel::sql_types::Uuid) -> diesel::sql_types::Jsonb;
}
define_sql_function! {
    /// Adds a key unless the tenant has that version; all keys of it then.
    fn data_key_add(tenant: diesel::sql_types::Uuid, version: diesel::sql_types::Integer,
        wrapped: diesel::sql_types::Binary, master: diesel::sql_types::Text) -> diesel::sql_types::Jsonb;
}
define_sql_function! {
    /// Wraps a key anew unless somebody did.
    fn data_key_rewrap(tenant: diesel::sql_types::Uuid, version: diesel::sql_types::Integer, before: diesel::sql_types::Text,
        wrapped: diesel::sql_types::Binary, master: diesel::sql_types::Text) -> diesel::sql_types::Bool;
}
define_sql_function! {
    /// Keys of all tenants that are too old, wrapped with another master key, or not the newest.
    fn data_keys_due(master: diesel::sql_types::Text, days: diesel::sql_types::Integer) -> diesel::sql_types::Jsonb;
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
    keys: Arc<BTreeMap<i32, Key>>,
    read: Instant,
}

#[derive(Deserialize)]
struct Wrapped {
    version: i32,
    wrapped: String,
    master: String,
}

#[derive(Deserialize)]
struct Due {
    tenant_id: Uuid,
    version: i32,
    newest: i32,
    old: bool,
    elsewhere: bool,
}

/// A tenant with values that an older key may have sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Older {
    /// The tenant.
    pub tenant: TenantId,
    /// Values that begin with less than this are sealed with an older key.
    pub below: Vec<u8>,
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
        let (version, key) = ring.last_key_value().ok_or_else(|| Fault::internal("a tenant without a data key"))?;
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
        if !ring.contains_key(&version) {
            ring = self.read(tenant).await?;
        }
        let opened = ring.get(&version).and_then(|key| key.open(&bound(tenant, place), rest));
        opened.ok_or_else(|| Fault::internal("a sealed value does not open"))
    }

    /// Gives keys that are too old a successor, wraps anew what another master key wrapped, and says whose values may be
    /// sealed with an older key.
    ///
    /// # Errors
    /// [`Fault`] of the database. What goes wrong with one key is logged and comes again.
    pub async fn turn(&self) -> Result<Vec<Older>, Fault> {
        let master = self.inner.master.name().to_owned();
        let due: Value = self.inner.pg.worker_call("vault.due", diesel::select(data_keys_due(master, DAYS))).await?;
        let due: Vec<Due> = serde_json::from_value(due).map_err(Fault::internal)?;
        let mut newest = BTreeMap::new();
        for key in due {
            let tenant = TenantId::from_uuid(key.tenant_id);
            let mut latest = key.newest;
            if let Err(error) = self.turn_one(tenant, &key, &mut latest).await {
                tracing::error!(%tenant, version = key.version, %error, "A data key did not turn");
            }
            let known = newest.entry(tenant).or_insert(latest);
            *known = latest.max(*known);
        }
        let older = newest.into_iter().filter(|(_, newest)| *newest > 1);
        Ok(older.map(|(tenant, newest)| Older { tenant, below: prefix(newest) }).collect())
    }

    async fn turn_one(&self, tenant: TenantId, key: &Due, newest: &mut i32) -> Result<(), Fault> {
        if key.elsewhere {
            self.rewrap(tenant, key.version).await?;
        }
        if key.old && key.version == key.newest {
            self.add(tenant, key.version + 1).await?;
            *newest = key.version + 1;
            metrics::counter!("vault_keys_made_total", "service" => self.inner.pg.service()).increment(1);
            tracing::info!(%tenant, version = key.version + 1, "A data key got a successor");
        }
        Ok(())
    }

    async fn rewrap(&self, tenant: TenantId, version: i32) -> Result<(), Fault> {
        let all = self.wrapped(tenant).await?;
        let Some(one) = all.iter().find(|one| one.version == version) else { return Ok(()) };
        let place = bound(tenant, &version.to_string());
        let bytes = self.unwrap(tenant, one)?;
        let again = self.inner.master.wrap(&place, &bytes);
        let (before, master) = (one.master.clone(), self.inner.master.name().to_owned());
        let query = diesel::select(data_key_rewrap(tenant.uuid(), version, before, again, master));
        let _: bool = self.inner.pg.call("vault.rewrap", query).await?;
        Ok(())
    }

    async fn ring(&self, tenant: TenantId) -> Result<Arc<BTreeMap<i32, Key>>, Fault> {
        let known = self.rings().get(&tenant).filter(|ring| ring.read.elapsed() < FRESH).cloned();
        match known {
            Some(ring) => Ok(ring.keys),
            None => self.read(tenant).await,
        }
    }

    /// Reads the tenant's keys; its first is made when there is none.
    async fn read(&self, tenant: TenantId) -> Result<Arc<BTreeMap<i32, Key>>, Fault> {
        let wrapped = self.wrapped(tenant).await?;
        if wrapped.is_empty() { self.add(tenant, 1).await } else { self.keep(tenant, &wrapped) }
    }

    async fn wrapped(&self, tenant: TenantId) -> Result<Vec<Wrapped>, Fault> {
        let rows: Value = self.inner.pg.ask("vault.read", diesel::select(data_keys_of(tenant.uuid()))).await?;
        serde_json::from_value(rows).map_err(Fault::internal)
    }

    /// Of many who add the same version one does; all get that one's key.
    async fn add(&self, tenant: TenantId, version: i32) -> Result<Arc<BTreeMap<i32, Key>>, Fault> {
        let bytes: [u8; KEY] = rand::random();
        let wrapped = self.inner.master.wrap(&bound(tenant, &version.to_string()), &bytes);
        let query = diesel::select(data_key_add(tenant.uuid(), version, wrapped, self.inner.master.name().to_owned()));
        let rows: Value = self.inner.pg.call("vault.add", query).await?;
        let rows: Vec<Wrapped> = serde_json::from_value(rows).map_err(Fault::internal)?;
        self.keep(tenant, &rows)
    }

    fn keep(&self, tenant: TenantId, wrapped: &[Wrapped]) -> Result<Arc<BTreeMap<i32, Key>>, Fault> {
        let keys = wrapped.iter().map(|one| Ok((one.version, Key::new(&self.unwrap(tenant, one)?))));
        let keys = Arc::new(keys.collect::<Result<BTreeMap<_, _>, Fault>>()?);
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
