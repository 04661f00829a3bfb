//! `ordermesh demo`: twenty orders through REST, followed to their end and verified against the outside world.

mod follow;
mod ledgers;
mod plan;
mod verify;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::platform::{Database, Platform, PlatformConfig};
use crate::rest::Rest;
use crate::table::{money, table};
use crate::{defaults, seed};
use plan::Placed;

/// How much faster than real the simulators live.
const SPEED: f64 = 20.0;
/// An order that is not at its end by then never gets there.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the demonstration in a system of its own that is gone afterwards.
///
/// # Errors
/// When the system does not start or refuses an order of the file.
pub async fn run() -> Result<ExitCode> {
    let start = Instant::now();
    let database = Database::Private { dir: None, fsync: true };
    let config = PlatformConfig { database, ..defaults::embedded(defaults::random_ports(), SPEED, None) };
    eprintln!("starting a system of its own on free ports …");
    let platform = Platform::start(config).await?;
    let outcome = play(&platform, start).await;
    platform.shutdown().await?;
    let wrong = outcome?;
    if wrong.is_empty() {
        println!(
            "verified: every figure agrees with the ledgers of payment provider, warehouse, carrier and mail server"
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} figures differ:", wrong.len());
    wrong.iter().for_each(|difference| println!("  {difference}"));
    Ok(ExitCode::FAILURE)
}

async fn play(platform: &Platform, start: Instant) -> Result<Vec<String>> {
    let anonymous = Rest::new(platform.rest_url());
    seed::bootstrap(platform).await?;
    seed::demo(&anonymous).await?;
    eprintln!("ready after {:.1} s: REST at {}", start.elapsed().as_secs_f64(), platform.rest_url());

    let desks = plan::Desks::open(&anonymous).await?;
    let placed = desks.place_all().await?;
    let simulators = platform.simulators.as_ref().context("the demonstration simulates the outside world")?;
    let payments = Rest::new(format!("http://{}", simulators.payments));
    let ended = follow::to_the_end(&desks, &payments, placed, LIMIT).await?;
    follow::until_told(simulators, &ended, LIMIT).await?;
    let ledgers = ledgers::Ledgers::read(simulators, &desks).await?;
    println!("\n{}", summary(&ended, &ledgers));
    verify::differences(&desks, &ended, &ledgers).await
}

fn summary(ended: &[Placed], ledgers: &ledgers::Ledgers) -> String {
    let row = |order: &Placed| {
        let payment = &order.order["payment"];
        let reason = order.order["stateReason"].as_str().unwrap_or_default();
        vec![
            order.name(),
            order.state().to_owned(),
            money(&order.order["totals"]["total"]),
            money(&payment["authorized"]),
            money(&payment["captured"]),
            ledgers.units_of(order.id()).to_string(),
            reason.to_owned(),
        ]
    };
    let rows = ended.iter().map(row).collect::<Vec<_>>();
    table(&["order", "state", "total", "authorised", "captured", "units moved", "reason"], &rows)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
