//! What happens to an event whose handler fails: it waits with its key, is tried again, and at last needs a person.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Integer, Jsonb, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::{FutureExt, StreamExt};
use ids::TenantId;
use pg::{Conn, Json, Pg};
use serde_json::value::RawValue;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::consumer::Event;
use crate::delivery::Subscription;

/// Tries after which a parked event is a dead letter (about 17 minutes in all; `docs/dead-letters.md`).
const ATTEMPTS: i32 = 10;
/// Pause between two looks for parked events that are due.
const LOOK: Duration = Duration::from_millis(500);
/// Keys that are tried at the same time.
const AT_ONCE: usize = 4;
/// How often is counted what is parked.
const COUNT: Duration = Duration::from_secs(10);

/// Puts an event aside, unless another process has handled it meanwhile; later events of its key will queue behind it.
pub(crate) async fn park(pg: &Pg, subscription: &Arc<Subscription>, event: Event, why: &str) -> Result<(), pg::Error> {
    let (consumer, why) = (subscription.consumer, why.to_owned());
    pg.tx("outbox.park", TenantId::from_uuid(event.tenant_id), move |conn: &mut Conn| {
        let (event, why) = (event.clone(), why.clone());
        async move { insert(conn, consumer, &event, &why).await }.boxed()
    })
    .await
}

/// The same inside a transaction.
pub(crate) async fn insert(conn: &mut Conn, consumer: &str, event: &Event, why: &str) -> Result<(), pg::Error> {
    diesel::sql_query(
        "INSERT INTO parked (tenant_id, consumer, stream_id, version, event_id, type, payload, meta, occurred_at, \
         last_error, next_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, now(), $9, now() + interval '1 s' \
         WHERE NOT EXISTS (SELECT FROM inbox WHERE tenant_id = $1 AND consumer = $2 AND event_id = $5) \
         ON CONFLICT DO NOTHING",
    )
    .bind::<SqlUuid, _>(event.tenant_id)
    .bind::<Text, _>(consumer)
    .bind::<SqlUuid, _>(event.stream_id)
    .bind::<Integer, _>(event.version)
    .bind::<SqlUuid, _>(event.event_id)
    .bind::<Text, _>(&event.r#type)
    .bind::<Binary, _>(&event.payload)
    .bind::<Jsonb, _>(Json(&event.meta))
    .bind::<Text, _>(why)
    .execute(conn)
    .await?;
    Ok(())
}

/// A stream with parked events.
#[derive(QueryableByName, Clone, Copy)]
struct Key {
    #[diesel(sql_type = SqlUuid)]
    tenant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    stream_id: Uuid,
    /// Of its first event.
    #[diesel(sql_type = Integer)]
    version: i32,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    waiting: i64,
    #[diesel(sql_type = BigInt)]
    dead: i64,
}

#[derive(QueryableByName)]
struct Head {
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Text)]
    r#type: String,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
    #[diesel(sql_type = Jsonb)]
    meta: Json<Arc<RawValue>>,
}

/// Tries parked events when they are due, and says how many there are, until cancelled.
pub(crate) async fn look_after(pg: &Pg, subscription: &Arc<Subscription>, cancel: &CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted: Option<Instant> = None;
    let forever = async {
        loop {
            look.tick().await;
            retry_due(pg, subscription).await;
            if counted.is_none_or(|at| at.elapsed() >= COUNT) {
                counted = Some(Instant::now());
                count(pg, subscription.consumer).await;
            }
        }
    };
    // A try that has begun ends by itself.
    cancel.run_until_cancelled(forever).await;
}

/// Tries the first parked event of every key that is due; one bad key never stops the others.
async fn retry_due(pg: &Pg, subscription: &Arc<Subscription>) {
    let consumer = subscription.consumer;
    let due = pg
        .worker("outbox.parked", move |conn: &mut Conn| {
            async move {
                let keys: Vec<Key> = diesel::sql_query(
                    "SELECT tenant_id, stream_id, version FROM (SELECT DISTINCT ON (tenant_id, stream_id) tenant_id, \
                     stream_id, version, next_at, dead FROM parked WHERE consumer = $1 \
                     ORDER BY tenant_id, stream_id, version) head WHERE NOT dead AND next_at <= now() \
                     ORDER BY next_at LIMIT 100",
                )
                .bind::<Text, _>(consumer)
                .load(conn)
                .await?;
                Ok(keys)
            }
            .boxed()
        })
        .await;
    match due {
        Ok(keys) => {
            let tries = futures::stream::iter(keys).map(|key| retry(pg, subscription, key));
            tries.buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
        }
        Err(error) => tracing::warn!(consumer, %error, "parked events not found"),
    }
}

async fn retry(pg: &Pg, subscription: &Arc<Subscription>, key: Key) {
    let consumer = subscription.consumer;
    if let Err(error) = retry_head(pg, subscription, key).await {
        tracing::warn!(consumer, %error, "parked event fails still");
        if let Err(error) = failed_again(pg, consumer, key, error.to_string()).await {
            tracing::warn!(consumer, %error, "the failure could not be noted");
        }
    }
}

async fn retry_head(pg: &Pg, subscription: &Arc<Subscription>, key: Key) -> Result<(), pg::Error> {
    let subscription = Arc::clone(subscription);
    pg.tx("outbox.unpark", TenantId::from_uuid(key.tenant_id), move |conn: &mut Conn| {
        let subscription = Arc::clone(&subscription);
        async move {
            let consumer = subscription.consumer;
            // Whoever has it or had it meanwhile goes on with what is behind it.
            let Some(head) = head(conn, consumer, key).await? else { return Ok(()) };
            let event = Event {
                tenant_id: key.tenant_id,
                stream_id: key.stream_id,
                version: key.version,
                event_id: head.event_id,
                r#type: head.r#type,
                payload: head.payload,
                meta: head.meta.0,
            };
            let Some(handler) = subscription.handlers.get(event.r#type.as_str()).cloned() else {
                return Err(Fault::internal("a parked event has no handler any more").into());
            };
            // It was handled if a process parked it that had lost the log to another.
            if unpark(conn, consumer, &event).await? {
                handler.run(conn, vec![Arc::new(event.delivery(consumer))]).await?;
            }
            Ok(())
        }
        .boxed()
    })
    .await
}

/// The first event of a key if it is still the one that was due, locked.
async fn head(conn: &mut Conn, consumer: &str, key: Key) -> Result<Option<Head>, pg::Error> {
    let rows: Vec<Head> = diesel::sql_query(
        "SELECT event_id, type, payload, meta FROM parked \
         WHERE tenant_id = $1 AND consumer = $2 AND stream_id = $3 AND version = $4 FOR UPDATE SKIP LOCKED",
    )
    .bind::<SqlUuid, _>(key.tenant_id)
    .bind::<Text, _>(consumer)
    .bind::<SqlUuid, _>(key.stream_id)
    .bind::<Integer, _>(key.version)
    .load(conn)
    .await?;
    Ok(rows.into_iter().next())
}

/// Remembers an event instead of parking it; false when it was remembered before.
async fn unpark(conn: &mut Conn, consumer: &str, event: &Event) -> Result<bool, pg::Error> {
    let fresh = diesel::sql_query(
        "WITH gone AS (DELETE FROM parked WHERE tenant_id = $1 AND consumer = $2 AND event_id = $3 AND stream_id = $4) \
         INSERT INTO inbox (tenant_id, consumer, event_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind::<SqlUuid, _>(event.tenant_id)
    .bind::<Text, _>(consumer)
    .bind::<SqlUuid, _>(event.event_id)
    .bind::<SqlUuid, _>(event.stream_id)
    .execute(conn)
    .await?;
    Ok(fresh > 0)
}

async fn failed_again(pg: &Pg, consumer: &'static str, key: Key, why: String) -> Result<(), pg::Error> {
    pg.tx("outbox.parked_failed", TenantId::from_uuid(key.tenant_id), move |conn: &mut Conn| {
        let why = why.clone();
        async move {
            diesel::sql_query(
                "UPDATE parked SET attempts = attempts + 1, last_error = $5, dead = attempts + 1 >= $6, \
                 next_at = now() + least(interval '1 s' * power(2, attempts), interval '10 min') \
                 WHERE tenant_id = $1 AND consumer = $2 AND stream_id = $3 AND version = $4",
            )
            .bind::<SqlUuid, _>(key.tenant_id)
            .bind::<Text, _>(consumer)
            .bind::<SqlUuid, _>(key.stream_id)
            .bind::<Integer, _>(key.version)
            .bind::<Text, _>(&why)
            .bind::<Integer, _>(ATTEMPTS)
            .execute(conn)
            .await?;
            Ok(())
        }
        .boxed()
    })
    .await
}

/// Says how many events are parked; what is dead waits for a person.
async fn count(pg: &Pg, consumer: &'static str) {
    let counted = pg.worker("outbox.parked_count", move |conn: &mut Conn| {
        async move {
            let counts: Count = diesel::sql_query(
                "SELECT count(*) FILTER (WHERE NOT dead) AS waiting, count(*) FILTER (WHERE dead) AS dead \
                 FROM parked WHERE consumer = $1",
            )
            .bind::<Text, _>(consumer)
            .get_result(conn)
            .await?;
            Ok(counts)
        }
        .boxed()
    });
    match counted.await {
        Ok(Count { waiting, dead }) => {
            metrics::gauge!("outbox_parked_events", "consumer" => consumer, "state" => "waiting").set(waiting as f64);
            metrics::gauge!("outbox_parked_events", "consumer" => consumer, "state" => "dead").set(dead as f64);
        }
        Err(error) => tracing::warn!(consumer, %error, "parked events not counted"),
    }
}
