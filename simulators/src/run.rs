//! Starting and stopping all simulators together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::connection::serve;
use crate::control::ledger::Ledger;
use crate::control::{Control, speed};
use crate::webhook::{WebhookEndpoint, Webhooks};
use crate::{carrier, payments, smtp, wms};

/// Answers in flight get this long when the simulators stop.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// What the simulators listen on and how fast their time runs.
#[derive(Clone)]
pub struct Config {
    /// Address of all listeners.
    pub host: IpAddr,
    /// Ports of the listeners.
    pub ports: Ports,
    /// Directory of the ledger files; none keeps ledgers in memory only.
    pub ledger_dir: Option<PathBuf>,
    /// Simulated steps are divided by this; 0 means at once.
    pub speed: f64,
    /// Where events go, per tenant.
    pub webhooks: Vec<WebhookEndpoint>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Ports::default(),
            ledger_dir: None,
            speed: 1.0,
            webhooks: Vec::new(),
        }
    }
}

/// Ports to listen on; 0 means any free one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// Stripe-shaped payments.
    pub payments: u16,
    /// SOAP warehouse.
    pub wms: u16,
    /// REST carrier.
    pub carrier: u16,
    /// Mail over SMTP.
    pub smtp: u16,
    /// Control of the mail sink over HTTP.
    pub smtp_http: u16,
}

/// The running simulators; dropping them stops them.
pub struct Simulators {
    /// Stripe-shaped payments.
    pub payments: SocketAddr,
    /// SOAP warehouse, path `/wms`.
    pub wms: SocketAddr,
    /// REST carrier.
    pub carrier: SocketAddr,
    /// Mail over SMTP.
    pub smtp: SocketAddr,
    /// Control of the mail sink over HTTP.
    pub smtp_http: SocketAddr,
    webhooks: Arc<Webhooks>,
    controls: Vec<Arc<Control>>,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Simulators {
    /// Starts all simulators; they accept connections when this returns.
    ///
    /// # Errors
    /// A port is taken, the ledger directory is not writable, or the speed is negative.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        anyhow::ensure!(speed::valid(config.speed), "speed must be zero or a positive number");
        let webhooks = Webhooks::new(config.webhooks.clone()).context("build webhook client")?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let control = |name: &str| -> anyhow::Result<Arc<Control>> {
            let ledger =
                Ledger::open(config.ledger_dir.as_deref(), name).with_context(|| format!("open {name} ledger"))?;
            Ok(Control::new(ledger, config.speed, Arc::clone(&webhooks), tasks.clone(), stop.clone()))
        };
        let controls = vec![control("payments")?, control("wms")?, control("carrier")?, control("smtp")?];
        let payments = bind(config.host, config.ports.payments).await?;
        let wms = bind(config.host, config.ports.wms).await?;
        let carrier = bind(config.host, config.ports.carrier).await?;
        let smtp = bind(config.host, config.ports.smtp).await?;
        let smtp_http = bind(config.host, config.ports.smtp_http).await?;
        let started = Self {
            payments: payments.local_addr()?,
            wms: wms.local_addr()?,
            carrier: carrier.local_addr()?,
            smtp: smtp.local_addr()?,
            smtp_http: smtp_http.local_addr()?,
            webhooks,
            controls,
            tasks,
            stop: stop.clone().drop_guard(),
        };
        let [pay, store, parcel, mail] = [0, 1, 2, 3].map(|n| Arc::clone(&started.controls[n]));
        let tasks = &started.tasks;
        let sink = smtp::Sink::new(mail);
        tasks.spawn(serve(payments, payments::router(pay), stop.clone()));
        tasks.spawn(serve(wms, wms::router(store), stop.clone()));
        tasks.spawn(serve(carrier, carrier::router(parcel), stop.clone()));
        tasks.spawn(serve(smtp_http, smtp::router(&sink), stop.clone()));
        tasks.spawn(smtp::listen(smtp, sink));
        Ok(started)
    }

    /// Makes `endpoints` the only webhook endpoints.
    pub fn set_webhooks(&self, endpoints: Vec<WebhookEndpoint>) {
        self.webhooks.replace(endpoints);
    }

    /// Adds `endpoint`, replacing the tenant's earlier one.
    pub fn add_webhook(&self, endpoint: WebhookEndpoint) {
        self.webhooks.add(vec![endpoint]);
    }

    /// Changes the speed of all simulators; a negative factor is taken as 0.
    pub fn set_speed(&self, factor: f64) {
        let factor = if speed::valid(factor) { factor } else { 0.0 };
        for control in &self.controls {
            control.speed.set(factor);
        }
    }

    /// Stops listening, gives up waiting webhooks and ends all tasks.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("Simulators still had open connections when they stopped");
        }
    }
}

async fn bind(host: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((host, port)).await.with_context(|| format!("listen on {host}:{port}"))
}
