//! The log under many writers whose transactions overlap: nothing is skipped, nothing doubled, no stream turned around.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use contract::Event as _;
use contract::order::v1::OrderConfirmed;
use ctx::{Cause, Ctx};
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Double, Integer, Jsonb, Text, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use eventlog::NewEvent;
use fault::Fault;
use futures::FutureExt;
use futures::future::try_join_all;
use ids::TenantId;
use jiff::Timestamp;
use outbox::{Consumer, Delivery, Subscription};
use pg::{Conn, Pg};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use testkit::{Db, eventually};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::journey::world::{number, rows, text};

const WRITERS: u64 = 12;
const APPENDS: usize = 40;
const STREAMS: usize = 9;
const SEEN_BY: &str = "SELECT jsonb_build_object('consumer', consumer, 'stream', stream, 'version', version) AS row \
    FROM om_order.seen WHERE tenant_id = $1 ORDER BY at";
const SEEN: &str = "CREATE TABLE om_order.seen (tenant_id uuid NOT NULL, consumer text NOT NULL, stream uuid NOT NULL, \
    version int NOT NULL, at bigint GENERATED ALWAYS AS IDENTITY); GRANT INSERT ON om_order.seen TO om_order";

diesel::define_sql_function! {
    /// Remembers events.
    fn inbox_claim(tenant: SqlUuid, consumer: Text, streams: Array<SqlUuid>, events: Array<SqlUuid>) -> Array<Integer>;
}

#[derive(QueryableByName)]
struct Last {
    #[diesel(sql_type = Integer)]
    version: i32,
}

/// Appends events to streams that others append to as well, in transactions that take their time.
async fn write(pg: Pg, tenant: TenantId, streams: Arc<Vec<Uuid>>, seed: u64) -> Result<usize> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut written = 0;
    for _ in 0..APPENDS {
        let stream = streams[rng.random_range(0..streams.len())];
        let (before, after) = (rng.random_range(0.0..0.008), rng.random_range(0.0..0.008));
        let count = rng.random_range(1..4);
        let appended = pg.tx("test.append", tenant, move |conn: &mut Conn| {
            append(conn, tenant, stream, count, before, after).boxed()
        });
        match appended.await.map_err(Fault::from) {
            Ok(()) => written += count,
            Err(fault) if fault.reason() == "VERSION_CONFLICT" => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(written)
}

/// The transaction has its number before it looks at the stream, so that numbers and versions may disagree.
async fn append(
    conn: &mut Conn,
    tenant: TenantId,
    stream: Uuid,
    count: usize,
    before: f64,
    after: f64,
) -> Result<(), pg::Error> {
    const BEGIN: &str = "SELECT pg_current_xact_id(), pg_sleep($1)";
    const LAST: &str =
        "SELECT coalesce(max(version), 0) AS version FROM events WHERE tenant_id = $1 AND stream_id = $2";
    diesel::sql_query(BEGIN).bind::<Double, _>(before).execute(conn).await?;
    let last: Last =
        diesel::sql_query(LAST).bind::<SqlUuid, _>(tenant.uuid()).bind::<SqlUuid, _>(stream).get_result(conn).await?;
    let ctx = Ctx::service("order", tenant, Cause::default(), Timestamp::now());
    let payload = OrderConfirmed { order_id: "ord_1".to_owned(), ..OrderConfirmed::default() }.encode_to_vec();
    let events = vec![NewEvent::new(OrderConfirmed::TYPE, OrderConfirmed::TOPIC, payload); count];
    eventlog::append(conn, &ctx, stream, last.version, &events).await?;
    diesel::sql_query("SELECT pg_sleep($1)").bind::<Double, _>(after).execute(conn).await?;
    Ok(())
}

async fn write_all(pg: &Pg, tenant: TenantId) -> Result<usize> {
    let streams = Arc::new((0..STREAMS).map(|_| Uuid::now_v7()).collect::<Vec<_>>());
    let writers = (0..WRITERS).map(|seed| tokio::spawn(write(pg.clone(), tenant, Arc::clone(&streams), seed)));
    let mut written = 0;
    for writer in try_join_all(writers).await? {
        written += writer?;
    }
    Ok(written)
}

fn remembering(consumer: &'static str) -> Subscription {
    Subscription::new(consumer)
        .on(OrderConfirmed::TYPE, move |conn, delivery| remember(conn, consumer, delivery).boxed())
}

/// The same for what came together.
fn remembering_all(consumer: &'static str) -> Subscription {
    Subscription::new(consumer).on_all(OrderConfirmed::TYPE, move |conn, deliveries| {
        async move {
            for delivery in deliveries {
                remember(conn, consumer, delivery).await?;
            }
            Ok(())
        }
        .boxed()
    })
}

async fn remember(conn: &mut Conn, consumer: &'static str, delivery: Arc<Delivery>) -> Result<(), pg::Error> {
    diesel::sql_query("INSERT INTO om_order.seen (tenant_id, consumer, stream, version) VALUES ($1, $2, $3, $4)")
        .bind::<SqlUuid, _>(delivery.ctx.tenant.uuid())
        .bind::<Text, _>(consumer)
        .bind::<SqlUuid, _>(delivery.stream)
        .bind::<Integer, _>(delivery.version)
        .execute(conn)
        .await?;
    Ok(())
}

/// Every stream's versions as they came, 1 to n.
fn in_order(what: &str, rows: &[Value], expected: usize) -> Result<()> {
    let mut streams: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for row in rows {
        streams.entry(text(row, "stream")).or_default().push(number(&row["version"]));
    }
    for (stream, versions) in &streams {
        let right: Vec<i64> = (1..).take(versions.len()).collect();
        ensure!(*versions == right, "{what}: {stream} came as {versions:?}");
    }
    ensure!(rows.len() == expected, "{what}: {} of {expected} events", rows.len());
    Ok(())
}

/// A consumer that dies in the middle of its work and is followed by another, again and again.
fn mortal<F>(
    life: Duration,
    live: impl Fn(CancellationToken) -> F + Send + 'static,
    done: CancellationToken,
) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        let deadline = Instant::now() + Duration::from_secs(240);
        while !done.is_cancelled() && Instant::now() < deadline {
            let one = tokio::spawn(live(CancellationToken::new()));
            tokio::time::sleep(life).await;
            one.abort();
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evt_02_every_event_reaches_every_consumer_once_and_in_order() -> Result<()> {
    type Listening = fn(&'static str) -> Subscription;
    const CONSUMERS: [(&str, Listening); 2] = [("one by one", remembering), ("together", remembering_all)];
    let db = Db::fresh("order", order::MIGRATIONS).await?;
    db.admin().await?.batch_execute(SEEN).await?;
    let (pg, tenant, done) = (db.pg("order"), TenantId::new(), CancellationToken::new());
    // What a dead consumer reads is free after 5 s.
    let tasks = CONSUMERS.map(|(name, subscription)| {
        let consumed = db.pg("order");
        let live = move |cancel| Consumer::new(consumed.clone(), subscription(name)).run(cancel);
        mortal(Duration::from_millis(2_500), live, done.clone())
    });
    let written = write_all(&pg, tenant).await?;
    let all = eventually(Duration::from_secs(230), || async {
        let seen = rows(&mut db.admin().await?, SEEN_BY, tenant.uuid()).await?;
        ensure!(seen.len() >= written * CONSUMERS.len(), "{} of {written} twice", seen.len());
        Ok(Some(seen))
    });
    let all = all.await;
    done.cancel();
    for task in tasks {
        task.await?;
    }
    let all = all?;
    for (name, _) in CONSUMERS {
        let seen: Vec<Value> = all.iter().filter(|row| text(row, "consumer") == name).cloned().collect();
        in_order(name, &seen, written)?;
    }
    Ok(())
}

/// How far a log was read, and what was there.
#[derive(QueryableByName)]
struct Tail {
    #[diesel(sql_type = BigInt)]
    seen: i64,
    #[diesel(sql_type = Text)]
    xid: String,
    #[diesel(sql_type = BigInt)]
    gpos: i64,
    #[diesel(sql_type = Jsonb)]
    events: Value,
}

/// Reads a log in small batches while others write, until so many events came.
async fn tail(reader: Pg, told: tokio::sync::watch::Receiver<Option<usize>>) -> Result<Vec<Value>> {
    const NEXT: &str = "SELECT o_seen AS seen, coalesce(o_xid::text, '') AS xid, coalesce(o_gpos, 0) AS gpos, \
        coalesce(o_events, '[]') AS events FROM events_tail($1::xid8, $2, ARRAY[$3], 3)";
    let deadline = Instant::now() + Duration::from_secs(240);
    let (mut read, mut xid, mut gpos) = (Vec::new(), "0".to_owned(), 0);
    loop {
        ensure!(Instant::now() < deadline, "no end in sight: {} of {:?}", read.len(), *told.borrow());
        let place = xid.clone();
        let next = reader.worker("test.tail", move |conn: &mut Conn| {
            let next = diesel::sql_query(NEXT).bind::<Text, _>(place.clone()).bind::<BigInt, _>(gpos);
            async move { Ok(next.bind::<Text, _>(OrderConfirmed::TYPE).get_result::<Tail>(conn).await?) }.boxed()
        });
        let next = next.await?;
        if next.seen > 0 {
            (xid, gpos) = (next.xid, next.gpos);
            read.extend(
                next.events
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|event| json!({"stream": event["stream_id"], "version": event["version"]})),
            );
        }
        // Nothing new says little: a transaction of any database of the cluster holds the newest events back.
        if told.borrow().is_some_and(|written| read.len() >= written) {
            return Ok(read);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evt_05_a_reader_of_small_batches_gets_every_event_in_the_order_of_its_stream() -> Result<()> {
    let db = Db::fresh("order", order::MIGRATIONS).await?;
    let (pg, tenant) = (db.pg("order"), TenantId::new());
    let (tell, told) = tokio::sync::watch::channel(None::<usize>);
    let reading = tokio::spawn(tail(pg.clone(), told));
    let written = write_all(&pg, tenant).await?;
    tell.send(Some(written))?;
    in_order("the log", &reading.await??, written)
}

#[tokio::test]
async fn evt_05_an_event_of_an_older_transaction_stands_behind_the_one_that_it_follows() -> Result<()> {
    const WAYS: [&str; 2] = [
        "SELECT event_append('TENANT', 'STREAM', BEFORE, ARRAY['t'], ARRAY['t.v1'], ARRAY[''::bytea], '{}')",
        "SELECT events_append('TENANT', ARRAY[ROW('STREAM', BEFORE + 1, 't', 't.v1', '', '{}')::happened])",
    ];
    const LOG: &str = "SELECT jsonb_build_object('stream', stream_id, 'version', version) AS row \
        FROM om_order.events WHERE tenant_id = $1 ORDER BY xid, gpos";
    let db = Db::fresh("order", order::MIGRATIONS).await?;
    let (mut old, mut young, tenant) = (db.admin().await?, db.admin().await?, TenantId::new());
    old.batch_execute("SET search_path = om_order").await?;
    young.batch_execute("SET search_path = om_order").await?;
    for way in WAYS {
        let way = way.replace("TENANT", &tenant.uuid().to_string()).replace("STREAM", &Uuid::now_v7().to_string());
        old.batch_execute("BEGIN; SELECT pg_current_xact_id()").await?;
        young.batch_execute(&way.replace("BEFORE", "0")).await?;
        old.batch_execute(&way.replace("BEFORE", "1")).await?;
        old.batch_execute("COMMIT").await?;
    }
    in_order("the log", &rows(&mut young, LOG, tenant.uuid()).await?, 2 * WAYS.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evt_02_an_event_that_fails_among_many_is_parked_alone_with_what_follows_it() -> Result<()> {
    const PARKED: &str = "SELECT jsonb_build_object('stream', stream_id, 'version', version, 'behind', \
        last_error LIKE 'an earlier event%') AS row FROM om_order.parked WHERE tenant_id = $1 ORDER BY version";
    let db = Db::fresh("order", order::MIGRATIONS).await?;
    db.admin().await?.batch_execute(SEEN).await?;
    let (pg, tenant, cancel) = (db.pg("order"), TenantId::new(), CancellationToken::new());
    let streams: Vec<Uuid> = (0..STREAMS).map(|_| Uuid::now_v7()).collect();
    let (bad, together) = (streams[4], Arc::new(AtomicUsize::new(0)));
    let most = Arc::clone(&together);
    // Two events of every stream before anybody listens: the first of each can be handled together.
    for stream in &streams {
        let stream = *stream;
        pg.tx("test.append", tenant, move |conn| append(conn, tenant, stream, 2, 0.0, 0.0).boxed()).await?;
    }
    let listening = Subscription::new("some").on_all(OrderConfirmed::TYPE, move |conn, deliveries| {
        most.fetch_max(deliveries.len(), Ordering::SeqCst);
        async move {
            for delivery in deliveries {
                if (delivery.stream, delivery.version) == (bad, 1) {
                    return Err(Fault::internal("this one cannot be read").into());
                }
                remember(conn, "some", delivery).await?;
            }
            Ok(())
        }
        .boxed()
    });
    let task = tokio::spawn(Consumer::new(pg.clone(), listening).run(cancel.clone()));
    let told = eventually(Duration::from_secs(60), || async {
        let seen = rows(&mut db.admin().await?, SEEN_BY, tenant.uuid()).await?;
        let parked = rows(&mut db.admin().await?, PARKED, tenant.uuid()).await?;
        ensure!(seen.len() >= 2 * (STREAMS - 1) && parked.len() >= 2, "{} seen, {} parked", seen.len(), parked.len());
        Ok(Some((seen, parked)))
    });
    let told = told.await;
    cancel.cancel();
    task.await?;
    let (seen, parked) = told?;
    in_order("what was handled", &seen, 2 * (STREAMS - 1))?;
    let parked = parked.iter().map(|row| (text(row, "stream"), number(&row["version"]), row["behind"] == true));
    let stream = bad.to_string();
    assert_eq!(parked.collect::<Vec<_>>(), [(stream.as_str(), 1, false), (stream.as_str(), 2, true)]);
    assert!(AtomicUsize::load(&together, Ordering::SeqCst) > 1, "nothing was handled together");
    Ok(())
}

#[tokio::test]
async fn evt_02_of_events_that_are_claimed_together_each_is_told_what_it_is() -> Result<()> {
    let db = Db::fresh("order", order::MIGRATIONS).await?;
    let (pg, tenant) = (db.pg("order"), TenantId::new());
    let (streams, events): (Vec<Uuid>, Vec<Uuid>) = (0..4).map(|_| (Uuid::now_v7(), Uuid::now_v7())).unzip();
    let parked = format!(
        "INSERT INTO om_order.parked (tenant_id, consumer, stream_id, version, event_id, type, payload, meta, occurred_at, \
         last_error, next_at) VALUES ('{}', 'some', '{}', 1, '{}', 't', '', '{{}}', now(), 'bad', now())",
        tenant.uuid(),
        streams[2],
        Uuid::now_v7()
    );
    db.admin().await?.batch_execute(&parked).await?;
    let claim = async |at: &'static [usize]| {
        let (streams, events) = (streams.clone(), events.clone());
        let claimed = pg.tx("test.claim", tenant, move |conn: &mut Conn| {
            let (streams, events): (Vec<_>, Vec<_>) = at.iter().map(|at| (streams[*at], events[*at])).unzip();
            let claim = inbox_claim(tenant.uuid(), "some", streams, events);
            async move { Ok(diesel::select(claim).get_result::<Vec<i32>>(conn).await?) }.boxed()
        });
        claimed.await
    };
    assert_eq!(claim(&[3, 1]).await?, [1, 1], "fresh");
    assert_eq!(claim(&[2, 1, 0, 3]).await?, [2, 0, 1, 0], "behind a parked one, seen, fresh, seen");
    assert_eq!(claim(&[0, 2]).await?, [0, 2], "what queues is not remembered");
    Ok(())
}
