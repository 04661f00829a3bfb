//! Plans that were made while tables were empty.

use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use pg::Young;
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::world::{SOON, World};

/// How `project` finds the orders that it changes.
const PROJECT: &str = "EXPLAIN EXECUTE project('00000000-0000-7000-8000-000000000001', '{}')";

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    #[diesel(column_name = "QUERY PLAN")]
    text: String,
}

async fn plan(conn: &mut AsyncPgConnection) -> Result<String> {
    let lines: Vec<Line> = diesel::sql_query(PROJECT).load(conn).await?;
    Ok(lines.into_iter().map(|line| line.text).collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn a_plan_of_an_empty_table_is_made_anew_as_soon_as_the_table_has_rows() -> Result<()> {
    let world = World::start().await?;
    let tenant = world.tenant.uuid();
    let young = Young::new(world.db.target().clone(), "ordermesh".to_owned());
    young.look().await?;
    let mut service = world.db.connect("om_order").await?;
    service
        .batch_execute(&format!(
            "SET search_path = om_order; SET app.tenant = '{tenant}'; SET plan_cache_mode = force_generic_plan;
             SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
             PREPARE project (uuid, picture[]) AS UPDATE orders o SET version = p.version
               FROM (SELECT * FROM unnest($2) LIMIT cardinality($2)) AS p
               WHERE o.tenant_id = $1 AND o.order_id = p.stream AND o.version = p.expected"
        ))
        .await?;
    let by_key = "AND (order_id = p.stream)";
    assert!(!plan(&mut service).await?.contains(by_key), "nothing to guard: the plan of an empty table is good");
    let mut admin = world.db.admin().await?;
    admin
        .batch_execute(&format!(
            "SET search_path = om_order;
             INSERT INTO orders (tenant_id, order_id, order_number, version, customer_id, state, base_state,
               status_retail, status_lifecycle, currency, total_minor, skus, doc)
             SELECT '{tenant}', overlay(om_id_at(now())::text placing lpad(n::text, 12, '0') from 25)::uuid, n, 1,
               gen_random_uuid(), 2, 2, '', '', 'USD', 1, '{{}}', repeat('x', 200)::bytea FROM generate_series(1, 400) n"
        ))
        .await?;
    young.look().await?;
    let found = plan(&mut service).await?;
    assert!(found.contains(by_key), "{found}");
    assert_eq!(young.look().await?, 0, "nothing has doubled since");
    Ok(())
}

#[tokio::test]
async fn what_has_doubled_is_analyzed_within_seconds_and_what_belongs_to_others_is_left() -> Result<()> {
    let world = World::start().await?;
    let young = Young::new(world.db.target().clone(), "ordermesh".to_owned());
    let cancel = CancellationToken::new();
    let job = tokio::spawn(young.keep(cancel.clone()));
    let mut admin = world.db.admin().await?;
    let fill = "INSERT INTO om_order.shard_leases (shard) SELECT n FROM generate_series(100, 9000) n";
    admin.batch_execute(fill).await?;
    eventually(SOON, || async {
        let known = "SELECT (reltuples >= 8000)::int::bigint AS n FROM pg_class WHERE oid = 'om_order.shard_leases'::regclass AND $1 = $1";
        Ok((world.count(known).await? == 1).then_some(()))
    })
    .await?;
    cancel.cancel();
    job.await?;
    admin
        .batch_execute("INSERT INTO om_order.shard_leases (shard) SELECT n FROM generate_series(9001, 32000) n")
        .await?;
    let stranger = Young::new(world.db.target().clone(), "om_order_worker".to_owned());
    assert_eq!(stranger.look().await?, 0, "not its table");
    Ok(())
}

#[tokio::test]
async fn to_analyze_a_table_reads_a_sample_of_few_rows_and_no_documents() -> Result<()> {
    let world = World::start().await?;
    let mut admin = world.db.admin().await?;
    // Parts that a job makes later are no exception.
    admin.batch_execute("SET search_path = om_order; SELECT om_make_parts(7)").await?;
    let columns = "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped AND $1 = $1
         AND c.relkind IN ('r', 'p') AND c.relnamespace = 'om_order'::regnamespace";
    let parts = format!("SELECT count(DISTINCT c.oid) AS n {columns} AND c.relname ~ '_[0-9]{{4}}_[0-9]{{2}}$'");
    assert_eq!(world.count(&parts).await?, 16, "orders and events, this month and the next seven");
    // The list of migrations does not grow.
    let columns = format!("{columns} AND c.relname <> '__diesel_schema_migrations'");
    let large = format!("SELECT count(*) AS n {columns} AND NOT coalesce(a.attstattarget, -1) BETWEEN 0 AND 20");
    assert_eq!(world.count(&large).await?, 0, "PostgreSQL's default samples 30,000 rows");
    let documents = format!(
        "SELECT count(*) AS n {columns} AND a.attstattarget <> 0 AND a.atttypid IN ('jsonb'::regtype, 'bytea'::regtype)",
    );
    assert_eq!(world.count(&documents).await?, 0);
    Ok(())
}
