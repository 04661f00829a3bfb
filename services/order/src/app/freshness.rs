//! Keeps copies of orders fresh: hears the log, ends what it shows as changed, warms what is looked at most, and says
//! how far the projections are behind (ORD-39, ORD-41, ORD-42).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use diesel::sql_types::{Integer, Text};
use fault::Fault;
use ids::{OrderId, TenantId, UserId};
use jiff_diesel::Timestamp;
use pg::{Json, Pg};
use serde::Deserialize;
use tokio::sync::watch;
use uuid::Uuid;

use crate::app::find_orders::Reads;
use crate::infra::cache::{Cache, Scope, doubt};
use crate::infra::finder::Filter;

diesel::define_sql_function! {
    /// Orders with events of transactions from one on, and where the next look begins.
    fn order_changes(from: Text) -> Jsonb;
}
diesel::define_sql_function! {
    /// The orders that changed last.
    fn order_newest(most: Integer) -> Jsonb;
}
diesel::define_sql_function! {
    /// Seconds that the projection is behind the newest events.
    fn order_lag() -> Double;
}
diesel::define_sql_function! {
    /// Where the last part of orders ends.
    fn parts_end() -> Nullable<Timestamptz>;
}

/// Pause when nothing is committed here: what other processes write is heard after it.
const IDLE: Duration = Duration::from_millis(250);
/// Commits of this process come in bursts; one look serves them all. The second while many people wait.
const CALM: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(100)];
/// How often the projection's lag is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// Shorter than the life of details, so that hot ones are always there.
const WARM: Duration = Duration::from_secs(240);
/// Orders that are warmed.
const NEWEST: i32 = 200;

#[derive(Debug, Deserialize)]
struct Changes {
    next: String,
    changed: Vec<(Uuid, Uuid, i32, Uuid)>,
}

/// Ends copies of what the log shows as changed.
pub struct Listener {
    pg: Pg,
    cache: Cache,
    from: String,
    /// Changes of the transactions that are still looked at, so that each ends copies once.
    seen: moka::sync::Cache<(Uuid, i32), ()>,
    started: bool,
}

impl Listener {
    /// A listener that has heard nothing.
    pub fn new(pg: Pg, cache: Cache) -> Self {
        let seen = moka::sync::Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(60)).build();
        Self { pg, cache, from: String::new(), seen, started: false }
    }

    /// Hears what was committed up to now.
    ///
    /// # Errors
    /// When database or cache do not answer; the same is heard again at the next call.
    pub async fn hear(&mut self) -> Result<(), Fault> {
        let then = Instant::now();
        let query = diesel::select(order_changes(self.from.clone()));
        let Json(Changes { next, changed }) = self.pg.worker_call("order.changes", query).await?;
        if !self.started {
            self.cache.end_all().await.map_err(Fault::internal)?;
            self.started = true;
        }
        let fresh: Vec<_> =
            changed.into_iter().filter(|change| !self.seen.contains_key(&(change.1, change.2))).collect();
        let scopes: std::collections::HashSet<_> = fresh
            .iter()
            .flat_map(|(tenant, order, _, user)| {
                let tenant = TenantId::from_uuid(*tenant);
                let (order, user) = (OrderId::from_uuid(*order), UserId::from_uuid(*user));
                [(tenant, Scope::Order(order)), (tenant, Scope::User(user)), (tenant, Scope::Tenant)]
            })
            .collect();
        self.cache.end(&Vec::from_iter(scopes)).await.map_err(Fault::internal)?;
        for (_, order, version, _) in fresh {
            doubt::written(order, version);
            self.seen.insert((order, version), ());
        }
        self.from = next;
        self.cache.heard(then);
        metrics::gauge!("projection_lag_seconds", "projection" => "cache").set(self.cache.silence());
        Ok(())
    }
}

/// Runs until cancelled.
pub async fn keep(reads: Reads, cancel: tokio_util::sync::CancellationToken) {
    let pg = reads.finder.pg.clone();
    let mut listener = Listener::new(pg.clone(), reads.cache.clone());
    let mut commits: watch::Receiver<u64> = pg.commits();
    let mut measure = tokio::time::interval(MEASURE);
    let mut warm = tokio::time::interval(WARM);
    let mut well = true;
    loop {
        commits.mark_unchanged();
        let heard = listener.hear().await;
        if let (Err(fault), true) = (&heard, well) {
            tracing::warn!(%fault, "no copies of orders are taken until the log is heard again");
        }
        well = heard.is_ok();
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = measure.tick() => gauge(&pg).await,
            _ = warm.tick(), if well => {
                if let Err(fault) = reads.warm(NEWEST).await {
                    tracing::info!(%fault, "copies of orders are not warm");
                }
            }
            _ = commits.changed() => tokio::time::sleep(CALM[usize::from(ctx::foreground::is_busy())]).await,
            () = tokio::time::sleep(IDLE) => {}
        }
    }
}

async fn gauge(pg: &Pg) {
    let lag: Result<f64, _> = pg.worker_call("order.lag", diesel::select(order_lag())).await;
    if let Ok(lag) = lag {
        metrics::gauge!("projection_lag_seconds", "projection" => "orders").set(lag);
    }
    let end: Result<Option<Timestamp>, _> = pg.worker_call("order.parts", diesel::select(parts_end())).await;
    if let Ok(Some(end)) = end {
        let ahead = end.to_jiff().duration_since(jiff::Timestamp::now()).as_secs_f64();
        metrics::gauge!("partition_ahead_seconds", "service" => "order").set(ahead);
    }
}

impl Reads {
    /// Takes copies of the orders that changed last and of their tenants' counts; how many were not there (ORD-42).
    ///
    /// # Errors
    /// As the database.
    pub async fn warm(&self, most: i32) -> Result<u64, Fault> {
        let newest: serde_json::Value =
            self.finder.pg.worker_call("order.newest", diesel::select(order_newest(most))).await?;
        let newest: Vec<(Uuid, Uuid)> = serde_json::from_value(newest).map_err(Fault::internal)?;
        let mut warmed = 0;
        for (tenant, order) in &newest {
            let kept = self.details(TenantId::from_uuid(*tenant), OrderId::from_uuid(*order)).await;
            warmed += u64::from(warm_one("orders", kept.map(|(_, source)| source)));
        }
        for tenant in newest.iter().map(|(tenant, _)| *tenant).collect::<BTreeSet<_>>() {
            let counted = self.tally(TenantId::from_uuid(tenant), &Filter::default()).await;
            warmed += u64::from(warm_one("counts", counted.map(|(_, source)| source)));
        }
        Ok(warmed)
    }
}

fn warm_one(what: &'static str, kept: Result<crate::infra::cache::Source, Fault>) -> bool {
    let warmed = matches!(kept, Ok(crate::infra::cache::Source::Miss));
    metrics::counter!("cache_warmed_total", "what" => what).increment(u64::from(warmed));
    warmed
}

#[cfg(test)]
mod tests;
