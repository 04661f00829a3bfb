//! What reading one stream costs when events lie in parts by month (ORD-40).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Json, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;
use testkit::Db;
use uuid::Uuid;

use crate::counter::{Stream, added};

/// Months that have a part, the first takes whatever is older.
const MONTHS: usize = 8;
/// Events of each stream of a month.
const EVENTS: usize = 3;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct Plan {
    #[diesel(sql_type = Json, column_name = "QUERY PLAN")]
    plan: Value,
}

#[derive(QueryableByName)]
struct Read {
    #[diesel(sql_type = Text)]
    part: String,
    #[diesel(sql_type = BigInt)]
    scans: i64,
}

async fn lines(conn: &mut AsyncPgConnection, query: &str) -> Result<Vec<String>> {
    let lines: Vec<Line> = diesel::sql_query(query).load(conn).await?;
    Ok(lines.into_iter().map(|line| line.line).collect())
}

/// A stream of each month, of one tenant, and the parts that they lie in, oldest first.
async fn year() -> Result<(Db, Vec<Stream>, Vec<String>)> {
    let (db, first) = Stream::open().await?;
    let mut admin = db.admin().await?;
    admin.batch_execute(&format!("SET search_path = om_order; SELECT om_make_parts({})", MONTHS - 1)).await?;
    let parts = "SELECT c.relname::text AS line FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'events'::regclass ORDER BY 1";
    let parts = lines(&mut admin, parts).await?;
    let mut streams = Vec::new();
    for ahead in 0..MONTHS {
        // The tenth of the month, so that no zone of time matters.
        let id = format!(
            "SELECT overlay(om_id_at(date_trunc('month', now()) + interval '{ahead} months 10 days')::text
               placing '7' from 15 for 1) AS line"
        );
        let id: Uuid = lines(&mut admin, &id).await?.remove(0).parse()?;
        let stream = Stream { id, ..first.clone() };
        stream.append(0, (0_i64..).take(EVENTS).map(added).collect()).await?;
        streams.push(stream);
    }
    admin.batch_execute("ANALYZE events").await?;
    Ok((db, streams, parts))
}

/// The statement with which `stream_read` reads events, prepared for (tenant, stream, version) and planned as there.
async fn prepared(db: &Db, stream: &Stream) -> Result<AsyncPgConnection> {
    let body = "SELECT prosrc AS line FROM pg_proc WHERE oid = 'om_order.stream_read'::regproc";
    let body = lines(&mut db.admin().await?, body).await?.remove(0);
    let (_, query) = body.split_once("o_events := ARRAY(").context("the events are read")?;
    let (query, _) = query.split_once(");").context("one statement")?;
    let names = [("p_tenant", "$1"), ("p_stream", "$2"), ("coalesce(o_version, p_after)", "$3")];
    let query = names.iter().fold(query.to_owned(), |query, (name, place)| query.replace(name, place));
    let mut conn = db.connect("om_order").await?;
    // One plan for all streams, as om_grant sets it: which part it is shows only when the plan is run.
    conn.batch_execute(&format!(
        "SET app.tenant = '{}'; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
         PREPARE events_of (uuid, uuid, int) AS {query}",
        stream.ctx.tenant.uuid()
    ))
    .await?;
    Ok(conn)
}

/// Tables that a plan looks at.
fn looked_at(plan: &Value, found: &mut Vec<String>) {
    match plan {
        Value::Object(node) => {
            found.extend(node.get("Relation Name").and_then(Value::as_str).map(str::to_owned));
            node.values().for_each(|inner| looked_at(inner, found));
        }
        Value::Array(nodes) => nodes.iter().for_each(|node| looked_at(node, found)),
        _ => {}
    }
}

#[tokio::test]
async fn ord_40_the_plan_of_a_stream_has_the_part_of_its_month_and_no_other() -> Result<()> {
    let (db, streams, parts) = year().await?;
    assert_eq!(parts.len(), MONTHS, "{parts:?}");
    let mut conn = prepared(&db, &streams[0]).await?;
    for (stream, part) in streams.iter().zip(&parts) {
        let (tenant, id) = (stream.ctx.tenant.uuid(), stream.id);
        let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE events_of ('{tenant}', '{id}', 0)");
        let plan: Plan = diesel::sql_query(explain).get_result(&mut conn).await?;
        let mut found = Vec::new();
        looked_at(&plan.plan, &mut found);
        assert_eq!(found, [part.as_str()], "{:#}", plan.plan);
        let rows = plan.plan.pointer("/0/Plan/Actual Rows").and_then(Value::as_f64);
        assert_eq!(rows.map(|rows| rows as usize), Some(EVENTS), "{:#}", plan.plan);
    }
    Ok(())
}

#[tokio::test]
async fn ord_40_reading_a_stream_and_appending_to_it_scan_no_month_but_its_own() -> Result<()> {
    let (db, streams, parts) = year().await?;
    for (stream, own) in streams.iter().zip(&parts) {
        let (tenant, id) = (stream.ctx.tenant.uuid(), stream.id);
        let append = format!("event_append('{tenant}', '{id}', {EVENTS}, '{{t}}', '{{t}}', '{{x}}', '{{}}')::text");
        for call in [format!("cardinality((stream_read('{tenant}', '{id}', 0, 1)).o_events)::text"), append] {
            let mut conn = db.connect("om_order").await?;
            conn.batch_execute(&format!("BEGIN; SET LOCAL app.tenant = '{tenant}'")).await?;
            let done = lines(&mut conn, &format!("SELECT {call} AS line")).await?;
            assert_ne!(done, ["0"], "{call}");
            let scans = "SELECT relname::text AS part, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) AS scans
                         FROM pg_stat_xact_user_tables WHERE schemaname = 'om_order' AND relname ~ '^events_'";
            let read: Vec<Read> = diesel::sql_query(scans).load(&mut conn).await?;
            let read: BTreeMap<String, i64> =
                read.into_iter().filter(|read| read.scans > 0).map(|read| (read.part, read.scans)).collect();
            assert_eq!(read.keys().collect::<Vec<_>>(), [own], "{call}");
            conn.batch_execute("ROLLBACK").await?;
        }
    }
    Ok(())
}
