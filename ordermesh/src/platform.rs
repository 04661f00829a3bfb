//! The assembly: database, outside world, services, jobs and edges of one process, started and drained in order.

mod database;
mod edge;
mod scrape;
mod secrets;
mod transit;
mod webhooks;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
pub use database::Database;
pub(crate) use database::Opened;
use edge::Edge;
use pg::Pg;
use secrecy::SecretString;
pub use secrets::Secrets;
use serve::{Boot, Drain, Limits, Mesh, Server, Settings};
use simulators::Simulators;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use transit::Seals;
pub use transit::Transit;
use vault::{Master, Vault};

use crate::services::Service;

/// Connections of each service's pool (`reliability.md` 5: at most 8).
const POOL: usize = 8;
/// Life of a person's token.
const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long a simulated carrier may be silent; it pushes, and asking is for when that fails.
const CARRIER_POLL: Duration = Duration::from_secs(600);
/// Who writes mails to the simulated mail server.
const MAIL_FROM: &str = "Ordermesh <orders@ordermesh.example>";
/// Jobs and transactions at work get this long when the process ends.
const TASKS_LIMIT: Duration = Duration::from_secs(10);

/// What one process runs.
#[derive(Debug)]
pub struct PlatformConfig {
    /// Where the data is.
    pub database: Database,
    /// Which services run here.
    pub services: Vec<Service>,
    /// Services of other processes: context and `http://host:port`, or `https`.
    pub remote: Vec<(String, String)>,
    /// Where gRPC listens; port 0 takes any.
    pub grpc: SocketAddr,
    /// Where REST listens; none when the bridge is elsewhere.
    pub rest: Option<SocketAddr>,
    /// Origins whose pages may call REST.
    pub cors_origins: Vec<String>,
    /// Where Prometheus scrapes.
    pub metrics: Option<SocketAddr>,
    /// What the processes of the system share.
    pub secrets: Secrets,
    /// What encrypts its connections.
    pub transit: Transit,
    /// The outside world.
    pub outside: Outside,
    /// Redis for copies of answers; None = each process keeps its own.
    pub cache: Option<SecretString>,
    /// How the ports go away.
    pub drain: Drain,
    /// Schemas are brought up to date first.
    pub migrate: bool,
}

/// Payment provider, warehouse system, carrier and mail server.
pub enum Outside {
    /// Simulators of this process; their webhooks go to our REST edge.
    Simulated(simulators::Config),
    /// Systems that are there.
    Real {
        /// Base URL of the payment provider.
        payments: String,
        /// Base URL of the provider that is asked while the first is away; empty without one.
        payments_fallback: String,
        /// URL of the warehouse system's SOAP endpoint.
        wms: String,
        /// Base URL of the carrier.
        carrier: String,
        /// URL of the mail server.
        mail: SecretString,
        /// Who writes mails.
        mail_from: String,
        /// Pause between two questions to the warehouse system.
        wms_poll: Duration,
        /// How long a carrier may be silent about a parcel before it is asked.
        carrier_poll: Duration,
    },
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Simulated(_) => "Simulated",
            Self::Real { .. } => "Real",
        })
    }
}

/// A running system.
pub struct Platform {
    /// Address of the gRPC port.
    pub grpc: SocketAddr,
    /// Address of the REST port, when the bridge runs here.
    pub rest: Option<SocketAddr>,
    /// Address of the metrics, when they are served.
    pub metrics: Option<SocketAddr>,
    /// Every service, reachable from here.
    pub mesh: Mesh,
    /// The simulators, when the outside world is simulated.
    pub simulators: Option<Arc<Simulators>>,
    /// Migrations that were run at the start.
    pub migrated: Vec<String>,
    /// "http" or "https".
    scheme: &'static str,
    database: Opened,
    masters: SecretString,
    doors: TaskTracker,
    closing: CancellationToken,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform").field("grpc", &self.grpc).field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl Platform {
    /// Starts everything; it takes calls when this returns.
    ///
    /// # Errors
    /// One line that names the fix: a taken port, a missing program, a migration that failed.
    pub async fn start(config: PlatformConfig) -> Result<Self> {
        let Seals { grpc: sealed, rest: sealed_rest, peers } = config.transit.open()?;
        // Ports first: a taken one should be known before anything was started.
        let grpc = Server::bind(config.grpc, config.drain).await.map_err(|error| taken(config.grpc, error))?;
        let grpc = grpc.over(sealed);
        let rest = bind(config.rest).await?;
        let metrics = bind(config.metrics).await?;
        let (outside, simulators) = outside(config.outside).await?;

        let database = Opened::open(config.database).await?;
        let migrated = if config.migrate { database.migrate().await? } else { Vec::new() };

        let platform = Self {
            grpc: grpc.local_addr()?,
            rest: rest.as_ref().map(TcpListener::local_addr).transpose()?,
            metrics: metrics.as_ref().map(TcpListener::local_addr).transpose()?,
            mesh: Mesh::new(config.secrets.mesh.clone()),
            simulators,
            migrated,
            scheme: if sealed_rest.is_some() { "https" } else { "http" },
            database,
            masters: config.secrets.masters.clone(),
            doors: TaskTracker::new(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        };
        for (context, address) in config.remote {
            platform.mesh.remote_over(peers.as_ref(), &context, address)?;
        }
        platform.mount(&config.services, &settings(&config.secrets, outside, config.cache))?;
        let rest = rest.map(|listener| Edge { listener, tls: sealed_rest, cors_origins: config.cors_origins });
        platform.open(grpc, rest, metrics);
        platform.follow_webhooks(&config.secrets);
        Ok(platform)
    }

    /// Base URL of the REST edge.
    ///
    /// # Panics
    /// When the bridge does not run here.
    pub fn rest_url(&self) -> String {
        format!("{}://{}", self.scheme, self.rest.expect("the bridge runs in this process"))
    }

    /// Connection string of the database with `{role}` where the role goes.
    pub fn database(&self) -> &str {
        &self.database.template
    }

    /// What opens the sealed columns of the schema that a door leads to.
    ///
    /// # Errors
    /// When the master keys are none.
    pub fn vault(&self, pg: &Pg) -> Result<Vault> {
        Ok(Vault::new(pg.clone(), Master::read(&self.masters).context("read the master keys")?))
    }

    /// Directory of the private database, when there is one.
    pub fn cluster(&self) -> Option<&cluster::Cluster> {
        self.database.cluster.as_ref()
    }

    /// Drains: no new calls, then jobs and transactions to their end, then the outside world and the database.
    ///
    /// # Errors
    /// When the database could not be stopped.
    pub async fn shutdown(self) -> Result<()> {
        self.closing.cancel();
        self.doors.close();
        self.doors.wait().await;
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(TASKS_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "work that did not end in time was left");
        }
        // The task that told them of tenants has ended, so nobody else holds them.
        if let Some(simulators) = self.simulators.and_then(Arc::into_inner) {
            simulators.shutdown().await;
        }
        self.database.close().await
    }

    fn mount(&self, services: &[Service], settings: &Settings) -> Result<()> {
        for service in services {
            let boot = Boot {
                database: self.database.template.clone(),
                pool_size: POOL,
                peers: self.mesh.peers(service.name),
                settings: settings.clone(),
                tasks: self.tasks.clone(),
                shutdown: self.stopping.clone(),
            };
            let mount = (service.mount)(&boot).with_context(|| format!("start service {}", service.name))?;
            self.mesh.attach(mount.name, mount.routes, Limits::default());
            for job in mount.jobs {
                tracing::debug!(service = service.name, job = job.name(), "job starts");
                job.spawn(&self.tasks, self.stopping.clone());
            }
        }
        Ok(())
    }

    fn open(&self, grpc: Server, rest: Option<Edge>, metrics: Option<TcpListener>) {
        let front = self.mesh.front();
        let closing = self.closing.clone();
        if let Some(parts) = self.database.parts() {
            self.tasks.spawn(parts.keep(self.stopping.clone()));
        }
        if let Some(young) = self.database.young() {
            self.tasks.spawn(young.keep(self.stopping.clone()));
        }
        self.doors.spawn(async move {
            if let Err(error) = grpc.run(front, closing).await {
                tracing::error!(%error, "the gRPC port broke");
            }
        });
        let handle = telemetry::metrics::install();
        if let Some(edge) = rest {
            edge.open(&self.mesh, &self.doors, self.closing.clone());
        }
        if let Some(listener) = metrics {
            self.tasks.spawn(scrape::serve(listener, handle.clone(), self.stopping.clone()));
        }
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move { stopping.run_until_cancelled(handle.keep_up()).await });
    }
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    Ok(Some(TcpListener::bind(address).await.map_err(|error| taken(address, error))?))
}

fn taken(address: SocketAddr, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {} is taken; fix: stop what uses it (another ordermesh?), or take another with --random-ports",
            address.port()
        ),
        _ => anyhow::Error::new(error).context(format!("listen on {address}")),
    }
}

struct Addresses {
    payments: String,
    payments_fallback: String,
    wms: String,
    carrier: String,
    mail: SecretString,
    mail_from: String,
    wms_poll: Duration,
    carrier_poll: Duration,
}

async fn outside(outside: Outside) -> Result<(Addresses, Option<Arc<Simulators>>)> {
    match outside {
        Outside::Real { payments, payments_fallback, wms, carrier, mail, mail_from, wms_poll, carrier_poll } => {
            let addresses =
                Addresses { payments, payments_fallback, wms, carrier, mail, mail_from, wms_poll, carrier_poll };
            Ok((addresses, None))
        }
        Outside::Simulated(config) => {
            // A hurried world is asked more often, or the hurry would be lost between two questions.
            let pause = 500.0 / config.speed.clamp(1.0, 10.0);
            let wms_poll = Duration::from_millis(if config.speed == 0.0 { 50 } else { pause as u64 });
            let simulators = Simulators::start(config).await.context(
                "the simulators did not start; fix: stop what uses their ports (another ordermesh?), or --random-ports",
            )?;
            let addresses = Addresses {
                payments: format!("http://{}", simulators.payments),
                payments_fallback: String::new(),
                wms: format!("http://{}/wms", simulators.wms),
                carrier: format!("http://{}", simulators.carrier),
                mail: format!("smtp://{}", simulators.smtp).into(),
                mail_from: MAIL_FROM.to_owned(),
                wms_poll,
                carrier_poll: CARRIER_POLL,
            };
            Ok((addresses, Some(Arc::new(simulators))))
        }
    }
}

fn settings(secrets: &Secrets, outside: Addresses, cache_url: Option<SecretString>) -> Settings {
    Settings {
        payments_url: outside.payments,
        payments_fallback_url: outside.payments_fallback,
        payments_key: secrets.payments.clone(),
        payments_fallback_key: secrets.payments_fallback.clone(),
        wms_url: outside.wms,
        carrier_url: outside.carrier,
        mail_url: outside.mail,
        mail_from: outside.mail_from,
        carrier_key: secrets.carrier.clone(),
        webhook_secret_root: secrets.webhooks.clone(),
        wms_poll: outside.wms_poll,
        carrier_poll: outside.carrier_poll,
        page_token_key: secrets.pages.clone(),
        user_token_ttl: TOKEN_LIFE,
        master_keys: secrets.masters.clone(),
        cache_url,
    }
}
