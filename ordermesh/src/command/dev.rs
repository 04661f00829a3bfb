use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use cluster::Cluster;
use serde_json::json;

use super::Stop;
use crate::cli::{Dev, Report, Seed};
use crate::platform::{Database, Platform, PlatformConfig, Secrets};
use crate::rest::Rest;
use crate::{defaults, seed};

/// `ordermesh dev`.
///
/// # Errors
/// One line that names the fix.
pub async fn dev(args: Dev) -> Result<ExitCode> {
    let start = Instant::now();
    let dir = match (&args.data_dir, args.ephemeral) {
        (_, true) => None,
        (Some(dir), _) => Some(std::path::absolute(dir)?),
        (None, _) => Some(default_data_dir()?),
    };
    if let (Some(dir), true) = (&dir, args.reset) {
        reset(dir)?;
    }
    let mut stop = Stop::listen()?;
    let platform = tokio::select! {
        platform = Platform::start(config(&args, dir.as_deref())?) => platform?,
        () = stop.asked() => return Ok(ExitCode::FAILURE),
    };
    let outcome = tokio::select! {
        outcome = ready_until_asked(&platform, &args, dir.as_deref(), start) => outcome,
        () = stop.asked() => Ok(()),
    };
    if outcome.is_ok() {
        eprintln!("\nstopping; Ctrl-C again ends at once");
        stop.end_at_once_when_asked_again();
    }
    platform.shutdown().await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn config(args: &Dev, dir: Option<&Path>) -> Result<PlatformConfig> {
    let ports = if args.random_ports { defaults::random_ports() } else { defaults::fixed_ports() };
    let mut config = defaults::embedded(ports, args.speed, dir.map(|dir| dir.join("ledgers")));
    config.cors_origins.clone_from(&args.cors_origins);
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        config.database = Database::Private { dir: Some(dir.join("pg")), fsync: true };
        config.secrets = Secrets::open(&dir.join("secrets"))?;
    }
    Ok(config)
}

/// Ends only when it cannot get ready.
async fn ready_until_asked(platform: &Platform, args: &Dev, dir: Option<&Path>, start: Instant) -> Result<()> {
    ready(platform, args, dir, start).await?;
    std::future::pending().await
}

async fn ready(platform: &Platform, args: &Dev, dir: Option<&Path>, start: Instant) -> Result<()> {
    seed::bootstrap(platform).await?;
    if args.seed == Seed::Demo {
        seed::demo(&Rest::new(platform.rest_url())).await.context("seed the shops")?;
    }
    let cluster = platform.cluster().context("dev has a private database")?;
    let logins = logins(dir.unwrap_or(cluster.root()), args.seed)?;
    let addresses = addresses(platform)?;
    if args.output == Report::Json {
        let table = addresses.iter().map(|(name, address)| ((*name).to_owned(), json!(address)));
        let mut report = table.collect::<serde_json::Map<_, _>>();
        report.insert("logins".to_owned(), json!(logins));
        report.insert("dataDir".to_owned(), json!(dir));
        println!("{}", serde_json::Value::Object(report));
        return Ok(());
    }
    println!("ordermesh is ready after {:.1} s\n", start.elapsed().as_secs_f64());
    for (name, address) in &addresses {
        println!("  {name:<12} {address}");
    }
    if args.seed == Seed::Demo {
        people(&platform.rest_url(), &logins);
    }
    match dir {
        Some(dir) => println!("Stop: Ctrl-C    Reset: ordermesh dev --reset    Data: {}", dir.display()),
        None => println!("Stop: Ctrl-C; nothing is kept"),
    }
    Ok(())
}

fn addresses(platform: &Platform) -> Result<Vec<(&'static str, String)>> {
    let rest = platform.rest_url();
    let metrics = platform.metrics.context("dev serves metrics")?;
    let cluster = platform.cluster().context("dev has a private database")?;
    let simulators = platform.simulators.as_ref().context("dev simulates the outside world")?;
    Ok(vec![
        ("REST", format!("{rest}/api/v1")),
        ("Docs", format!("{rest}/docs")),
        ("gRPC", platform.grpc.to_string()),
        ("Metrics", format!("http://{metrics}/metrics")),
        ("Payments", format!("http://{} (simulator)", simulators.payments)),
        ("Warehouse", format!("http://{}/wms (simulator)", simulators.wms)),
        ("Carrier", format!("http://{} (simulator)", simulators.carrier)),
        ("Mail", format!("http://{}/_sim/messages (simulator)", simulators.smtp_http)),
        ("Database", format!("psql '{}'", cluster.url(cluster::ADMIN, "ordermesh"))),
    ])
}

fn people(rest: &str, logins: &[PathBuf]) {
    let customer = seed::login("acme", "customer");
    let staff = seed::login("globex", "csr");
    println!("\nLogins (password {}; also customer, csr, warehouse, admin of both shops):", seed::PASSWORD);
    for login in [&customer, &staff] {
        println!("  {:<8} {}", login.tenant, login.email);
    }
    let login = serde_json::to_string(&customer).unwrap_or_default();
    println!(
        r#"
Place an order:
  TOKEN=$(curl -s {rest}/api/v1/sessions -H 'content-type: application/json' \
    -d '{login}' | sed 's/.*"accessToken": *"\([^"]*\)".*/\1/')
  curl -s {rest}/api/v1/orders -H "authorization: Bearer $TOKEN" -H "idempotency-key: $(date +%s)" \
    -H 'content-type: application/json' -d '{{"items":[{{"sku":"MUG-BLUE","quantity":2}}],"currencyCode":"USD","paymentMethod":"pm_sim_visa","shippingAddress":{{"recipient":"Ada Lovelace","line1":"500 Market Street","city":"San Francisco","region":"CA","postalCode":"94105","countryCode":"US"}}}}'
"#
    );
    if let Some(file) = logins.iter().find(|file| file.ends_with("acme-csr.json")) {
        println!("Then: ordermesh order list --url {rest} --login {}\n", file.display());
    }
}

/// Secrets belong in files, not in flags: one for each person, for `--login`.
fn logins(dir: &Path, seeded: Seed) -> Result<Vec<PathBuf>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let dir = dir.join("logins");
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let mut people = vec![("platform-root".to_owned(), seed::platform_login())];
    if seeded == Seed::Demo {
        for tenant in seed::TENANTS {
            let named = |person| (format!("{tenant}-{person}"), seed::login(tenant, person));
            people.extend(["customer", "csr", "warehouse", "admin"].map(named));
        }
    }
    let write = |(name, login): (String, crate::rest::Login)| {
        let path = dir.join(format!("{name}.json"));
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        serde_json::to_writer(file, &login)?;
        Ok(path)
    };
    people.into_iter().map(write).collect::<Result<_>>().context("write the logins")
}

/// Where data lives when nobody says: a place that the unprivileged server may enter.
pub(super) fn default_data_dir() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/ordermesh"));
    }
    let share = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    let share = share.or_else(home).context("neither XDG_DATA_HOME nor HOME is set; fix: --data-dir DIR")?;
    Ok(share.join("ordermesh"))
}

/// Removes what earlier runs left, and only from a directory that one of them made.
fn reset(dir: &Path) -> Result<()> {
    if !Cluster::erase(&dir.join("pg"))? {
        return Ok(());
    }
    for name in ["ledgers", "secrets", "logins"] {
        match std::fs::remove_dir_all(dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context(name),
            _ => {}
        }
    }
    eprintln!("removed what earlier runs left in {}", dir.display());
    Ok(())
}
