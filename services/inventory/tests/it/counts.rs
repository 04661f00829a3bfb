use std::time::Duration;

use anyhow::Result;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use ids::{OrderId, ShipmentId};
use inventory::{Reconciliation, State};
use jiff::{SignedDuration, Timestamp};

use crate::control::{differences, ingest};
use crate::shop::Shop;

/// Lets all that happened so far have happened so many minutes ago.
pub async fn age(shop: &Shop, minutes: u32) -> Result<()> {
    shop.sql(&format!("UPDATE stock_ledger SET occurred_at = now() - interval '{minutes} minutes'")).await
}

pub fn ago(minutes: i64) -> Timestamp {
    Timestamp::now().saturating_sub(SignedDuration::from_mins(minutes)).expect("in range")
}

pub async fn reconcile(shop: &Shop, apply: bool) -> Result<Reconciliation> {
    Ok(shop.inventory.reconcile_stock(&shop.ctx, "W1".into(), apply).await?)
}

#[tokio::test]
async fn inv_10_what_one_count_corrected_is_not_corrected_again_by_a_later_one() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?;
    age(&shop, 120).await?;
    ingest(&shop, "s0", ago(30), &[("A", 7)]).await?;
    // What happens in another warehouse is no part of it.
    shop.adjust("A", "W2", 5).await?;
    let applied = reconcile(&shop, true).await?;
    assert_eq!(differences(&applied), [("A", 10, 7, true, "")]);
    // Counted before that correction, told of after it.
    let next = ingest(&shop, "s1", ago(15), &[("A", 7)]).await?;
    assert_eq!(differences(&next), []);
    assert_eq!(differences(&reconcile(&shop, true).await?), []);
    assert_eq!(shop.levels("A").await?, [(7, 0), (5, 0)]);
    // The correction is not the fault of a count before: at its time the units were there.
    let before = ingest(&shop, "early", ago(45), &[("A", 10)]).await?;
    assert_eq!(differences(&before), []);
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test]
async fn inv_10_units_that_were_leaving_when_they_were_counted_are_reported_and_left() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[10]).await?;
    let order = OrderId::new();
    shop.reserve(order, &[("A", 1)], true).await?;
    shop.inventory.confirm_reservation(&shop.ctx, order).await?;
    let consumed = shop.consume(order, ShipmentId::new(), "W1", &[("A", 1)]).await?;
    assert_eq!(consumed.state, State::Consumed);
    age(&shop, 50).await?;
    ingest(&shop, "s0", Timestamp::now(), &[("A", 10), ("B", 11)]).await?;
    let applied = reconcile(&shop, true).await?;
    assert_eq!(differences(&applied), [("A", 9, 10, false, "UNITS_LEAVING"), ("B", 10, 11, true, "")]);
    assert_eq!(shop.levels("A").await?, [(9, 0)], "nothing is sold that has left");
    // An hour later the parcel is gone: what is counted then is there.
    age(&shop, 70).await?;
    ingest(&shop, "s1", Timestamp::now(), &[("A", 10), ("B", 11)]).await?;
    assert_eq!(differences(&reconcile(&shop, true).await?), [("A", 9, 10, true, "")]);
    assert_eq!((shop.levels("A").await?, shop.drift().await?), (vec![(10, 0)], 0));
    Ok(())
}

/// A figure that a statement ends with, and how much of the ledger it read: whole scans, and lines by key.
async fn reading(shop: &Shop, statement: &str) -> Result<(String, i64, i64)> {
    #[derive(QueryableByName)]
    struct Read {
        #[diesel(sql_type = Text)]
        figure: String,
        #[diesel(sql_type = BigInt)]
        scans: i64,
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let mut conn = shop.db.connect("om_inventory").await?;
    conn.batch_execute(&format!("BEGIN; SET LOCAL app.tenant = '{}'", shop.ctx.tenant.uuid())).await?;
    let Read { figure, scans, rows } = diesel::sql_query(format!(
        "WITH done AS MATERIALIZED ({statement})
         SELECT figure, seq_scan AS scans, coalesce(idx_tup_fetch, 0) AS rows
         FROM done, LATERAL (SELECT * FROM pg_stat_xact_user_tables WHERE figure IS NOT NULL
           AND schemaname = 'om_inventory' AND relname = 'stock_ledger') s"
    ))
    .get_result(&mut conn)
    .await?;
    conn.batch_execute("ROLLBACK").await?;
    Ok((figure, scans, rows))
}

#[tokio::test]
async fn inv_10_a_count_costs_what_happened_since_and_not_the_whole_ledger() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[1]).await?;
    let tenant = shop.ctx.tenant.uuid();
    shop.sql(&format!(
        "INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
         SELECT '{tenant}', 'A', 'W1', 0, 1 - 2 * (n % 2), 'RESERVE', 'x' FROM generate_series(1, 50000) n"
    ))
    .await?;
    age(&shop, 120).await?;
    let taken_at = ago(10);
    shop.adjust("A", "W1", 5).await?;
    ingest(&shop, "s0", taken_at, &[("A", 10)]).await?;
    ingest(&shop, "s1", taken_at, &[("B", 1)]).await?;
    shop.sql("ANALYZE stock_ledger").await?;
    for (statement, said) in [
        ("SELECT compare_snapshot('{tenant}', 's0', '{A}')->'counts'->0->>'expected' AS figure", "10"),
        ("SELECT 'A' || observe_absent('{tenant}', 's1', '{A}')::text AS figure", "A"),
    ] {
        let (figure, scans, rows) = reading(&shop, &statement.replace("{tenant}", &tenant.to_string())).await?;
        assert_eq!((figure.as_str(), scans), (said, 0));
        assert!(rows < 200, "{rows} lines were read: {statement}");
    }
    Ok(())
}

#[tokio::test]
async fn inv_10_every_part_of_the_newest_count_is_reconciled_and_no_older_one() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[10]).await?.stocked("C", &[10]).await?;
    age(&shop, 120).await?;
    let taken_at = ago(10);
    ingest(&shop, "old", ago(20), &[("C", 1)]).await?;
    ingest(&shop, "part-1", taken_at, &[("A", 9), ("C", 10)]).await?;
    ingest(&shop, "part-2", taken_at, &[("B", 8)]).await?;
    let looked = reconcile(&shop, false).await?;
    assert_eq!((looked.accuracy.compared, looked.accuracy.matched), (3, 1));
    assert_eq!(differences(&looked), [("A", 10, 9, false, ""), ("B", 10, 8, false, "")]);
    reconcile(&shop, true).await?;
    assert_eq!(differences(&reconcile(&shop, true).await?), []);
    let levels = (shop.levels("A").await?, shop.levels("B").await?, shop.levels("C").await?);
    assert_eq!(levels, (vec![(9, 0)], vec![(8, 0)], vec![(10, 0)]));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_10_a_product_that_is_locked_keeps_no_other_from_being_corrected() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?.stocked("B", &[10]).await?.stocked("C", &[10]).await?;
    age(&shop, 120).await?;
    ingest(&shop, "s0", ago(10), &[("A", 9), ("B", 8), ("C", 7)]).await?;
    let mut seller = shop.db.admin().await?;
    seller.batch_execute("BEGIN; SELECT FROM om_inventory.stock WHERE sku = 'B' FOR UPDATE").await?;
    let applied = reconcile(&shop, true).await?;
    let told = [("A", 10, 9, true, ""), ("B", 10, 8, false, "IN_FLIGHT"), ("C", 10, 7, true, "")];
    assert_eq!(differences(&applied), told);
    seller.batch_execute("ROLLBACK").await?;
    // Asking again corrects the rest, and nothing twice.
    assert_eq!(differences(&reconcile(&shop, true).await?), [("B", 10, 8, true, "")]);
    let levels = (shop.levels("A").await?, shop.levels("B").await?, shop.levels("C").await?);
    assert_eq!(levels, (vec![(9, 0)], vec![(8, 0)], vec![(7, 0)]));
    assert_eq!(shop.drift().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_10_reconciliations_at_once_correct_every_product_of_a_large_count_once() -> Result<()> {
    let shop = Shop::open().await?.stocked("S", &[1]).await?;
    let tenant = shop.ctx.tenant.uuid();
    for statement in [
        "INSERT INTO products (tenant_id, sku, display_name, prices, tax_class, weight_grams)
         SELECT '{tenant}', 'S' || n, 'x', '{}', 'standard', 0 FROM generate_series(1, 650) n",
        "INSERT INTO stock (tenant_id, sku, warehouse, on_hand) SELECT '{tenant}', 'S' || n, 'W1', 10 FROM generate_series(1, 650) n",
        "INSERT INTO stock_ledger (tenant_id, sku, warehouse, d_on_hand, d_reserved, reason, reference)
         SELECT '{tenant}', 'S' || n, 'W1', 10, 0, 'RECEIVE', 'x' FROM generate_series(1, 650) n",
    ] {
        shop.sql(&statement.replace("{tenant}", &tenant.to_string())).await?;
    }
    age(&shop, 120).await?;
    let skus: Vec<String> = (1..=650).map(|n| format!("S{n}")).collect();
    let counts: Vec<(&str, i32)> = skus.iter().map(|sku| (sku.as_str(), 9)).collect();
    ingest(&shop, "s0", ago(10), &counts).await?;
    let (first, second) = futures::future::join(reconcile(&shop, true), reconcile(&shop, true)).await;
    assert_eq!((first?.differences.len(), second?.accuracy.compared), (650, 650));
    assert_eq!(differences(&reconcile(&shop, true).await?), []);
    let lines = "SELECT count(*) AS n FROM stock_ledger WHERE reason = 'RECONCILE'";
    assert_eq!((shop.count(lines).await?, shop.drift().await?), (650, 0));
    let commits = "SELECT count(DISTINCT xid) AS n FROM stock_ledger WHERE reason = 'RECONCILE'";
    assert!(shop.count(commits).await? >= 7, "a hundred at a time");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inv_10_a_count_that_a_newer_one_replaced_meanwhile_corrects_nothing() -> Result<()> {
    let shop = Shop::open().await?.stocked("A", &[10]).await?;
    age(&shop, 120).await?;
    ingest(&shop, "s0", ago(10), &[("A", 7)]).await?;
    let mut other = shop.db.admin().await?;
    other.batch_execute("BEGIN; SELECT FROM om_inventory.warehouses WHERE code = 'W1' FOR UPDATE").await?;
    let replace = async {
        testkit::eventually(Duration::from_secs(20), || async {
            let waits = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()
                         AND usename = 'om_inventory' AND wait_event_type = 'Lock'";
            Ok((shop.count(waits).await? > 0).then_some(()))
        })
        .await?;
        ingest(&shop, "s1", ago(5), &[("A", 7)]).await?;
        other.batch_execute("ROLLBACK").await?;
        anyhow::Ok(())
    };
    let (applied, replaced) = futures::future::join(reconcile(&shop, true), replace).await;
    replaced?;
    assert_eq!(differences(&applied?), [("A", 10, 7, false, "NEWER_COUNT")]);
    assert_eq!(differences(&reconcile(&shop, true).await?), [("A", 10, 7, true, "")]);
    assert_eq!((shop.levels("A").await?, shop.drift().await?), (vec![(7, 0)], 0));
    Ok(())
}
