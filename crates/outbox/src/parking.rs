//! What happens to an event whose handler fails: it waits with its key, is tried again, and at last needs a person.

use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{Binary, Integer, Jsonb, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use pg::{Conn, Json, Pg};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::consumer::Event;
use crate::delivery::Subscription;

/// Tries after which a parked event is a dead letter (about 17 minutes in all).
const ATTEMPTS: i32 = 10;

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

#[derive(QueryableByName)]
struct Key {
    #[diesel(sql_type = SqlUuid)]
    tenant_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    stream_id: Uuid,
}

#[derive(QueryableByName)]
struct Head {
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Text)]
    r#type: String,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
    #[diesel(sql_type = Jsonb)]
    meta: Json<Arc<RawValue>>,
}

/// Tries the first parked event of every key that is due; one bad key never stops the others.
pub(crate) async fn retry_due(pg: &Pg, subscription: &Arc<Subscription>) {
    let consumer = subscription.consumer;
    let due = pg
        .worker("outbox.parked", move |conn: &mut Conn| {
            async move {
                let keys: Vec<Key> = diesel::sql_query(
                    "SELECT tenant_id, stream_id FROM (SELECT DISTINCT ON (tenant_id, stream_id) tenant_id, \
                     stream_id, next_at, dead FROM parked WHERE consumer = $1 ORDER BY tenant_id, stream_id, version) \
                     head WHERE NOT dead AND next_at <= now() LIMIT 100",
                )
                .bind::<Text, _>(consumer)
                .load(conn)
                .await?;
                Ok(keys)
            }
            .boxed()
        })
        .await;
    let keys = match due {
        Ok(keys) => keys,
        Err(error) => return tracing::warn!(consumer, %error, "parked events not found"),
    };
    for key in keys {
        let tenant = TenantId::from_uuid(key.tenant_id);
        if let Err(error) = retry_head(pg, subscription, tenant, key.stream_id).await {
            tracing::warn!(consumer, %error, "parked event fails still");
            let failed = failed_again(pg, consumer, tenant, key.stream_id, error.to_string()).await;
            if let Err(error) = failed {
                tracing::warn!(consumer, %error, "the failure could not be noted");
            }
        }
    }
}

async fn retry_head(
    pg: &Pg,
    subscription: &Arc<Subscription>,
    tenant: TenantId,
    stream: Uuid,
) -> Result<(), pg::Error> {
    let subscription = Arc::clone(subscription);
    pg.tx("outbox.unpark", tenant, move |conn: &mut Conn| {
        let subscription = Arc::clone(&subscription);
        async move {
            let consumer = subscription.consumer;
            let Some(head) = head(conn, tenant, consumer, stream).await? else { return Ok(()) };
            let event = Event {
                tenant_id: tenant.uuid(),
                stream_id: stream,
                version: head.version,
                event_id: head.event_id,
                r#type: head.r#type,
                payload: head.payload,
                meta: head.meta.0,
            };
            let Some(handler) = subscription.handlers.get(event.r#type.as_str()).cloned() else {
                return Err(Fault::internal("a parked event has no handler any more").into());
            };
            handler.run(conn, vec![Arc::new(event.delivery(consumer))]).await?;
            diesel::sql_query(
                "WITH seen AS (INSERT INTO inbox (tenant_id, consumer, event_id) VALUES ($1, $2, $4) \
                 ON CONFLICT DO NOTHING) DELETE FROM parked \
                 WHERE tenant_id = $1 AND consumer = $2 AND stream_id = $3 AND event_id = $4",
            )
            .bind::<SqlUuid, _>(tenant.uuid())
            .bind::<Text, _>(consumer)
            .bind::<SqlUuid, _>(stream)
            .bind::<SqlUuid, _>(event.event_id)
            .execute(conn)
            .await?;
            Ok(())
        }
        .boxed()
    })
    .await
}

async fn head(conn: &mut Conn, tenant: TenantId, consumer: &str, stream: Uuid) -> Result<Option<Head>, pg::Error> {
    let rows: Vec<Head> = diesel::sql_query(
        "SELECT version, event_id, type, payload, meta FROM parked \
         WHERE tenant_id = $1 AND consumer = $2 AND stream_id = $3 ORDER BY version LIMIT 1 FOR UPDATE SKIP LOCKED",
    )
    .bind::<SqlUuid, _>(tenant.uuid())
    .bind::<Text, _>(consumer)
    .bind::<SqlUuid, _>(stream)
    .load(conn)
    .await?;
    Ok(rows.into_iter().next())
}

async fn failed_again(
    pg: &Pg,
    consumer: &'static str,
    tenant: TenantId,
    stream: Uuid,
    why: String,
) -> Result<(), pg::Error> {
    pg.tx("outbox.parked_failed", tenant, move |conn: &mut Conn| {
        let why = why.clone();
        async move {
            diesel::sql_query(
                "UPDATE parked SET attempts = attempts + 1, last_error = $4, dead = attempts + 1 >= $5, \
                 next_at = now() + least(interval '1 s' * power(2, attempts), interval '10 min') \
                 WHERE tenant_id = $1 AND consumer = $2 AND stream_id = $3 AND version = \
                 (SELECT min(version) FROM parked WHERE tenant_id = $1 AND consumer = $2 AND stream_id = $3)",
            )
            .bind::<SqlUuid, _>(tenant.uuid())
            .bind::<Text, _>(consumer)
            .bind::<SqlUuid, _>(stream)
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
