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
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::delivery::Subscription;
use crate::parking;
use crate::{PUBLISHED, delivery, inbox};

const SHARDS: i16 = 8;
const BATCH: i32 = 200;
const IDLE: Duration = Duration::from_millis(250);
const FIRST: Duration = Duration::from_millis(5);
const LEASE_RENEWAL: Duration = Duration::from_millis(1500);
/// Streams of one batch that are handled at the same time.
const CONCURRENCY: usize = 8;
/// Most events of one transaction; larger ones gain nothing (`data.md` 0.2).
const TOGETHER: usize = 50;

/// Tails the bus for one subscriber and applies its handlers.
#[derive(Debug)]
pub struct Consumer {
    pg: Pg,
    subscription: Arc<Subscription>,
    owner: Uuid,
}

/// What is new on a shard, and how far it was read.
#[derive(serde::Deserialize, Debug)]
struct Tail {
    shard: i32,
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
    use diesel::sql_types::{Array, BigInt, Integer, Text, Uuid};

    diesel::define_sql_function! {
        /// Takes or keeps the shards nobody else holds.
        #[sql_name = "om_bus.lease"]
        fn lease(consumer: Text, owner: Uuid, shards: Integer) -> Bool;
    }
    diesel::define_sql_function! {
        /// Events behind the cursors of the shards that an owner holds.
        #[sql_name = "om_bus.poll"]
        fn poll(consumer: Text, owner: Uuid, types: Array<Text>, most: Integer) -> Nullable<Jsonb>;
    }
    diesel::define_sql_function! {
        /// Moves cursors on; how many of them still were ours.
        #[sql_name = "om_bus.acknowledge"]
        fn acknowledge(
            consumer: Text, shards: Array<Integer>, xids: Array<Text>, gpos: Array<BigInt>, fences: Array<BigInt>,
        ) -> Integer;
    }
}

impl Consumer {
    /// A consumer that writes through a service's door.
    pub fn new(pg: Pg, subscription: Subscription) -> Self {
        Self { pg, subscription: Arc::new(subscription), owner: Uuid::now_v7() }
    }

    /// Runs until cancelled; then gives its shards back, so that another process need not wait for the lease.
    pub async fn run(self, cancel: CancellationToken) {
        let mut published = PUBLISHED.subscribe();
        let mut pause = FIRST;
        let mut renewed: Option<Instant> = None;
        let mut parked_looked = Instant::now();
        while !cancel.is_cancelled() {
            if renewed.is_none_or(|at| at.elapsed() >= LEASE_RENEWAL) {
                match self.lease().await {
                    Ok(()) => renewed = Some(Instant::now()),
                    Err(error) => tracing::warn!(consumer = self.subscription.consumer, %error, "no lease"),
                }
            }
            if parked_looked.elapsed() >= Duration::from_millis(500) {
                parked_looked = Instant::now();
                parking::retry_due(&self.pg, &self.subscription).await;
            }
            let began = Instant::now();
            let handled = match self.step().await {
                Ok(handled) => handled,
                Err(error) => {
                    tracing::warn!(consumer = self.subscription.consumer, %error, "consumer step failed");
                    pause = IDLE;
                    false
                }
            };
            if handled {
                tokio::time::sleep(crate::rest(began.elapsed())).await;
                pause = FIRST;
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                changed = published.changed() => {
                    if changed.is_err() { break }
                    // Six relays publish on their own; one look serves them all.
                    tokio::time::sleep(FIRST).await;
                    pause = FIRST;
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(IDLE),
            }
        }
        self.release().await;
    }

    async fn lease(&self) -> Result<(), pg::Error> {
        let query = sql::lease(self.subscription.consumer.to_owned(), self.owner, i32::from(SHARDS));
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
            tracing::warn!(consumer, %error, "shards not given back; they free themselves in 5 s");
        }
    }

    /// Handles one batch, if there is one: what is handled together first, then streams beside each other, events of a
    /// stream one after the other; then one acknowledgement.
    async fn step(&self) -> Result<bool, pg::Error> {
        let mut tails = self.poll().await?;
        if tails.is_empty() {
            return Ok(false);
        }
        let mut streams: BTreeMap<(Uuid, Uuid), Vec<Event>> = BTreeMap::new();
        for event in tails.iter_mut().flat_map(|tail| std::mem::take(&mut tail.events)) {
            streams.entry((event.tenant_id, event.stream_id)).or_default().push(event);
        }
        let sets = heads(&self.subscription, &mut streams);
        beside(sets.into_iter().map(|events| together(&self.pg, &self.subscription, events))).await?;
        beside(streams.into_values().map(|events| in_turn(&self.pg, &self.subscription, events))).await?;
        self.acknowledge(tails).await?;
        Ok(true)
    }

    /// What is new on the shards this process holds.
    async fn poll(&self) -> Result<Vec<Tail>, pg::Error> {
        let query = sql::poll(self.subscription.consumer.to_owned(), self.owner, self.subscription.types(), BATCH);
        let tails: Option<Json<Vec<Tail>>> = self.pg.worker_call("outbox.poll", diesel::select(query)).await?;
        Ok(tails.map_or_else(Vec::new, |Json(tails)| tails))
    }

    async fn acknowledge(&self, tails: Vec<Tail>) -> Result<(), pg::Error> {
        let expected = tails.len();
        let query = sql::acknowledge(
            self.subscription.consumer.to_owned(),
            tails.iter().map(|tail| tail.shard).collect::<Vec<_>>(),
            tails.iter().map(|tail| tail.xid.clone()).collect::<Vec<_>>(),
            tails.iter().map(|tail| tail.gpos).collect::<Vec<_>>(),
            tails.iter().map(|tail| tail.fence).collect::<Vec<_>>(),
        );
        let moved: i32 = self.pg.worker_call("outbox.acknowledge", diesel::select(query)).await?;
        if usize::try_from(moved).is_ok_and(|moved| moved < expected) {
            tracing::warn!(consumer = self.subscription.consumer, "another process took over some shards");
        }
        Ok(())
    }
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
