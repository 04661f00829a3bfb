//! The simulators in their own process, so that they outlive a killed platform.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use simulators::{Config, Ports, Simulators};

/// Runs the payment, warehouse, carrier and mail simulators until interrupted.
#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port of the payment simulator; 0 takes any.
    #[arg(long, default_value_t = 0)]
    payments_port: u16,
    /// Port of the warehouse simulator; 0 takes any.
    #[arg(long, default_value_t = 0)]
    wms_port: u16,
    /// Port of the carrier simulator; 0 takes any.
    #[arg(long, default_value_t = 0)]
    carrier_port: u16,
    /// Port of the mail sink; 0 takes any.
    #[arg(long, default_value_t = 0)]
    smtp_port: u16,
    /// Port of the mail sink's HTTP control; 0 takes any.
    #[arg(long, default_value_t = 0)]
    smtp_http_port: u16,
    /// Directory of the ledger files.
    #[arg(long)]
    ledger_dir: Option<PathBuf>,
    /// Simulated steps are divided by this; 0 means at once.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// JSON array of webhook endpoints.
    #[arg(long, value_name = "FILE")]
    webhooks: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let webhooks = match &args.webhooks {
        None => Vec::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).context("read webhooks file")?;
            serde_json::from_str(&text).context("parse webhooks file")?
        }
    };
    let simulators = Simulators::start(Config {
        host: args.host,
        ports: Ports {
            payments: args.payments_port,
            wms: args.wms_port,
            carrier: args.carrier_port,
            smtp: args.smtp_port,
            smtp_http: args.smtp_http_port,
        },
        ledger_dir: args.ledger_dir,
        speed: args.speed,
        webhooks,
    })
    .await?;
    let ready = json!({
        "payments": simulators.payments,
        "wms": simulators.wms,
        "carrier": simulators.carrier,
        "smtp": simulators.smtp,
        "smtp_http": simulators.smtp_http,
    });
    println!("{ready}");
    interrupted().await?;
    simulators.shutdown().await;
    Ok(())
}

#[cfg(unix)]
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
