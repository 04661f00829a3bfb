//! Latency at a fixed rate: every call is due at its time whether or not the last was answered, and is measured from
//! when it was due (no coordinated omission).

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::system::System;
use crate::throughput::Shop;

/// Milliseconds at which a share of calls was answered.
#[derive(Debug, Clone, Copy)]
pub struct Percentiles {
    /// Half.
    pub p50: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
}

/// What a user waits for.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Orders per second; as many reads and stock look-ups beside them.
    pub rate: u32,
    /// POST of an order.
    pub create: Percentiles,
    /// GET of an order.
    pub get: Percentiles,
    /// GET of a product's stock.
    pub stock: Percentiles,
}

/// Places, reads and looks up at the same rate for a while.
///
/// # Errors
/// When a call is refused.
pub async fn measure(shops: &[Shop], rate: u32, time: Duration) -> Result<Latency> {
    let mut ids = Vec::new();
    for shop in shops {
        let order = shop.place().await?;
        ids.push(format!("/api/v1/orders/{}", order["id"].as_str().unwrap_or_default()));
    }
    let create = open_loop(rate, time, |turn| {
        let shop = shops[turn % shops.len()].clone();
        async move { shop.place().await.map(drop) }
    });
    let get = open_loop(rate, time, |turn| {
        let (shop, path) = (shops[turn % shops.len()].clone(), ids[turn % ids.len()].clone());
        async move { shop.customer.get(&path).await.map(drop) }
    });
    let stock = open_loop(rate, time, |turn| {
        let shop = shops[turn % shops.len()].clone();
        let path = format!("/api/v1/inventory/{}", shop.skus[turn % shop.skus.len()]);
        async move { shop.customer.get(&path).await.map(drop) }
    });
    let (create, get, stock) = tokio::try_join!(create, get, stock)?;
    Ok(Latency { rate, create, get, stock })
}

/// From placed to paid while the payment provider takes 300 ms for every hold (PAY-16); the wait of an order that is taken
/// at once, not of a person.
///
/// # Errors
/// When an order is refused or does not get on.
pub async fn paid(system: &System, shops: &[Shop], rate: u32, time: Duration) -> Result<Percentiles> {
    system.slow_provider(300).await?;
    let since = system.now().await?;
    let placed = open_loop(rate, time, |turn| {
        let shop = shops[turn % shops.len()].clone();
        async move { shop.place().await.map(drop) }
    });
    placed.await?;
    system.drained(Duration::from_secs(120)).await?;
    match system.paid_since(since).await?[..] {
        [p50, p95, p99] => Ok(Percentiles { p50, p95, p99 }),
        ref other => bail!("three percentiles are wanted, not {other:?}"),
    }
}

async fn open_loop<F, Fut>(rate: u32, time: Duration, call: F) -> Result<Percentiles>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let calls = (time.as_secs_f64() * f64::from(rate)) as usize;
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(calls);
    for turn in 0..calls {
        let due = start + Duration::from_secs_f64(turn as f64 / f64::from(rate));
        tokio::time::sleep_until(due.into()).await;
        let work = call(turn);
        tasks.push(tokio::spawn(async move { work.await.map(|()| due.elapsed()) }));
    }
    let mut times = Vec::with_capacity(calls);
    for task in tasks {
        times.push(task.await??.as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    Ok(Percentiles { p50: at(0.50), p95: at(0.95), p99: at(0.99) })
}
