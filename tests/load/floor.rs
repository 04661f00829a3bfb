//! What PostgreSQL alone does: the rows of one placement in one function call, one by one and in batches of 50.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use diesel::sql_types::{Array, Integer, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use uuid::Uuid;

use crate::system::System;

diesel::define_sql_function! {
    /// One placement in one transaction.
    fn floor_place(tenant: SqlUuid, order: SqlUuid, key: Text, skus: Array<Integer>) -> Bool;
}
diesel::define_sql_function! {
    /// Many placements in one transaction; three SKUs of each.
    fn floor_place_batch(tenant: SqlUuid, orders: Array<SqlUuid>, keys: Array<Text>, skus: Array<Integer>) -> Bool;
}

const SKUS: i32 = 1000;
const BATCH: usize = 50;
const TABLES: &str = include_str!("floor.sql");

/// A database with the floor's tables beside the system's own.
pub struct Floor {
    url: String,
}

impl Floor {
    /// Makes tables and stock.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn prepare(system: &System) -> Result<Self> {
        let url = system.side_database("floor").await?;
        AsyncPgConnection::establish(&url).await?.batch_execute(TABLES).await?;
        Ok(Self { url })
    }

    /// Placements per second, one transaction each.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn single(&self, connections: usize, time: Duration) -> Result<f64> {
        self.run(connections, time, |mut conn, done, until| async move {
            let tenant = Uuid::from_u128(1);
            while Instant::now() < until {
                let order = Uuid::now_v7();
                let query = floor_place(tenant, order, order.to_string(), skus().to_vec());
                diesel::select(query).get_result::<bool>(&mut conn).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
        .await
    }

    /// Placements per second in transactions of 50.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn batch(&self, connections: usize, time: Duration) -> Result<f64> {
        self.run(connections, time, |mut conn, done, until| async move {
            let tenant = Uuid::from_u128(1);
            while Instant::now() < until {
                let orders: Vec<Uuid> = (0..BATCH).map(|_| Uuid::now_v7()).collect();
                let keys: Vec<String> = orders.iter().map(Uuid::to_string).collect();
                let wanted: Vec<i32> = orders.iter().flat_map(|_| skus()).collect();
                let query = floor_place_batch(tenant, orders, keys, wanted);
                diesel::select(query).get_result::<bool>(&mut conn).await?;
                done.fetch_add(BATCH as u64, Ordering::Relaxed);
            }
            Ok(())
        })
        .await
    }

    async fn run<F, Fut>(&self, connections: usize, time: Duration, work: F) -> Result<f64>
    where
        F: Fn(AsyncPgConnection, Arc<AtomicU64>, Instant) -> Fut,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(AsyncPgConnection::establish(&self.url).await?);
        }
        let done = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let tasks: Vec<_> =
            open.into_iter().map(|conn| tokio::spawn(work(conn, Arc::clone(&done), start + time))).collect();
        for task in tasks {
            task.await??;
        }
        Ok(AtomicU64::load(&done, Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
    }
}

/// Three different SKUs in the order that everybody locks in.
fn skus() -> [i32; 3] {
    let first = rand::random_range(0..SKUS);
    let mut skus = [first, (first + 1 + rand::random_range(0..400)) % SKUS, (first + 500) % SKUS];
    skus.sort_unstable();
    skus
}
