//! A shop that opens with a crowd: its tables grow before anybody has counted their rows.

use anyhow::{Context as _, Result};
use diesel_async::SimpleAsyncConnection as _;
use serde_json::Value;
use testkit::eventually;

use super::process::Processes;
use crate::journey::world::{PATIENCE, rows};

#[tokio::test]
async fn a_server_that_knows_an_administrator_counts_the_rows_of_young_tables_itself() -> Result<()> {
    // Autovacuum leaves it alone, so whoever counts is the server.
    const CROWD: &str = "ALTER TABLE om_order.snapshots SET (autovacuum_enabled = off);
        INSERT INTO om_order.snapshots SELECT gen_random_uuid(), gen_random_uuid(), 50, 1, repeat('x', 100)::bytea
          FROM generate_series(1, 5000)";
    const COUNTED: &str = "SELECT to_jsonb(reltuples) AS row FROM pg_class
        WHERE oid = 'om_order.snapshots'::regclass AND $1 = $1";
    let processes = Processes::start("1000").await?;
    processes.db.admin().await?.batch_execute(CROWD).await?;
    let counted = eventually(PATIENCE, || async {
        let found = rows(&mut processes.db.admin().await?, COUNTED, processes.tenant.uuid()).await?;
        Ok(found.first().and_then(Value::as_f64).filter(|rows| *rows >= 5000.0))
    });
    counted.await.context("nobody counted the rows")?;
    processes.stop().await
}
