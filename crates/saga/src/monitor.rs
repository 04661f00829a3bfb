//! Tells people of sagas that do not get on: a gauge, one line in the log, one event (SAG-06).

use std::collections::HashMap;
use std::time::Duration;

use ctx::{Cause, Ctx};
use diesel::sql_types::{Array, Binary, Integer, Jsonb, Text, Uuid as SqlUuid};
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use jiff::Timestamp;
use pg::Pg;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Definition;
use crate::advance::step_name;

/// A saga is due and nobody looks at it for this long.
const OVERDUE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(10);
/// Sagas that are told of in one look.
const AT_ONCE: i32 = 100;

diesel::define_sql_function! {
    /// Sagas that do not get on.
    fn saga_stuck(overdue_s: Integer, most: Integer) -> Jsonb;
}
diesel::define_sql_function! {
    /// Marks that people were told of a stuck saga; false when they were before.
    fn saga_alert(tenant: SqlUuid, saga: SqlUuid, status: Text, types: Array<Text>, topics: Array<Text>,
        payloads: Array<Binary>, meta: Jsonb) -> Bool;
}

/// A saga that does not get on.
#[derive(Debug, Clone)]
pub struct Stuck {
    /// Its tenant.
    pub tenant: TenantId,
    /// The saga.
    pub saga_id: Uuid,
    /// Definition it runs by.
    pub kind: String,
    /// Step it is at.
    pub step: &'static str,
    /// attention, or running or waiting when nobody looked at it in time.
    pub status: String,
}

#[derive(Deserialize)]
struct Found {
    counts: HashMap<String, i64>,
    fresh: Vec<(Uuid, Uuid, String, i16, i16, String)>,
}

/// Makes the event of a stuck saga, where the service has one.
pub type Announce = fn(&Stuck) -> Option<NewEvent>;

/// Looks for sagas of a service that do not get on.
#[derive(Debug, Clone)]
pub struct Monitor {
    pg: Pg,
    definitions: Vec<Definition>,
    announce: Announce,
}

impl Monitor {
    /// A monitor that says of a stuck saga what `announce` makes of it.
    pub fn new(pg: Pg, definitions: Vec<Definition>, announce: Announce) -> Self {
        Self { pg, definitions, announce }
    }

    /// Looks every ten seconds until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            if let Err(error) = self.look().await {
                tracing::warn!(service = self.pg.service(), %error, "Could not look for stuck sagas");
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Looks once; how many sagas were told of for the first time.
    ///
    /// # Errors
    /// [`pg::Error`]; what was not told of is found again.
    pub async fn look(&self) -> Result<usize, pg::Error> {
        let seconds = i32::try_from(OVERDUE.as_secs()).unwrap_or(i32::MAX);
        let found: Value =
            self.pg.worker_call("saga.stuck", diesel::select(saga_stuck(seconds, AT_ONCE))).boxed().await?;
        let found: Found = serde_json::from_value(found).map_err(Fault::internal)?;
        for table in &self.definitions {
            let count = found.counts.get(table.kind).copied().unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "nobody has 2^52 stuck sagas")]
            metrics::gauge!("saga_stuck", "service" => self.pg.service(), "kind" => table.kind).set(count as f64);
        }
        let mut told = 0;
        for (tenant, saga_id, kind, rev, step, status) in found.fresh {
            let table = self.definitions.iter().find(|table| table.kind == kind && table.rev == rev);
            let step = table.map_or("end", |table| step_name(table, step));
            let stuck = Stuck { tenant: TenantId::from_uuid(tenant), saga_id, kind, step, status };
            told += usize::from(self.tell(&stuck).await?);
        }
        Ok(told)
    }

    async fn tell(&self, stuck: &Stuck) -> Result<bool, pg::Error> {
        let cause = Cause { correlation_id: Uuid::now_v7().to_string(), ..Cause::default() };
        let ctx = Ctx::service(self.pg.service(), stuck.tenant, cause, Timestamp::now());
        let events: Vec<NewEvent> = (self.announce)(stuck).into_iter().collect();
        let query = diesel::select(saga_alert(
            stuck.tenant.uuid(),
            stuck.saga_id,
            stuck.status.clone(),
            events.iter().map(|event| event.type_name).collect::<Vec<_>>(),
            events.iter().map(|event| event.topic).collect::<Vec<_>>(),
            events.iter().map(|event| event.payload.clone()).collect::<Vec<_>>(),
            eventlog::meta(&ctx),
        ));
        // Boxed, for the compiler cannot show that it may change threads (rust-lang/rust#102211).
        let first: bool = self.pg.call("saga.alert", query).boxed().await?;
        if first {
            tracing::error!(saga = %stuck.saga_id, tenant = %stuck.tenant, kind = stuck.kind, step = stuck.step,
                status = stuck.status, "a saga is stuck");
        }
        Ok(first)
    }
}
