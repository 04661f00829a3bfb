//! The bus as any service has it: what becomes of events whose handler fails, and of what has outlived its purpose.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ctx::{Cause, Ctx};
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use ids::TenantId;
use jiff::Timestamp;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use outbox::{Consumer, Retention, Subscription};
use pg::{Conn, Pg};
use testkit::{Db, eventually};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::LIMIT;

/// Handled at once, and noted.
const NEWS: &str = "ordermesh.notification.v1.News";
/// Handled slowly.
const SLOW: &str = "ordermesh.notification.v1.Slow";
/// Not handled while the world is broken.
const BROKEN: &str = "ordermesh.notification.v1.Broken";

diesel::define_sql_function! {
    fn parked_revive(tenant: SqlUuid, stream: Nullable<SqlUuid>) -> Integer;
}

/// What was handled, in order: stream and version.
type Handled = Arc<Mutex<Vec<(Uuid, i32)>>>;

struct Bus {
    db: Db,
    pg: Pg,
    tenant: TenantId,
    handled: Handled,
    broken: Arc<AtomicU64>,
}

impl Bus {
    async fn open() -> anyhow::Result<Self> {
        let db = Db::fresh("notification", crate::MIGRATIONS).await?;
        let pg = db.pg("notification");
        Ok(Self { db, pg, tenant: TenantId::new(), handled: Handled::default(), broken: Arc::default() })
    }

    /// A process with a consumer, until it is dropped.
    fn consume(&self) -> DropGuard {
        let (handled, broken) = (Arc::clone(&self.handled), Arc::clone(&self.broken));
        let subscription = Subscription::new("test")
            .on(NEWS, move |_, delivery| {
                handled.lock().unwrap_or_else(PoisonError::into_inner).push((delivery.stream, delivery.version));
                async { Ok(()) }.boxed()
            })
            .on(SLOW, |conn, _| {
                async move {
                    diesel::sql_query("SELECT pg_sleep(0.1)").execute(conn).await?;
                    Ok(())
                }
                .boxed()
            })
            .on(BROKEN, move |_, _| {
                let broken = AtomicU64::load(&broken, Ordering::SeqCst) > 0;
                async move { if broken { Err(Fault::internal("still broken").into()) } else { Ok(()) } }.boxed()
            });
        let cancel = CancellationToken::new();
        tokio::spawn(Consumer::new(self.pg.clone(), subscription).run(cancel.clone()));
        cancel.drop_guard()
    }

    /// Parks events of a stream, the first after so many tries; returns the stream and the ids.
    async fn park(&self, types: &[&'static str], attempts: i32) -> anyhow::Result<(Uuid, Vec<Uuid>)> {
        let (tenant, stream, mut ids) = (self.tenant, Uuid::now_v7(), Vec::new());
        for (version, r#type) in (1..).zip(types.iter().copied()) {
            let event = Uuid::now_v7();
            let parked = self.pg.tx("test.park", tenant, move |conn: &mut Conn| {
                async move {
                    let query = diesel::sql_query(
                        "INSERT INTO parked (tenant_id, consumer, stream_id, version, event_id, type, payload, meta, \
                         occurred_at, attempts, last_error, next_at) \
                         VALUES ($1, 'test', $2, $3, $4, $5, '', '{}', now(), $6, 'it failed', now())",
                    )
                    .bind::<SqlUuid, _>(tenant.uuid())
                    .bind::<SqlUuid, _>(stream)
                    .bind::<Integer, _>(version)
                    .bind::<SqlUuid, _>(event)
                    .bind::<Text, _>(r#type)
                    .bind::<Integer, _>(if version == 1 { attempts } else { 0 });
                    query.execute(conn).await?;
                    Ok(())
                }
                .boxed()
            });
            parked.await?;
            ids.push(event);
        }
        Ok((stream, ids))
    }

    async fn count(&self, what: &str) -> anyhow::Result<i64> {
        Ok(diesel::select(sql::<BigInt>(what)).get_result(&mut self.db.admin().await?).await?)
    }

    async fn parked(&self) -> anyhow::Result<i64> {
        self.count("(SELECT count(*) FROM om_notification.parked)").await
    }

    /// What an operator does: with a role of the service, as `docs/dead-letters.md` says.
    async fn revive(&self, tenant: TenantId, stream: Option<Uuid>) -> anyhow::Result<i32> {
        let query = diesel::select(parked_revive(tenant.uuid(), stream));
        Ok(query.get_result(&mut self.db.connect("om_notification").await?).await?)
    }

    /// Versions of a stream that were handled, in order.
    fn handled(&self, stream: Uuid) -> Vec<i32> {
        let handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        handled.iter().filter(|(of, _)| *of == stream).map(|(_, version)| *version).collect()
    }

    async fn until_handled(&self, stream: Uuid, versions: &[i32]) -> anyhow::Result<()> {
        eventually(LIMIT, async || {
            let handled = self.handled(stream);
            anyhow::ensure!(handled == versions, "{handled:?} instead of {versions:?}");
            Ok(Some(()))
        })
        .await
    }
}

#[tokio::test]
async fn evt_02_a_parked_event_that_was_handled_meanwhile_has_no_second_effect() -> anyhow::Result<()> {
    let bus = Bus::open().await?;
    let (stream, ids) = bus.park(&[NEWS, NEWS], 0).await?;
    // As another process leaves it: it had the event before the one that lost the log parked it.
    let (tenant, event) = (bus.tenant.uuid(), ids[0]);
    let remembered = bus.pg.tx("test.remember", bus.tenant, move |conn: &mut Conn| {
        async move {
            let query = diesel::sql_query("INSERT INTO inbox (tenant_id, consumer, event_id) VALUES ($1, 'test', $2)");
            query.bind::<SqlUuid, _>(tenant).bind::<SqlUuid, _>(event).execute(conn).await?;
            Ok(())
        }
        .boxed()
    });
    remembered.await?;
    let _process = bus.consume();
    bus.until_handled(stream, &[2]).await?;
    eventually(LIMIT, async || Ok((bus.parked().await? == 0).then_some(()))).await?;
    assert_eq!(bus.count("(SELECT count(*) FROM om_notification.inbox)").await?, 2);
    Ok(())
}

#[tokio::test]
async fn a_parked_event_that_somebody_has_in_hand_keeps_its_place_before_later_ones() -> anyhow::Result<()> {
    let bus = Bus::open().await?;
    let (held, ids) = bus.park(&[NEWS, NEWS], 0).await?;
    let (clock, _) = bus.park(&[NEWS, NEWS, NEWS], 0).await?;
    let mut other = bus.db.admin().await?;
    let lock = format!("SELECT FROM om_notification.parked WHERE event_id = '{}' FOR UPDATE", ids[0]);
    other.batch_execute(&format!("BEGIN; {lock}")).await?;
    let _process = bus.consume();
    // Each look handles the first of a key: there were three.
    bus.until_handled(clock, &[1, 2, 3]).await?;
    assert_eq!(bus.handled(held), [0; 0]);
    other.batch_execute("ROLLBACK").await?;
    bus.until_handled(held, &[1, 2]).await
}

#[tokio::test]
async fn many_slow_parked_events_hold_up_nothing_new() -> anyhow::Result<()> {
    let bus = Bus::open().await?;
    for _ in 0..100 {
        bus.park(&[SLOW], 0).await?;
    }
    let _process = bus.consume();
    eventually(LIMIT, async || Ok((bus.parked().await? < 100).then_some(()))).await?;
    let ctx = Ctx::service("test", bus.tenant, Cause::default(), Timestamp::now());
    let stream = Uuid::now_v7();
    let published = bus.pg.tx("test.publish", bus.tenant, move |conn: &mut Conn| {
        let ctx = ctx.clone();
        async move {
            let news = NewEvent::new(NEWS, "notification.v1", Vec::new());
            eventlog::append(conn, &ctx, stream, 0, &[news]).await
        }
        .boxed()
    });
    published.await?;
    bus.until_handled(stream, &[1]).await?;
    assert!(bus.parked().await? > 0, "what is new waited for all that is parked");
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_is_seen_keeps_its_key_waiting_and_comes_back_when_a_person_says_so() -> anyhow::Result<()> {
    let gauges = Gauges::default();
    let _listens = metrics::set_default_local_recorder(&gauges);
    let bus = Bus::open().await?;
    bus.broken.store(1, Ordering::SeqCst);
    let (stream, _) = bus.park(&[BROKEN, NEWS, NEWS], 9).await?;
    let process = bus.consume();
    let dead = "(SELECT count(*) FROM om_notification.parked WHERE dead AND last_error <> 'it failed')";
    eventually(LIMIT, async || Ok((bus.count(dead).await? == 1).then_some(()))).await?;
    drop(process);
    // A process counts when it starts.
    let _process = bus.consume();
    eventually(LIMIT, async || Ok((gauges.get("dead") == Some(1.0)).then_some(()))).await?;
    assert_eq!(gauges.get("waiting"), Some(2.0));
    bus.broken.store(0, Ordering::SeqCst);
    let (clock, _) = bus.park(&[NEWS, NEWS], 0).await?;
    bus.until_handled(clock, &[1, 2]).await?;
    assert_eq!(bus.handled(stream), [0; 0], "nobody tries it any more");
    assert_eq!(bus.revive(TenantId::new(), None).await?, 0, "it is another tenant's");
    assert_eq!(bus.revive(bus.tenant, Some(Uuid::now_v7())).await?, 0);
    assert_eq!(bus.revive(bus.tenant, Some(stream)).await?, 1);
    bus.until_handled(stream, &[2, 3]).await?;
    assert_eq!(bus.parked().await?, 0);
    Ok(())
}

#[tokio::test]
async fn what_has_outlived_its_purpose_goes_in_small_transactions_however_much_it_is() -> anyhow::Result<()> {
    let bus = Bus::open().await?;
    let mut admin = bus.db.admin().await?;
    admin
        .batch_execute(
            "SET search_path = om_notification;
             INSERT INTO idempotency (tenant_id, scope, key, fingerprint, created_at)
               SELECT gen_random_uuid(), 's', 'k', '', now() - interval '7 days 1 hour' FROM generate_series(1, 12000);
             INSERT INTO idempotency (tenant_id, scope, key, fingerprint, created_at)
               VALUES (gen_random_uuid(), 's', 'k', '', now() - interval '6 days');
             INSERT INTO inbox SELECT gen_random_uuid(), 'c', gen_random_uuid(), now() - interval '31 days'
               FROM generate_series(1, 6000);
             INSERT INTO inbox VALUES (gen_random_uuid(), 'c', gen_random_uuid(), now() - interval '29 days');
             CREATE TABLE public.batches (xid xid8 NOT NULL DEFAULT pg_current_xact_id(), n bigint NOT NULL);
             CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
               BEGIN INSERT INTO public.batches (n) SELECT count(*) FROM gone; RETURN NULL; END $$;
             CREATE TRIGGER note AFTER DELETE ON idempotency REFERENCING OLD TABLE AS gone
               FOR EACH STATEMENT EXECUTE FUNCTION public.note();
             CREATE TRIGGER note AFTER DELETE ON inbox REFERENCING OLD TABLE AS gone
               FOR EACH STATEMENT EXECUTE FUNCTION public.note();",
        )
        .await?;
    let cancel = CancellationToken::new();
    let running = tokio::spawn(Retention::new(bus.pg.clone()).run(cancel.clone()));
    eventually(LIMIT, async || {
        let left = "(SELECT count(*) FROM om_notification.idempotency) \
                    + (SELECT count(*) FROM om_notification.inbox)";
        Ok((bus.count(left).await? == 2).then_some(()))
    })
    .await?;
    cancel.cancel();
    running.await?;
    assert_eq!(bus.count("(SELECT sum(n) FROM batches)::bigint").await?, 18_000);
    let largest = bus.count("(SELECT max(n) FROM (SELECT sum(n) AS n FROM batches GROUP BY xid) t)::bigint").await?;
    assert!(largest <= 5_000, "{largest} rows in one transaction");
    Ok(())
}

/// The last value of every gauge of parked events, by state.
#[derive(Default)]
struct Gauges(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Gauges {
    fn get(&self, state: &str) -> Option<f64> {
        let gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.get(state).map(|bits| f64::from_bits(AtomicU64::load(bits, Ordering::SeqCst)))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let state = key.labels().find(|label| label.key() == "state");
        let Some(state) = state.filter(|_| key.name() == "outbox_parked_events") else { return Gauge::noop() };
        let mut gauges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Gauge::from_arc(Arc::clone(gauges.entry(state.value().to_owned()).or_default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
