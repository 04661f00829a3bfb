//! The system as processes of their own, so that one of them can be killed.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ids::TenantId;
use ordermesh::platform::Secrets;
use ordermesh::{seed, services};
use pg::Pg;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use serve::Settings;
use testkit::{Db, Rest};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use vault::{Master, Vault};

use crate::journey::world::text;

const SHOP: &str = "phoenix";
/// The server takes calls this long after it was started.
const READY: Duration = Duration::from_secs(120);

/// PostgreSQL and simulators that live, and a server that may die.
pub struct Processes {
    pub db: Db,
    pub payments: Rest,
    pub wms: Rest,
    pub carrier: Rest,
    pub tenant: TenantId,
    pub customer: Rest,
    pub csr: Rest,
    work: PathBuf,
    program: PathBuf,
    args: Vec<String>,
    server: Child,
    _simulators: Child,
}

impl Processes {
    /// Starts everything and opens a shop with goods.
    pub async fn start(speed: &str) -> Result<Self> {
        build()?;
        let db = Db::of(services::sources()).await?;
        let work = scratch()?;
        let secrets = Secrets::open(&work.join("secrets"))?;
        let root = seed::platform_login();
        let door = Pg::connect("identity", db.target(), 1)?;
        let vault = Vault::new(door.clone(), Master::read(&secrets.masters)?);
        identity::bootstrap(&door, &vault, &root.email, root.password.clone().into()).await?;
        let (simulators, outside) = simulators(&work, speed).await?;
        let at = |name: &str| format!("http://{}", text(&outside, name));
        let ports = [port()?, port()?, port()?].map(|port| format!("127.0.0.1:{port}"));
        let args: Vec<String> = [
            ["--database", &db.target().url(cluster::ADMIN)],
            ["--secrets", &work.join("secrets").to_string_lossy()],
            ["--rest", &ports[0]],
            ["--grpc", &ports[1]],
            ["--metrics", &ports[2]],
            ["--payments-url", &at("payments")],
            ["--wms-url", &format!("{}/wms", at("wms"))],
            ["--carrier-url", &at("carrier")],
            ["--mail-url", &format!("smtp://{}", text(&outside, "smtp"))],
            ["--wms-poll-ms", "200"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
        let rest = Rest::new(format!("http://{}", ports[0]));
        let program = binary("ordermesh")?;
        let server = serve(&program, &args, &work)?;
        let (tenant, customer, csr) = open_shop(&rest).await?;
        let (payments, wms, carrier) = (Rest::new(at("payments")), Rest::new(at("wms")), Rest::new(at("carrier")));
        tell_of_webhooks(&payments, &rest, &secrets, tenant).await?;
        let _simulators = simulators;
        Ok(Self { db, payments, wms, carrier, tenant, customer, csr, work, program, args, server, _simulators })
    }

    /// Kills the server as a power cut would, and starts it again.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.kill().await?;
        self.server = serve(&self.program, &self.args, &self.work)?;
        Ok(())
    }

    /// Where the server writes what it has to say.
    pub fn log(&self) -> PathBuf {
        self.work.join("server.log")
    }

    /// Whether the server runs, or died by itself.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.server.try_wait(), Ok(None))
    }

    /// Removes what was written when all is well.
    pub async fn stop(mut self) -> Result<()> {
        self.server.kill().await?;
        self._simulators.kill().await?;
        std::fs::remove_dir_all(&self.work)?;
        Ok(())
    }
}

fn serve(program: &Path, args: &[String], work: &Path) -> Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(work.join("server.log"))?;
    let mut command = Command::new(program);
    command.args(["serve", "all"]).args(args).env("RUST_LOG", "warn").stdout(log.try_clone()?).stderr(log);
    command.kill_on_drop(true).spawn().context("start ordermesh serve")
}

async fn open_shop(rest: &Rest) -> Result<(TenantId, Rest, Rest)> {
    ready(rest).await?;
    let root = rest.login(&seed::platform_login()).await?;
    seed::tenant(&root, SHOP).await?;
    let login = seed::login(SHOP, "admin");
    let session = rest.post("/api/v1/sessions", &json!(login), None).await?;
    let tenant = text(&session, "tenantId").parse()?;
    let admin = rest.with_token(text(&session, "accessToken"));
    seed::trust(&admin).await?;
    seed::people(&admin, SHOP).await?;
    seed::goods(&admin).await?;
    let customer = rest.login(&seed::login(SHOP, "customer")).await?;
    let csr = rest.login(&seed::login(SHOP, "csr")).await?;
    Ok((tenant, customer, csr))
}

async fn ready(rest: &Rest) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < READY {
        if rest.get("/api/v1/jwks").await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("the server was not ready in {READY:?}")
}

/// What a shop does by hand at its providers.
async fn tell_of_webhooks(desk: &Rest, rest: &Rest, secrets: &Secrets, tenant: TenantId) -> Result<()> {
    let settings = Settings { webhook_secret_root: secrets.webhooks.clone(), ..Settings::isolated() };
    let secret = |provider| settings.webhook_secret(provider, tenant).expose_secret().to_owned();
    let base = format!("{}/api/v1/webhooks", rest.url());
    let endpoint = json!([{
        "tenant": tenant.to_string(),
        "payments_url": format!("{base}/payments/stripe/{tenant}"),
        "payments_secret": secret("payments"),
        "carrier_url": format!("{base}/carriers/fedex/{tenant}"),
        "carrier_secret": secret("carriers"),
    }]);
    let answer = desk.request(reqwest::Method::PUT, "/_sim/webhooks").json(&endpoint).send().await?;
    ensure!(answer.status().is_success(), "the endpoints were refused: {}", answer.text().await?);
    Ok(())
}

async fn simulators(work: &Path, speed: &str) -> Result<(Child, Value)> {
    let mut child = Command::new(binary("ordermesh-simulators")?)
        .args(["--speed", speed, "--ledger-dir"])
        .arg(work.join("ledgers"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().context("no output")?;
    let line = BufReader::new(out).lines().next_line().await?.context("the simulators said nothing")?;
    Ok((child, serde_json::from_str(&line)?))
}

/// Builds both programs; cargo says at once when they are there.
pub fn build() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = std::process::Command::new(cargo)
        .args(["build", "--quiet", "--package", "ordermesh", "--package", "simulators", "--bins"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    ensure!(status.success(), "the programs were not built");
    Ok(())
}

/// A program beside this test's own.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let dir = own.parent().and_then(Path::parent).context("cargo puts tests in target/debug/deps")?;
    Ok(dir.join(name))
}

fn scratch() -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ordermesh-chaos-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A port that stays free while the server is down: not one of those that the system gives to every connection.
pub fn port() -> Result<u16> {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 16_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test programs side by side begin at different places.
    let begin = std::process::id().wrapping_mul(31);
    let candidates = (0..COUNT).map(|_| FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    let mut free = candidates
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().context("no port is free")
}
