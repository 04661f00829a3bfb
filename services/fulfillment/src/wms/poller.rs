//! Asks the warehouse system what became of open work, and folds its words in (FUL-02, FUL-12).
//!
//! One process asks for a tenant at a time: a lease row says who and until when. Nothing is locked while HTTP is on its
//! way; when a lease runs out in the middle, two may ask, and folding twice changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use ctx::{Cause, Ctx};
use fault::Fault;
use futures::StreamExt;
use ids::{FulfillmentId, TenantId};
use jiff::{SignedDuration, Timestamp};
use serve::{Job, Turn};
use uuid::Uuid;

use super::client::{Report, Wms};
use crate::events;
use crate::model::Fulfillment;
use crate::state::{self, WmsStatus};
use crate::store::{Move, Store};

/// References of one question; the warehouse system takes no more.
const MOST_REFERENCES: i32 = 200;
/// Tenants that are asked for at the same time.
const TENANTS_AT_ONCE: usize = 4;
/// Tenants that are claimed at a time.
const TENANTS_OF_A_ROUND: i32 = 64;
/// Longer than one question may take.
const HOLD: Duration = Duration::from_secs(60);
/// Longest pause between two looks for tenants whose turn it is.
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// A failing warehouse system is asked at least this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The time of observation of what has no news is written at most this often.
const REFRESH: SignedDuration = SignedDuration::from_secs(10);

/// The poller of one process.
#[derive(Clone)]
pub(crate) struct Poller {
    store: Store,
    wms: Wms,
    interval: Duration,
    owner: Uuid,
}

impl Poller {
    pub(crate) fn new(store: Store, wms: Wms, interval: Duration) -> Self {
        Self { store, wms, interval, owner: Uuid::now_v7() }
    }

    /// The job that looks whose turn it is; any number of processes may run it.
    pub(crate) fn job(self) -> Job {
        Job::every("wms.poller", self.nap(), self, |poller| async move {
            Ok(Turn::of(poller.round().await?, TENANTS_OF_A_ROUND as usize))
        })
    }

    /// Asks once for every tenant whose turn it is and returns how many that were.
    ///
    /// A tenant that fails is logged and has its turn later; the others do not notice.
    ///
    /// # Errors
    /// When the tenants cannot be read.
    pub(crate) async fn round(&self) -> Result<usize, Fault> {
        let due = self.store.due(self.early(), TENANTS_OF_A_ROUND).await?;
        let asked = due.len();
        futures::stream::iter(due)
            .for_each_concurrent(TENANTS_AT_ONCE, async |tenant| {
                if let Err(fault) = self.turn(tenant).await {
                    tracing::warn!(tenant = %tenant, error = %fault, "cannot poll the warehouse system for a tenant");
                }
            })
            .await;
        Ok(asked)
    }

    async fn turn(&self, tenant: TenantId) -> Result<(), Fault> {
        if !self.store.take(tenant, self.owner, HOLD, self.early()).await? {
            return Ok(());
        }
        let result = self.ask_for(tenant).await;
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        metrics::counter!("wms_polls_total", "outcome" => outcome).increment(1);
        let longest = LONGEST_PAUSE.max(self.interval);
        self.store.release(tenant, self.owner, jittered(self.interval), longest, result.is_err()).await?;
        result
    }

    async fn ask_for(&self, tenant: TenantId) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let open = self.store.open(tenant, after, MOST_REFERENCES).await?;
            let Some(last) = open.last().map(Fulfillment::id) else { return Ok(()) };
            let references: Vec<FulfillmentId> = open.iter().map(Fulfillment::id).collect();
            // The time before the question: what is observed is never claimed to be newer than it is.
            let now = Timestamp::now();
            let ctx = Ctx::service("fulfillment", tenant, Cause::default(), now);
            let reports = self.wms.status(&ctx, &references).await?;
            let complete = open.len() < MOST_REFERENCES as usize;
            let cancelled = reports.iter().filter(|report| report.status == WmsStatus::Cancelled);
            let cancelled: Vec<FulfillmentId> = cancelled.map(|report| report.reference).collect();
            // Behind the answer, for the mark is set before the warehouse system is asked.
            let revoked = if cancelled.is_empty() { cancelled } else { self.store.revoked(tenant, &cancelled).await? };
            let (moves, heard) = decide(tenant, open, &reports, &revoked, now);
            let moved = self.store.fold(tenant, moves, &heard, now, now - REFRESH).await?;
            metrics::counter!("wms_moves_total").increment(u64::try_from(moved).unwrap_or(0));
            if complete || !self.store.keep(tenant, self.owner, HOLD).await? {
                return Ok(());
            }
            after = Some(last);
        }
    }

    fn nap(&self) -> Duration {
        self.interval.min(LONGEST_NAP)
    }

    /// A turn that comes within half a nap is taken now: else small differences would double the interval.
    fn early(&self) -> Duration {
        self.nap() / 2
    }
}

/// What the reports change, and which fulfillments were heard of at all.
fn decide(
    tenant: TenantId,
    open: Vec<Fulfillment>,
    reports: &[Report],
    revoked: &[FulfillmentId],
    now: Timestamp,
) -> (Vec<(Move, Ctx)>, Vec<FulfillmentId>) {
    let mut heard: HashMap<FulfillmentId, Vec<WmsStatus>> = HashMap::new();
    for report in reports {
        heard.entry(report.reference).or_default().push(report.status);
    }
    let mut moves = Vec::new();
    let mut known = Vec::new();
    for mut work in open {
        let Some(statuses) = heard.get(&work.id()) else { continue };
        known.push(work.id());
        let expected = work.version;
        let mut events = Vec::new();
        work.observed_at = Some(now);
        work.cancel_requested = revoked.contains(&work.id());
        for state in state::fold(work.state, statuses) {
            work.state = state;
            events.extend(events::entered(&work));
        }
        if events.is_empty() {
            continue;
        }
        let cause = Cause {
            correlation_id: work.body.correlation_id.clone(),
            causation_id: "wms.poll".to_owned(),
            traceparent: work.body.traceparent.clone(),
        };
        let step = Move {
            fulfillment: work.id(),
            expected,
            state: work.state,
            wms_order_id: String::new(),
            observed_at: Some(now),
            events,
        };
        moves.push((step, Ctx::service("fulfillment", tenant, cause, now)));
    }
    (moves, known)
}

/// Up to a tenth more or less, so that tenants and processes do not fall into step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.9..1.1))
}
