use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures::{FutureExt, StreamExt};
use pg::{Conn, Json, Pg};
use serde::Deserialize as _;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::delivery::Subscription;
use crate::parking;
use crate::{delivery, inbox};

/// Events of a log that are looked at together, wanted or not.
const BATCH: i32 = 1000;
/// The same while many people wait for an answer of this process: what lies in the log can lie a little longer.
const ASIDE: i32 = 100;
/// Longest pause when nothing wakes us: what another process committed is found after it.
const IDLE: Duration = Duration::from_millis(250);
const FIRST: Duration = Duration::from_millis(5);
/// Longest pause after a commit of a service whose commits brought nothing lately.
const DULL: Duration = Duration::from_millis(40);
const LEASE_RENEWAL: Duration = Duration::from_millis(1500);
/// Streams of one batch that are handled at the same time.
const CONCURRENCY: usize = 8;
/// Most events of one transaction; larger ones gain nothing (`data.md` 0.2).
const TOGETHER: usize = 50;

/// Tails the logs of services for one subscriber and applies its handlers.
#[derive(Debug)]
pub struct Consumer {
    pg: Pg,
    subscription: Arc<Subscription>,
    owner: Uuid,
}

/// What a look at the logs brought.
enum Found {
    /// No event.
    Nothing,
    /// Only events that nobody here wants; whoever gets those need not look often.
    Unwanted,
    /// Events that were handled.
    Handled,
}

/// What is new in a log, and how far it was read.
#[derive(serde::Deserialize, Debug)]
struct Tail {
    source: String,
    xid: String,
    gpos: i64,
    fence: i64,
    events: Vec<Event>,
}

/// An event as `poll` gives it.
#[derive(serde::Deserialize, Debug, Clone)]
pub(crate) struct Event {
    pub tenant_id: Uuid,
    pub stream_id: Uuid,
    pub version: i32,
    pub event_id: Uuid,
    pub r#type: String,
    #[serde(deserialize_with = "base64")]
    pub payload: Vec<u8>,
    pub meta: Arc<RawValue>,
}

/// PostgreSQL breaks base64 into lines.
fn base64<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    let mut text = String::deserialize(input)?;
    text.retain(|letter| letter != '\n');
    BASE64.decode(text).map_err(serde::de::Error::custom)
}

mod sql {
    use diesel::sql_types::{Array, BigInt, Bool, Integer, Text, Uuid};

    diesel::define_sql_function! {
        /// Takes or keeps the logs nobody else reads for this consumer.
        #[sql_name = "om_bus.lease"]
        fn lease(consumer: Text, owner: Uuid, sources: Array<Text>) -> Bool;
    }
    diesel::define_sql_function! {
        /// Events behind the cursors that an owner holds.
        #[sql_name = "om_bus.poll"]
        fn poll(consumer: Text, owner: Uuid, types: Array<Text>, most: Integer) -> Nullable<Jsonb>;
    }
    diesel::define_sql_function! {
        /// Moves cursors on; how many of them still were ours.
        #[sql_name = "om_bus.acknowledge"]
        fn acknowledge(
            consumer: Text, sources: Array<Text>, xids: Array<Text>, gpos: Array<BigInt>, fences: Array<BigInt>,
            handled: Bool,
        ) -> Integer;
    }
}

impl Consumer {
    /// A consumer that writes through a service's door.
    pub fn new(pg: Pg, subscription: Subscription) -> Self {
        Self { pg, subscription: Arc::new(subscription), owner: Uuid::now_v7() }
    }

    /// Runs until cancelled; then gives its logs back, so that another process need not wait for the lease.
    pub async fn run(self, cancel: CancellationToken) {
        // Beside each other: however long parked events take, what is new does not wait for them.
        tokio::join!(self.tail(&cancel), parking::look_after(&self.pg, &self.subscription, &cancel));
        self.release().await;
    }

    async fn tail(&self, cancel: &CancellationToken) {
        let mut commits: Vec<_> = self.subscription.services().into_iter().map(pg::commits_of).collect();
        let (mut pause, mut gather) = (FIRST, FIRST);
        let mut renewed: Option<Instant> = None;
        while !cancel.is_cancelled() {
            if renewed.is_none_or(|at| at.elapsed() >= LEASE_RENEWAL) {
                match self.lease().await {
                    Ok(()) => renewed = Some(Instant::now()),
                    Err(error) => tracing::warn!(consumer = self.subscription.consumer, %error, "no lease"),
                }
            }
            commits.iter_mut().for_each(watch::Receiver::mark_unchanged);
            let began = Instant::now();
            let found = match self.step().await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(consumer = self.subscription.consumer, %error, "consumer step failed");
                    pause = IDLE;
                    Found::Nothing
                }
            };
            let rest = match found {
                Found::Nothing => None,
                Found::Unwanted => Some(crate::LONGEST),
                Found::Handled => Some(crate::rest(began.elapsed())),
            };
            if let Some(rest) = rest {
                tokio::time::sleep(rest).await;
                (pause, gather) = (FIRST, FIRST);
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                () = changed(&mut commits) => {
                    // A burst of commits is one look, and an older open transaction gets a moment to end.
                    tokio::time::sleep(gather).await;
                    (pause, gather) = (FIRST, (gather * 2).min(DULL));
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(IDLE),
            }
        }
    }

    async fn lease(&self) -> Result<(), pg::Error> {
        let sources: Vec<String> =
            self.subscription.services().into_iter().map(|service| format!("om_{service}")).collect();
        let query = sql::lease(self.subscription.consumer.to_owned(), self.owner, sources);
        let _held: bool = self.pg.worker_call("outbox.lease", diesel::select(query)).await?;
        Ok(())
    }

    async fn release(&self) {
        let (consumer, owner) = (self.subscription.consumer, self.owner);
        let result = self
            .pg
            .worker("outbox.release", move |conn: &mut Conn| {
                async move {
                    diesel::sql_query(
                        "UPDATE om_bus.cursors SET lease_until = '-infinity' WHERE consumer = $1 AND owner = $2",
                    )
                    .bind::<Text, _>(consumer)
                    .bind::<SqlUuid, _>(owner)
                    .execute(conn)
                    .await?;
                    Ok(())
                }
                .boxed()
            })
            .await;
        if let Err(error) = result {
            tracing::warn!(consumer, %error, "logs not given back; they free themselves in 5 s");
        }
    }

    /// Handles one batch, if there is one: what is handled together first, then streams beside each other, events of a
    /// stream one after the other; then one acknowledgement.
    async fn step(&self) -> Result<Found, pg::Error> {
        let mut tails = self.poll().await?;
        if tails.is_empty() {
            return Ok(Found::Nothing);
        }
        let wanted = tails.iter().any(|tail| !tail.events.is_empty());
        let mut streams: BTreeMap<(Uuid, Uuid), Vec<Event>> = BTreeMap::new();
        for event in tails.iter_mut().flat_map(|tail| std::mem::take(&mut tail.events)) {
            streams.entry((event.tenant_id, event.stream_id)).or_default().push(event);
        }
        let sets = heads(&self.subscription, &mut streams);
        beside(sets.into_iter().map(|events| together(&self.pg, &self.subscription, events))).await?;
        beside(streams.into_values().map(|events| in_turn(&self.pg, &self.subscription, events))).await?;
        self.acknowledge(tails, wanted).await?;
        Ok(if wanted { Found::Handled } else { Found::Unwanted })
    }

    /// What is new in the logs this process reads.
    async fn poll(&self) -> Result<Vec<Tail>, pg::Error> {
        let batch = if ctx::foreground::is_busy() { ASIDE } else { BATCH };
        let query = sql::poll(self.subscription.consumer.to_owned(), self.owner, self.subscription.types(), batch);
        let tails: Option<Json<Vec<Tail>>> = self.pg.worker_call("outbox.poll", diesel::select(query)).await?;
        Ok(tails.map_or_else(Vec::new, |Json(tails)| tails))
    }

    async fn acknowledge(&self, tails: Vec<Tail>, handled: bool) -> Result<(), pg::Error> {
        let expected = tails.len();
        let query = sql::acknowledge(
            self.subscription.consumer.to_owned(),
            tails.iter().map(|tail| tail.source.clone()).collect::<Vec<_>>(),
            tails.iter().map(|tail| tail.xid.clone()).collect::<Vec<_>>(),
            tails.iter().map(|tail| tail.gpos).collect::<Vec<_>>(),
            tails.iter().map(|tail| tail.fence).collect::<Vec<_>>(),
            handled,
        );
        let moved: i32 = self.pg.worker_call("outbox.acknowledge", diesel::select(query)).await?;
        if usize::try_from(moved).is_ok_and(|moved| moved < expected) {
            tracing::warn!(consumer = self.subscription.consumer, "another process took over some logs");
        }
        Ok(())
    }
}

/// Waits until a service has committed something.
async fn changed(commits: &mut [watch::Receiver<u64>]) {
    if commits.is_empty() {
        return std::future::pending().await;
    }
    // Who says so lives as long as the process.
    let changed = commits.iter_mut().map(|service| async { service.changed().await.ok() }.boxed());
    futures::future::select_all(changed).await;
}

/// Takes from each stream its first event if those of its type are handled together, and puts them together.
fn heads(subscription: &Subscription, streams: &mut BTreeMap<(Uuid, Uuid), Vec<Event>>) -> Vec<Vec<Event>> {
    let mut sets: BTreeMap<(Uuid, String), Vec<Event>> = BTreeMap::new();
    for ((tenant, _), events) in streams {
        if events.iter().next().is_some_and(|first| subscription.gathers(&first.r#type)) {
            let head = events.remove(0);
            sets.entry((*tenant, head.r#type.clone())).or_default().push(head);
        }
    }
    sets.into_values().flat_map(|set| set.chunks(TOGETHER).map(<[Event]>::to_vec).collect::<Vec<_>>()).collect()
}

/// Does some of it at the same time. A failure means that not even parking worked: nothing is acknowledged, the batch
/// comes again.
async fn beside(works: impl Iterator<Item = impl Future<Output = Result<(), pg::Error>>>) -> Result<(), pg::Error> {
    let outcomes: Vec<_> = futures::stream::iter(works).buffer_unordered(CONCURRENCY).collect().await;
    outcomes.into_iter().collect()
}

/// Handles events in one transaction, or when that fails each in its own, so that a bad one stops no other.
async fn together(pg: &Pg, subscription: &Arc<Subscription>, events: Vec<Event>) -> Result<(), pg::Error> {
    if events.len() > 1 {
        match inbox::apply(pg, subscription, events.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::warn!(consumer = subscription.consumer, %error, events = events.len(), "handled one by one");
            }
        }
    }
    // Each of another stream.
    beside(events.into_iter().map(|event| delivery_of(pg, subscription, event))).await
}

async fn in_turn(pg: &Pg, subscription: &Arc<Subscription>, events: Vec<Event>) -> Result<(), pg::Error> {
    for event in events {
        delivery_of(pg, subscription, event).await?;
    }
    Ok(())
}

/// Runs the handler of one event, a few times if need be; parks the event when that does not help.
async fn delivery_of(pg: &Pg, subscription: &Arc<Subscription>, event: Event) -> Result<(), pg::Error> {
    const PAUSES: [Duration; 4] =
        [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(600)];
    let mut tries = PAUSES.iter();
    loop {
        match inbox::apply(pg, subscription, vec![event.clone()]).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                let Some(pause) = tries.next() else {
                    tracing::error!(consumer = subscription.consumer, event = %event.event_id, r#type = event.r#type,
                        %error, "event parked");
                    metrics::counter!("outbox_parked_total", "consumer" => subscription.consumer).increment(1);
                    return parking::park(pg, subscription, event, &error.to_string()).await;
                };
                tokio::time::sleep(*pause).await;
            }
        }
    }
}

impl Event {
    pub(crate) fn delivery(&self, consumer: &'static str) -> delivery::Delivery {
        let meta: Meta = serde_json::from_str(self.meta.get()).unwrap_or_default();
        let cause = ctx::Cause {
            correlation_id: meta.correlation_id,
            causation_id: ids::EventId::from_uuid(self.event_id).to_string(),
            traceparent: meta.traceparent,
        };
        let tenant = ids::TenantId::from_uuid(self.tenant_id);
        delivery::Delivery {
            ctx: ctx::Ctx::service(consumer, tenant, cause, jiff::Timestamp::now()),
            event_id: self.event_id,
            type_name: self.r#type.clone(),
            stream: self.stream_id,
            version: self.version,
            payload: self.payload.clone(),
        }
    }
}

/// The part of an event's meta that continues the chain of causes.
#[derive(serde::Deserialize, Default)]
struct Meta {
    correlation_id: String,
    #[serde(default)]
    traceparent: Option<String>,
}
