//! The processes under test: PostgreSQL, the simulators, and one `ordermesh serve all`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use cluster::{Cluster, Options};
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Double};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures::{StreamExt as _, TryStreamExt as _};
use ordermesh::platform::{Database, Platform, PlatformConfig, Secrets};
use ordermesh::rest::Rest;
use ordermesh::{defaults, seed};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::process::{Cpu, cpu_seconds, family_seconds, memory_mb};
use crate::throughput::Shop;

const DATABASE: &str = "ordermesh";
const SKUS: usize = 1000;

/// What is measured.
pub struct System {
    cluster: Cluster,
    simulators: Child,
    server: Child,
    rest: Rest,
    payments: Rest,
    work: PathBuf,
    /// From the start of `serve all` to its readiness.
    pub ready: Duration,
    /// Its resident memory before any load.
    pub idle_mb: u64,
}

/// How many orders were driven to the warehouse, and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct Driven {
    /// Orders.
    pub orders: i64,
    /// Time.
    pub time: Duration,
}

impl Driven {
    /// Orders per second.
    pub fn per_second(&self) -> f64 {
        self.orders as f64 / self.time.as_secs_f64()
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

impl System {
    /// Starts everything and fills two shops.
    ///
    /// # Errors
    /// When a process does not come up.
    pub async fn start() -> Result<Self> {
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(&Options { root: None, fsync: true })).await??;
        cluster.create_database(DATABASE, None).await?;
        let work = cluster.root().join("bench");
        std::fs::create_dir_all(&work)?;
        fill(&cluster, &work).await?;
        let (simulators, outside) = simulators(&work).await?;
        let (rest, grpc, metrics) = (port()?, port()?, port()?);
        let url = cluster.url(cluster::ADMIN, DATABASE);
        let start = Instant::now();
        let server = Command::new(binary("ordermesh")?)
            .args(["serve", "all", "--database", &url, "--secrets"])
            .arg(work.join("secrets"))
            .args(["--rest", &address(rest), "--grpc", &address(grpc), "--metrics", &address(metrics)])
            .args(["--payments-url", &format!("http://{}", text(&outside, "payments")?)])
            .args(["--wms-url", &format!("http://{}/wms", text(&outside, "wms")?)])
            .args(["--carrier-url", &format!("http://{}", text(&outside, "carrier")?)])
            .args(["--mail-url", &format!("smtp://{}", text(&outside, "smtp")?)])
            // The warehouse is not asked while this runs: what happens behind it is not measured here. After five
            // minutes, as in production, the parcels of all rounds would set off in the middle of the latencies.
            .args(["--wms-poll-ms", "3600000"])
            .env("RUST_LOG", "warn")
            .stderr(std::fs::File::create(work.join("server.log"))?)
            .kill_on_drop(true)
            .spawn()?;
        let rest = Rest::new(format!("http://{}", address(rest)));
        let payments = Rest::new(format!("http://{}", text(&outside, "payments")?));
        let ready = ready(&rest, start).await?;
        // Idle means idle: what starting allocated has settled.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let idle_mb = memory_mb(server.id().context("the server has ended")?)?;
        Ok(Self { cluster, simulators, server, rest, payments, work, ready, idle_mb })
    }

    /// A customer of each shop.
    ///
    /// # Errors
    /// When a login is refused.
    pub async fn shops(&self) -> Result<Vec<Shop>> {
        let skus = Arc::new((0..SKUS).map(sku).collect::<Vec<_>>());
        let mut shops = Vec::new();
        for tenant in seed::TENANTS {
            let customer = self.rest.login(&seed::login(tenant, "customer")).await?;
            shops.push(Shop { customer, skus: Arc::clone(&skus) });
        }
        Ok(shops)
    }

    /// Another database of the same cluster.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn side_database(&self, name: &str) -> Result<String> {
        self.cluster.create_database(name, None).await?;
        Ok(self.cluster.url(cluster::ADMIN, name))
    }

    /// Orders that are on their way to the warehouse.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn waiting(&self) -> Result<i64> {
        self.count("SELECT count(*) FROM om_order.orders WHERE state BETWEEN 2 AND 6").await
    }

    /// All orders.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn orders(&self) -> Result<i64> {
        self.count("SELECT count(*) FROM om_order.orders").await
    }

    /// Waits until no order is on its way any more.
    ///
    /// # Errors
    /// When it takes too long, or an order failed.
    pub async fn drained(&self, limit: Duration) -> Result<Driven> {
        const ARRIVED: &str = "SELECT count(*) FROM om_order.orders WHERE state BETWEEN 8 AND 13";
        // An index holds these and nothing else: to look must not cost what is measured.
        const DRIVEN: &str = "SELECT EXISTS (SELECT FROM om_order.sagas WHERE status IN ('running', 'waiting'))::int::bigint \
            AS count";
        let (start, before) = (Instant::now(), self.count(ARRIVED).await?);
        let mut conn = AsyncPgConnection::establish(&self.cluster.url(cluster::ADMIN, DATABASE)).await?;
        while diesel::sql_query(DRIVEN).get_result::<Count>(&mut conn).await?.count > 0 {
            if start.elapsed() > limit {
                bail!("{} orders are still on their way; see {}", self.waiting().await?, self.work.display());
            }
            // A hundredth of a drain; the deadline is above.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let time = start.elapsed();
        let waiting = self.waiting().await?;
        if waiting > 0 {
            bail!("{waiting} orders wait for no saga");
        }
        let failed = self.count("SELECT count(*) FROM om_order.orders WHERE state IN (7, 16, 17)").await?;
        if failed > 0 {
            bail!("{failed} orders failed");
        }
        Ok(Driven { orders: self.count(ARRIVED).await? - before, time })
    }

    async fn count(&self, sql: &'static str) -> Result<i64> {
        let mut conn = AsyncPgConnection::establish(&self.cluster.url(cluster::ADMIN, DATABASE)).await?;
        Ok(diesel::sql_query(sql).get_result::<Count>(&mut conn).await?.count)
    }

    /// From now on the payment provider takes so long for every hold.
    ///
    /// # Errors
    /// When its simulator does not take the script.
    pub async fn slow_provider(&self, delay_ms: u64) -> Result<()> {
        let slow = json!([{"op": "payment_intents.create", "kind": "delay", "delay_ms": delay_ms, "times": 1_000_000}]);
        self.payments.request(Method::POST, "/_sim/faults").json(&slow).send().await?.error_for_status()?;
        Ok(())
    }

    /// The database's time, microseconds since 1970.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn now(&self) -> Result<i64> {
        self.count("SELECT (extract(epoch FROM now()) * 1000000)::bigint AS count").await
    }

    /// Milliseconds from placed to paid (p50, p95, p99) of the orders that were placed since.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn paid_since(&self, since: i64) -> Result<Vec<f64>> {
        #[derive(QueryableByName)]
        struct Times {
            #[diesel(sql_type = Array<Double>)]
            ms: Vec<f64>,
        }
        let mut conn = AsyncPgConnection::establish(&self.cluster.url(cluster::ADMIN, DATABASE)).await?;
        let query = diesel::sql_query(
            "SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]::float8[]) WITHIN GROUP (ORDER BY \
             (extract(epoch FROM paid.occurred_at - placed.occurred_at) * 1000)::float8) AS ms \
             FROM om_order.events placed JOIN om_order.events paid USING (tenant_id, stream_id) \
             WHERE placed.type = 'ordermesh.order.v1.OrderCreated' \
             AND paid.type = 'ordermesh.order.v1.OrderPaymentCompleted' \
             AND placed.occurred_at >= to_timestamp($1 / 1000000.0)",
        );
        Ok(query.bind::<BigInt, _>(since).get_result::<Times>(&mut conn).await?.ms)
    }

    /// CPU seconds so far.
    ///
    /// # Errors
    /// When a process has ended.
    pub fn cpu(&self) -> Result<Cpu> {
        Ok(Cpu {
            server: cpu_seconds(self.server.id().context("the server has ended")?)?,
            database: family_seconds(self.postmaster()?)?,
            simulators: cpu_seconds(self.simulators.id().context("the simulators have ended")?)?,
            generator: cpu_seconds(std::process::id())?,
        })
    }

    /// Resident memory of the server.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory_mb(&self) -> Result<u64> {
        memory_mb(self.server.id().context("the server has ended")?)
    }

    fn postmaster(&self) -> Result<u32> {
        self.cluster.postmaster_pid().context("PostgreSQL has ended")
    }

    /// Waits until mails and relays of what was driven are done: less than a third of a core is busy.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn calm(&self) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(500);
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let before = self.cpu()?;
            // The stretch over which CPU time is taken; the deadline is below.
            tokio::time::sleep(LOOK).await;
            let used = self.cpu()?.since(&before);
            if used.server + used.database < LOOK.as_secs_f64() / 3.0 {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "server and PostgreSQL do not come to rest");
        }
    }

    /// Lets server and simulators do nothing until [`System::go_on`].
    ///
    /// # Errors
    /// When a process has ended.
    pub fn stand_still(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When a process has ended.
    pub fn go_on(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        for child in [&self.server, &self.simulators] {
            let pid = child.id().context("a process has ended")?.to_string();
            let sent = std::process::Command::new("kill").args([signal, &pid]).status()?;
            anyhow::ensure!(sent.success(), "kill {signal} {pid} failed");
        }
        Ok(())
    }

    /// Stops everything.
    ///
    /// # Errors
    /// When a process cannot be stopped.
    pub async fn stop(mut self) -> Result<()> {
        self.server.kill().await?;
        self.simulators.kill().await?;
        tokio::task::spawn_blocking(move || self.cluster.stop()).await?;
        Ok(())
    }
}

/// Two shops with a thousand products each, made by a system that ends before anything is measured.
async fn fill(cluster: &Cluster, work: &Path) -> Result<()> {
    let embedded = defaults::embedded(defaults::random_ports(), 0.0, None);
    let database = Database::Url { url: cluster.template_url(DATABASE).replace("{role}", cluster::ADMIN), admin: None };
    let secrets = Secrets::open(&work.join("secrets"))?;
    let platform = Platform::start(PlatformConfig { database, secrets, ..embedded }).await?;
    seed::bootstrap(&platform).await?;
    let anonymous = Rest::new(platform.rest_url());
    seed::demo(&anonymous).await?;
    for tenant in seed::TENANTS {
        let admin = anonymous.login(&seed::login(tenant, "admin")).await?;
        let products = (0..SKUS).map(|number| product(&admin, number));
        futures::stream::iter(products).buffer_unordered(32).try_collect::<()>().await?;
    }
    platform.shutdown().await
}

fn sku(number: usize) -> String {
    format!("LOAD-{number:04}")
}

async fn product(admin: &Rest, number: usize) -> Result<()> {
    let sku = sku(number);
    let price = json!({"currencyCode": "USD", "amountMinor": "1999"});
    let body = json!({"sku": sku, "displayName": format!("Load {number}"), "prices": [price], "weightGrams": 100});
    admin.post("/api/v1/products", &body, None).await?;
    let stock = json!({"warehouse": "OAK", "onHandDelta": 1_000_000, "reason": "bench"});
    admin.post(&format!("/api/v1/inventory/{sku}:adjust"), &stock, Some(&sku)).await?;
    Ok(())
}

async fn simulators(work: &Path) -> Result<(Child, Value)> {
    let mut child = Command::new(binary("ordermesh-simulators")?)
        .args(["--speed", "0", "--ledger-dir"])
        .arg(work.join("ledgers"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().context("no output")?;
    let line = BufReader::new(out).lines().next_line().await?.context("the simulators said nothing")?;
    Ok((child, serde_json::from_str(&line)?))
}

async fn ready(rest: &Rest, start: Instant) -> Result<Duration> {
    while start.elapsed() < Duration::from_secs(30) {
        // The user's path, not a promise: the answer comes from a service behind the bridge.
        if rest.get("/api/v1/jwks").await.is_ok() {
            return Ok(start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the server was not ready in 30 s")
}

/// A binary of the release build beside this one.
fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let release = own.parent().and_then(Path::parent).context("cargo puts benches in target/release/deps")?;
    let path = release.join(name);
    if !path.exists() {
        bail!("{name} is not built; fix: make bench");
    }
    Ok(path)
}

fn port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn text<'v>(value: &'v Value, name: &str) -> Result<&'v str> {
    value[name].as_str().with_context(|| format!("the simulators did not say where {name} is"))
}
