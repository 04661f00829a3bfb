//! The figures and how they are told.

use std::fmt;
use std::time::Duration;

use crate::latency::{Latency, Percentiles};
use crate::process::Cpu;
use crate::system::Driven;

/// One round: floors, acceptance, drive.
#[derive(Debug)]
pub struct Round {
    /// Placements per second, PostgreSQL alone, one transaction each.
    pub single: f64,
    /// The same in batches of 50.
    pub batch: f64,
    /// Orders accepted per second through REST.
    pub accepted: f64,
    /// CPU while accepting.
    pub accept_cpu: Cpu,
    /// Orders that waited when accepting ended.
    pub waiting: i64,
    /// Orders driven to FULFILLMENT_PENDING.
    pub driven: Driven,
    /// CPU while driving.
    pub drive_cpu: Cpu,
}

impl Round {
    /// b/a.
    pub fn accepted_ratio(&self) -> f64 {
        self.accepted / self.single
    }

    /// c/a.
    pub fn driven_ratio(&self) -> f64 {
        self.driven.per_second() / self.single
    }

    /// b over the batch floor.
    pub fn batch_ratio(&self) -> f64 {
        self.accepted / self.batch
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a {:.0}/s, batch {:.0}/s, b {:.0}/s ({} left to drive), c {:.0}/s; b/a {:.2}, c/a {:.2}",
            self.single,
            self.batch,
            self.accepted,
            self.waiting,
            self.driven.per_second(),
            self.accepted_ratio(),
            self.driven_ratio()
        )
    }
}

/// All of a run.
#[derive(Debug)]
pub struct Figures {
    /// Rounds, in order.
    pub rounds: Vec<Round>,
    /// Latencies.
    pub latency: Latency,
    /// From placed to paid with a provider that takes 300 ms.
    pub paid: Percentiles,
    /// From the start of `serve all` to its readiness, migrated database.
    pub ready: Duration,
    /// Resident memory before any load.
    pub idle_mb: u64,
    /// Resident memory after the load.
    pub busy_mb: u64,
    /// Orders stored at the end.
    pub orders: i64,
}

/// The middle of the values; NaN of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |pick: fn(&Round) -> f64| median(self.rounds.iter().map(pick));
        let accept = |cpu: fn(&Cpu) -> f64| {
            median(self.rounds.iter().map(|round| cpu(&round.accept_cpu) / (round.accepted * 4.0) * 1e6))
        };
        let drive = |cpu: fn(&Cpu) -> f64| {
            median(self.rounds.iter().map(|round| cpu(&round.drive_cpu) / round.driven.orders as f64 * 1e6))
        };
        writeln!(f, "# Benchmarks\n")?;
        writeln!(
            f,
            "Written by `make bench`: release build, {} rounds interleaved, medians, one machine for load",
            self.rounds.len()
        )?;
        writeln!(
            f,
            "generator, server, simulators and PostgreSQL (fsync on). Ratios hold between machines; figures do not.\n"
        )?;
        writeln!(f, "b/a = {:.2}", of(Round::accepted_ratio))?;
        writeln!(f, "c/a = {:.2}", of(Round::driven_ratio))?;
        writeln!(f, "b/batch = {:.2}\n", of(Round::batch_ratio))?;
        writeln!(f, "| what | median | lowest | highest |\n|---|---|---|---|")?;
        let mut row = |name: &str, pick: fn(&Round) -> f64| {
            let low = self.rounds.iter().map(pick).fold(f64::INFINITY, f64::min);
            let high = self.rounds.iter().map(pick).fold(0.0, f64::max);
            writeln!(f, "| {name} | {:.0} | {low:.0} | {high:.0} |", of(pick))
        };
        row("a: placements/s, PostgreSQL alone, one transaction each, 32 connections", |round| round.single)?;
        row("placements/s, PostgreSQL alone, batches of 50", |round| round.batch)?;
        row("b: orders accepted/s through REST, 64 clients, sagas running beside", |round| round.accepted)?;
        row("c: orders driven to FULFILLMENT_PENDING/s, simulators answering at once", |round| {
            round.driven.per_second()
        })?;
        writeln!(
            f,
            "\n| CPU per order, µs | server | PostgreSQL | simulators | load generator |\n|---|---|---|---|---|"
        )?;
        writeln!(
            f,
            "| accepting (sagas running beside) | {:.0} | {:.0} | {:.0} | {:.0} |",
            accept(|cpu| cpu.server),
            accept(|cpu| cpu.database),
            accept(|cpu| cpu.simulators),
            accept(|cpu| cpu.generator)
        )?;
        writeln!(
            f,
            "| driving to FULFILLMENT_PENDING | {:.0} | {:.0} | {:.0} | {:.0} |",
            drive(|cpu| cpu.server),
            drive(|cpu| cpu.database),
            drive(|cpu| cpu.simulators),
            drive(|cpu| cpu.generator)
        )?;
        let Latency { rate, create, get, stock } = self.latency;
        writeln!(f, "\n| ms at {rate}/s each, open loop | p50 | p95 | p99 |\n|---|---|---|---|")?;
        let waits = [("create order", create), ("get order", get), ("stock", stock)];
        for (name, Percentiles { p50, p95, p99 }) in
            waits.into_iter().chain([("placed to paid, provider of 300 ms", self.paid)])
        {
            writeln!(f, "| {name} | {p50:.1} | {p95:.1} | {p99:.1} |")?;
        }
        writeln!(
            f,
            "\n`serve all`: ready after {:.2} s, {} MB resident idle, {} MB after the load; {} orders stored.",
            self.ready.as_secs_f64(),
            self.idle_mb,
            self.busy_mb,
            self.orders
        )
    }
}
