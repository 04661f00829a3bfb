//! Turning keys, and sealing anew what older ones sealed.

use std::collections::BTreeMap;
use std::time::Duration;

use diesel::define_sql_function;
use diesel::sql_types::{Binary, Integer, Text, Uuid as SqlUuid};
use fault::Fault;
use ids::TenantId;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Vault, bound};
use crate::cipher::prefix;
use crate::sealed::Sealed;

/// Age at which a data key gets a successor, days.
const DAYS: i32 = 90;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(3600);
/// Values that are sealed anew at a time.
const PAGE: i32 = 100;

define_sql_function! {
    /// Wraps a key anew unless somebody did.
    fn data_key_rewrap(tenant: SqlUuid, version: Integer, before: Text, wrapped: Binary, master: Text) -> Bool;
}
define_sql_function! {
    /// Keys of all tenants that are too old, wrapped with another master key, or not the newest.
    fn data_keys_due(master: Text, days: Integer) -> Jsonb;
}
define_sql_function! {
    /// Sealed values of a tenant that begin with less than this.
    fn sealed_below(tenant: SqlUuid, below: Binary, most: Integer) -> Jsonb;
}
define_sql_function! {
    /// Replaces a sealed value unless somebody did.
    fn sealed_again(tenant: SqlUuid, place: Text, before: Binary, after: Binary) -> Bool;
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
struct Older {
    tenant: TenantId,
    /// Values that begin with less than this are sealed with an older key.
    below: Vec<u8>,
}

#[derive(Deserialize)]
struct Found {
    place: String,
    sealed: Sealed,
}

impl Vault {
    /// Turns keys and seals anew until cancelled; a job of every service with sealed columns.
    pub async fn turn_keys_for_ever(self, cancel: CancellationToken) {
        let service = self.inner.pg.service();
        loop {
            match self.turn_keys().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(service, count, "Values were sealed with newer keys"),
                Err(error) => tracing::warn!(service, %error, "Could not turn the keys"),
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Turns the keys that are due, and seals anew what older ones sealed; how many values.
    ///
    /// # Errors
    /// [`Fault`] of the database. What goes wrong with one key or value is logged, still opens, and comes again.
    pub async fn turn_keys(&self) -> Result<usize, Fault> {
        let mut count = 0;
        for older in self.turn().await? {
            count += self.seal_anew(&older).await?;
        }
        Ok(count)
    }

    /// Gives keys that are too old a successor, wraps anew what another master key wrapped, and says whose values may be
    /// sealed with an older key.
    async fn turn(&self) -> Result<Vec<Older>, Fault> {
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

    async fn seal_anew(&self, older: &Older) -> Result<usize, Fault> {
        let mut count = 0;
        loop {
            let query = diesel::select(sealed_below(older.tenant.uuid(), older.below.clone(), PAGE));
            let found: Value = self.inner.pg.ask("vault.sealed_below", query).await?;
            let found: Vec<Found> = serde_json::from_value(found).map_err(Fault::internal)?;
            let mut renewed = 0;
            for one in found {
                let place = one.place.clone();
                match self.seal_again(older.tenant, one).await {
                    Ok(again) => renewed += usize::from(again),
                    Err(error) => tracing::error!(tenant = %older.tenant, place, %error, "A value was not sealed anew"),
                }
            }
            // What cannot be sealed anew is found again: a page of nothing else is the end.
            if renewed == 0 {
                return Ok(count);
            }
            count += renewed;
        }
    }

    /// False when the value has changed meanwhile.
    async fn seal_again(&self, tenant: TenantId, one: Found) -> Result<bool, Fault> {
        let plain = self.open(tenant, &one.place, one.sealed.as_ref()).await?;
        let after = self.seal(tenant, &one.place, &plain).await?;
        let query = diesel::select(sealed_again(tenant.uuid(), one.place, one.sealed.into_bytes(), after));
        Ok(self.inner.pg.call("vault.sealed_again", query).await?)
    }
}
