use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ctx::Ctx;
use diesel::sql_types::{Array, Integer, Jsonb, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use eventlog::Meta;
use futures::FutureExt;
use ids::TenantId;
use pg::{Conn, Json, Pg, Set};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::advance::{self, Next, Picture, step_name};
use crate::definition::{Definition, Outcome, Run};

diesel::define_sql_function! {
    /// Which sagas are due on the shards that a worker holds.
    fn saga_due(owner: SqlUuid, busy: Array<SqlUuid>, most: Integer) -> Jsonb;
}
diesel::define_sql_function! {
    /// Sagas of one tenant as they stand.
    fn saga_load(tenant: SqlUuid, sagas: Array<SqlUuid>) -> Jsonb;
}
diesel::define_sql_function! {
    /// Moves sagas of a tenant on; per item ok, look, lost or conflict.
    fn saga_advance(tenant: SqlUuid, items: Jsonb) -> Jsonb;
}

/// Sagas one process drives at the same time: as many as fill the batches of all their steps while each batch gathers.
const IN_FLIGHT: usize = 768;
/// Seats that are filled together when fewer are free, and how long they may wait for each other: asking what is due
/// costs as much for one as for many.
const REFILL: usize = 32;
const REFILL_WAIT: Duration = Duration::from_millis(100);
/// Sagas that are looked up together when all seats may be filled, and how long what was found counts: another process may
/// take over their shards.
const LOOK: usize = 256;
const STALE: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_millis(250);
const CALM: Duration = Duration::from_millis(4);
/// While many callers wait for an answer of this process: so many new sagas in so much time.
const ASIDE_MOST: usize = 3;
const ASIDE: Duration = Duration::from_millis(100);
const LEASE_RENEWAL: Duration = Duration::from_millis(1500);

/// Sagas that were found due and have no seat yet, each behind its tenant.
#[derive(Default)]
struct Queue {
    due: VecDeque<(Uuid, Uuid)>,
    found: Option<Instant>,
}

impl Queue {
    /// Whether it is time to look again.
    fn is_over(&self) -> bool {
        self.due.is_empty() || self.found.is_none_or(|at| at.elapsed() > STALE)
    }
}

/// Drives the sagas of a service; several processes share them by shard.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    pg: Pg,
    definitions: HashMap<(&'static str, i16), Definition>,
    commits: Set,
    owner: Uuid,
    room: Arc<Semaphore>,
    busy: Mutex<HashSet<Uuid>>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("service", &self.inner.pg.service()).finish_non_exhaustive()
    }
}

/// A saga as `saga_load` gives it.
#[derive(Debug, serde::Deserialize)]
struct Row {
    saga_id: Uuid,
    kind: String,
    def_rev: i16,
    seq: i32,
    step: i16,
    phase: String,
    attempts: i32,
    signals: i32,
    undo_reason: Option<String>,
    state: Value,
    cause: Value,
}

impl Engine {
    /// An engine that knows these tables.
    pub fn new(pg: Pg, definitions: Vec<Definition>) -> Self {
        let commits = Set::new(pg.clone(), "saga.advance", |conn, tenant, items| {
            async move { Ok(diesel::select(saga_advance(tenant.uuid(), items)).get_result(conn).await?) }.boxed()
        });
        let definitions = definitions.into_iter().map(|table| ((table.kind, table.rev), table)).collect();
        let inner = Inner {
            pg,
            definitions,
            commits,
            owner: Uuid::now_v7(),
            room: Arc::new(Semaphore::new(IN_FLIGHT)),
            busy: Mutex::default(),
            tasks: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Runs until cancelled; then lets the steps under way end, and gives its shards back.
    pub async fn run(self, cancel: CancellationToken) {
        let mut commits = self.inner.pg.commits();
        let mut renewed: Option<Instant> = None;
        let mut queue = Queue::default();
        while !cancel.is_cancelled() {
            if renewed.is_none_or(|at| at.elapsed() >= LEASE_RENEWAL) {
                match self.inner.lease(true).await {
                    Ok(()) => renewed = Some(Instant::now()),
                    Err(error) => tracing::warn!(service = self.inner.pg.service(), %error, "no saga lease"),
                }
            }
            // Seen before the look, so that a commit during the look makes us look again.
            commits.mark_unchanged();
            let claimed = self.claim(&mut queue).await.unwrap_or_else(|error| {
                tracing::warn!(service = self.inner.pg.service(), %error, "sagas not claimed");
                0
            });
            if claimed > 0 {
                // The next to start come in bursts as well.
                tokio::time::sleep(CALM).await;
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                changed = commits.changed() => {
                    if changed.is_err() { break }
                    // Commits come in bursts; one look serves them all.
                    tokio::time::sleep(CALM).await;
                }
                () = tokio::time::sleep(IDLE) => {}
            }
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Err(error) = self.inner.lease(false).await {
            tracing::warn!(service = self.inner.pg.service(), %error, "saga shards free themselves in 5 s");
        }
    }

    /// Starts driving what is due and fits; how many were looked at.
    async fn claim(&self, queue: &mut Queue) -> Result<usize, pg::Error> {
        if self.inner.room.available_permits() < REFILL {
            // Some end soon; wait for their seats instead of asking the database again.
            let seats = u32::try_from(REFILL).unwrap_or(u32::MAX);
            drop(tokio::time::timeout(REFILL_WAIT, self.inner.room.acquire_many(seats)).await);
        }
        let mut room = self.inner.room.available_permits();
        if ctx::foreground::is_busy() {
            tokio::time::sleep(ASIDE).await;
            room = room.min(ASIDE_MOST);
        }
        if room == 0 {
            return Ok(1);
        }
        if queue.is_over() {
            *queue = Queue { due: self.inner.due().await?.into(), found: Some(Instant::now()) };
        }
        let mut by_tenant: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
        let mut claimed = 0;
        while claimed < room
            && let Some((tenant, saga)) = queue.due.pop_front()
        {
            by_tenant.entry(tenant).or_default().push(saga);
            claimed += 1;
        }
        for (tenant, sagas) in by_tenant {
            for picture in self.inner.pictures(TenantId::from_uuid(tenant), sagas).await? {
                let Ok(seat) = Arc::clone(&self.inner.room).try_acquire_owned() else { return Ok(claimed) };
                if !self.inner.busy().insert(picture.saga_id) {
                    continue;
                }
                let inner = Arc::clone(&self.inner);
                self.inner.tasks.spawn(async move {
                    let saga_id = picture.saga_id;
                    inner.drive(picture).await;
                    inner.busy().remove(&saga_id);
                    drop(seat);
                    // What became due meanwhile for this saga was hidden by the busy mark.
                    inner.pg.committed();
                });
            }
        }
        Ok(claimed)
    }
}

impl Inner {
    fn busy(&self) -> std::sync::MutexGuard<'_, HashSet<Uuid>> {
        self.busy.lock().expect("nothing panics while it holds the set")
    }

    async fn lease(&self, hold: bool) -> Result<(), pg::Error> {
        let owner = self.owner;
        self.pg
            .worker("saga.lease", move |conn: &mut Conn| {
                async move {
                    let sql = if hold {
                        "SELECT saga_lease($1)"
                    } else {
                        "UPDATE shard_leases SET lease_until = '-infinity' WHERE owner = $1"
                    };
                    diesel::sql_query(sql).bind::<SqlUuid, _>(owner).execute(conn).await?;
                    Ok(())
                }
                .boxed()
            })
            .await
    }

    async fn due(&self) -> Result<Vec<(Uuid, Uuid)>, pg::Error> {
        let busy: Vec<Uuid> = self.busy().iter().copied().collect();
        let most = i32::try_from(LOOK).unwrap_or(i32::MAX);
        let query = diesel::select(saga_due(self.owner, busy, most));
        let Json(due) = self.pg.worker_call("saga.claim", query).await?;
        Ok(due)
    }

    async fn pictures(&self, tenant: TenantId, sagas: Vec<Uuid>) -> Result<Vec<Picture>, pg::Error> {
        let query = diesel::select(saga_load(tenant.uuid(), sagas));
        let Json(rows): Json<Vec<Row>> = self.pg.ask("saga.load", query).await?;
        Ok(rows.into_iter().map(|row| row.picture(tenant)).collect())
    }

    /// Does step after step until the saga ends, waits, or belongs to somebody else.
    async fn drive(&self, mut at: Picture) {
        let key = self.definitions.keys().find(|(kind, rev)| *kind == at.kind && *rev == at.rev);
        let Some(definition) = key.and_then(|key| self.definitions.get(key)) else {
            // An older or newer process has this table; it is not ours to judge.
            tracing::warn!(saga = %at.saga_id, kind = at.kind, rev = at.rev, "no table for this saga here");
            return;
        };
        loop {
            let mut ctx = self.context(&at);
            let next = match at.undo_reason.clone() {
                Some(reason) if !at.undoing => advance::turn_back(&at, &reason),
                _ => advance::next(definition, &at, self.perform(definition, &at, &mut ctx).await),
            };
            if next.status == "attention" {
                metrics::counter!("saga_attention_total", "kind" => definition.kind).increment(1);
                tracing::error!(saga = %at.saga_id, step = step_name(definition, at.step), reason = next.detail,
                    "saga needs attention");
            }
            let item = advance::Item::of(definition, &at, &next, Meta::of(&ctx));
            let verdict: String = match self.commits.submit(at.tenant, &item).await {
                Ok(verdict) => verdict,
                Err(error) => {
                    tracing::warn!(saga = %at.saga_id, %error, "step not written; it will be done again");
                    tokio::time::sleep(IDLE).await;
                    return;
                }
            };
            match verdict.as_str() {
                "ok" if next.goes_on() => at.follow(next),
                "ok" => return self.wake_later(&next),
                // The aggregate moved under the step: look at it again, with the same keys.
                "conflict" => tokio::time::sleep(Duration::from_millis(5)).await,
                // "look": a signal came in between; the row says what now. "lost": it is somebody else's.
                _ => return,
            }
        }
    }

    async fn perform(&self, definition: &Definition, at: &Picture, ctx: &mut Ctx) -> Outcome {
        let step = usize::try_from(at.step).ok().and_then(|index| definition.steps.get(index));
        let (action, timeout) = match (at.undoing, step) {
            (false, Some(step)) => (Some(&step.action), step.timeout),
            (true, Some(step)) => (step.undo.as_ref(), step.timeout),
            (true, None) if at.step < 0 => (definition.undone.as_ref(), Duration::from_secs(10)),
            (_, None) => return Outcome::Attention { reason: "the saga is at a step that does not exist".into() },
        };
        let Some(action) = action else { return Outcome::done(at.state.clone()) };
        let phase = if at.undoing { "undo" } else { "do" };
        let name = step_name(definition, at.step);
        // The request that started the saga is long answered; its trace goes on here.
        let span = tracing::info_span!("saga step", saga = %at.saga_id, step = name, phase, tenant = %at.tenant,
            correlation_id = at.cause.correlation_id, trace_id = tracing::field::Empty);
        let traceparent = telemetry::trace::adopt(&span, at.cause.traceparent.as_deref(), &at.cause.correlation_id);
        // Of the caller too: the events of a step are written with it, and happened in it.
        ctx.cause.traceparent = Some(traceparent);
        let run = Run {
            ctx: ctx.clone().within(timeout),
            saga_id: at.saga_id,
            state: at.state.clone(),
            attempt: at.attempts + 1,
            key: format!("{}:{name}:{phase}", at.saga_id.simple()),
            undo_reason: at.undo_reason.clone(),
        };
        let start = Instant::now();
        // A panic in a step must not take the saga's seat with it.
        let guarded = std::panic::AssertUnwindSafe(action(run).instrument(span)).catch_unwind();
        let outcome = match tokio::time::timeout(timeout, guarded).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Retry { reason: "the step panicked".to_owned() },
            Err(_) => Outcome::Retry { reason: "TIMEOUT".to_owned() },
        };
        metrics::histogram!("saga_step_duration_seconds", "kind" => definition.kind,
            "step" => name, "phase" => phase)
        .record(start.elapsed().as_secs_f64());
        outcome
    }

    fn context(&self, at: &Picture) -> Ctx {
        Ctx::service(self.pg.service(), at.tenant, at.cause.clone(), jiff::Timestamp::now())
    }

    /// The row holds the time; this only saves the wait for the next look.
    fn wake_later(&self, next: &Next) {
        if next.status == "running" && next.delay < Duration::from_secs(60) {
            let (pg, delay) = (self.pg.clone(), next.delay);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                pg.committed();
            });
        }
    }
}

impl Picture {
    fn follow(&mut self, next: Next) {
        self.seq += 1;
        self.step = next.step;
        if self.undoing && !next.undoing {
            self.undo_reason = None;
        } else if self.undo_reason.is_none() {
            self.undo_reason = next.why;
        }
        self.undoing = next.undoing;
        self.attempts = next.attempts;
        self.state = next.state;
    }
}

impl Row {
    fn picture(self, tenant: TenantId) -> Picture {
        Picture {
            tenant,
            saga_id: self.saga_id,
            kind: self.kind,
            rev: self.def_rev,
            seq: self.seq,
            step: self.step,
            undoing: self.phase == "undo",
            attempts: self.attempts,
            signals: self.signals,
            undo_reason: self.undo_reason,
            state: self.state,
            cause: serde_json::from_value(self.cause).unwrap_or_default(),
        }
    }
}
