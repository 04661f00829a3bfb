//! `make bench`: what the system does per second, as ratios to what PostgreSQL alone does for the same rows in the same
//! run (`performance.md` 3, 4). Prints a table and writes `docs/benchmarks.md`.
//!
//! Variants are interleaved over rounds and medians are taken. The server, the simulators and PostgreSQL are processes
//! of their own; this process only generates load. On two cores it takes its share of them, which is stated, not hidden.

mod client;
mod floor;
mod latency;
mod process;
mod report;
mod system;
mod throughput;

use std::time::Duration;

use anyhow::Result;

use crate::report::{Figures, median};
use crate::system::System;

const ROUNDS: usize = 5;
const FLOOR: Duration = Duration::from_secs(3);
const ACCEPT: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() -> Result<()> {
    let system = System::start().await?;
    let floor = floor::Floor::prepare(&system).await?;
    let shops = system.shops().await?;
    eprintln!("ready after {:.2} s, {} MB idle; warming up", system.ready.as_secs_f64(), system.idle_mb);
    throughput::accept(&shops, 16, Duration::from_secs(2)).await?;
    system.drained(Duration::from_secs(120)).await?;

    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        // What follows the orders of the round before belongs to it, and PostgreSQL alone is alone.
        system.calm().await?;
        system.stand_still()?;
        let single = floor.single(32, FLOOR).await?;
        let batch = floor.batch(8, FLOOR).await?;
        system.go_on()?;
        let before = system.cpu()?;
        let accepted = throughput::accept(&shops, 64, ACCEPT).await?;
        let accept_cpu = system.cpu()?.since(&before);
        let waiting = system.waiting().await?;
        let before = system.cpu()?;
        let driven = system.drained(Duration::from_secs(120)).await?;
        let drive_cpu = system.cpu()?.since(&before);
        let figures = report::Round { single, batch, accepted, accept_cpu, waiting, driven, drive_cpu };
        eprintln!("round {round}: {figures}");
        rounds.push(figures);
    }
    let latency = latency::measure(&shops, 25, Duration::from_secs(20)).await?;
    system.drained(Duration::from_secs(120)).await?;
    let paid = latency::paid(&system, &shops, 25, Duration::from_secs(20)).await?;
    let figures = Figures {
        rounds,
        latency,
        paid,
        ready: system.ready,
        idle_mb: system.idle_mb,
        busy_mb: system.memory_mb()?,
        orders: system.orders().await?,
    };
    let text = figures.to_string();
    println!("{text}");
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md"), text)?;
    system.stop().await?;
    let b_over_a = median(figures.rounds.iter().map(report::Round::accepted_ratio));
    eprintln!("b/a = {b_over_a:.2}");
    Ok(())
}
