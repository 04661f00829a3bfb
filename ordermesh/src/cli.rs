use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "Examples:
  ordermesh dev                         everything on this machine, until Ctrl-C
  ordermesh demo                        twenty orders from REST to DELIVERED, verified
  ordermesh order list --login FILE     what `ordermesh dev` prints as logins
  ordermesh serve all --database URL    all services against a PostgreSQL that is there

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 denied, 69 not reachable";

/// Order management for many shops: from REST to the warehouse and the carrier.
#[derive(Debug, Parser)]
#[command(name = "ordermesh", version, before_help = EXAMPLES)]
pub struct Cli {
    /// OTLP endpoint for traces, such as http://collector:4318.
    #[arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: PostgreSQL, services, REST, simulators.
    Dev(Dev),
    /// Place twenty orders in a system of its own and verify where they end.
    Demo,
    /// Run services against a PostgreSQL that is there.
    Serve(Box<Serve>),
    /// Bring the database up to date.
    Migrate(Migrate),
    /// Check what this machine lacks; every line has its fix.
    Doctor,
    /// Tenants.
    #[command(subcommand)]
    Tenant(Tenant),
    /// Orders.
    #[command(subcommand)]
    Order(Order),
}

#[derive(Debug, Args)]
pub struct Dev {
    /// Directory of database, ledgers and secrets.
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    pub data_dir: Option<PathBuf>,
    /// Keep nothing after the end.
    #[arg(long)]
    pub ephemeral: bool,
    /// Take any free ports.
    #[arg(long)]
    pub random_ports: bool,
    /// What a fresh database gets.
    #[arg(long, value_enum, default_value_t = Seed::Demo)]
    pub seed: Seed,
    /// Remove what earlier runs left in the data directory first.
    #[arg(long, conflicts_with = "ephemeral")]
    pub reset: bool,
    /// How much faster than real the simulators live; 0 = at once.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub speed: f64,
    /// Form of what is printed when it is ready.
    #[arg(long, value_enum, default_value_t = Report::Text)]
    pub output: Report,
    /// Origin whose pages may call REST, such as https://shop.example; may be repeated.
    #[arg(long = "cors-origin", value_name = "URL", value_parser = origin)]
    pub cors_origins: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Seed {
    /// Two shops with goods and people.
    Demo,
    /// Only the platform's administrator.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// For people.
    Text,
    /// For scripts: one line.
    Json,
}

#[derive(Debug, Args)]
pub struct Serve {
    /// Names of services, "all", and "bridge" for REST.
    #[arg(required = true, value_name = "SERVICE")]
    pub what: Vec<String>,
    #[command(flatten)]
    pub place: Place,
    /// Where gRPC listens.
    #[arg(long, default_value = "127.0.0.1:50051", value_name = "ADDRESS")]
    pub grpc: SocketAddr,
    /// Where REST listens, when the bridge runs here.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub rest: SocketAddr,
    /// Origin whose pages may call REST, such as https://shop.example; may be repeated.
    #[arg(long = "cors-origin", value_name = "URL", value_parser = origin)]
    pub cors_origins: Vec<String>,
    /// Where Prometheus scrapes.
    #[arg(long, default_value = "127.0.0.1:9464", value_name = "ADDRESS")]
    pub metrics: SocketAddr,
    #[command(flatten)]
    pub tls: Tls,
    /// A service of another process: order=http://host:port, or https; may be repeated.
    #[arg(long = "peer", value_name = "NAME=URL", value_parser = peer)]
    pub peers: Vec<(String, String)>,
    /// Directory of the secrets that all processes of the system share.
    #[arg(long, env = "ORDERMESH_SECRETS", value_name = "DIR")]
    pub secrets: PathBuf,
    /// Redis that keeps copies of answers for all processes, such as redis://host:6379; without it each keeps its own.
    #[arg(long, env = "ORDERMESH_CACHE_URL", value_name = "URL")]
    pub cache_url: Option<String>,
    /// Base URL of the payment provider.
    #[arg(long, env = "ORDERMESH_PAYMENTS_URL", default_value = "http://127.0.0.1:8081", value_name = "URL")]
    pub payments_url: String,
    /// Base URL of the payment provider that is asked while the first is away; empty without one.
    #[arg(long, env = "ORDERMESH_PAYMENTS_FALLBACK_URL", default_value = "", value_name = "URL")]
    pub payments_fallback_url: String,
    /// SOAP endpoint of the warehouse system.
    #[arg(long, env = "ORDERMESH_WMS_URL", default_value = "http://127.0.0.1:8082/wms", value_name = "URL")]
    pub wms_url: String,
    /// Pause between two questions to the warehouse system, milliseconds.
    #[arg(long, default_value_t = 5000, value_name = "MS")]
    pub wms_poll_ms: u64,
    /// Base URL of the carrier.
    #[arg(long, env = "ORDERMESH_CARRIER_URL", default_value = "http://127.0.0.1:8083", value_name = "URL")]
    pub carrier_url: String,
    /// The mail server: smtp://HOST:PORT, or smtp://USER:PASSWORD@HOST:587?tls=required, or smtps://…
    #[arg(
        long,
        env = "ORDERMESH_MAIL_URL",
        hide_env_values = true,
        default_value = "smtp://127.0.0.1:8025",
        value_name = "URL"
    )]
    pub mail_url: String,
    /// Who writes mails to customers.
    #[arg(
        long,
        env = "ORDERMESH_MAIL_FROM",
        default_value = "Ordermesh <orders@ordermesh.example>",
        value_name = "NAME <ADDRESS>"
    )]
    pub mail_from: String,
    /// How long the carrier may be silent about a parcel before it is asked, milliseconds.
    #[arg(long, default_value_t = 600_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..))]
    pub carrier_poll_ms: u64,
}

/// Encrypts what this process sends and takes; without it a mesh in front of it has to.
#[derive(Debug, Args)]
pub struct Tls {
    /// Certificate of this process with those up to its authority, PEM: gRPC and REST then speak TLS only.
    #[arg(long, env = "ORDERMESH_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, env = "ORDERMESH_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Authority of clients, PEM: gRPC then lets nobody in without a certificate of it.
    #[arg(long, env = "ORDERMESH_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Authority that vouches for peers over https, PEM; they see this process's certificate.
    #[arg(long, env = "ORDERMESH_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
}

fn peer(text: &str) -> Result<(String, String), String> {
    let (name, url) = text.split_once('=').ok_or("NAME=URL, such as order=http://order:50051")?;
    Ok((name.to_owned(), url.to_owned()))
}

/// An origin as browsers write it: lower case, no default port, nothing behind the host.
fn origin(text: &str) -> Result<String, String> {
    let fix = || "an origin is https://HOST or https://HOST:PORT, without a path".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| fix())?;
    let origin = url.origin().ascii_serialization();
    let has_nothing_else = url.as_str() == format!("{origin}/");
    if matches!(url.scheme(), "http" | "https") && has_nothing_else { Ok(origin) } else { Err(fix()) }
}

#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    pub place: Place,
}

/// Which PostgreSQL, and who may create schemas and roles there.
#[derive(Debug, Args)]
pub struct Place {
    /// PostgreSQL: postgresql://admin@host/db; services take their own roles in the admin's place, or in that of {role}.
    #[arg(
        long,
        env = "ORDERMESH_DATABASE",
        value_name = "URL",
        default_value = "postgresql://postgres@localhost/ordermesh"
    )]
    pub database: String,
    /// Role that may create schemas and roles; without it the URL's user. A URL with {role} names none: say it here.
    #[arg(long, env = "ORDERMESH_DATABASE_ADMIN", value_name = "ROLE")]
    pub database_admin: Option<String>,
}

/// Where the system is and who asks.
#[derive(Debug, Args)]
pub struct Caller {
    /// Base URL of REST.
    #[arg(long, env = "ORDERMESH_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub url: String,
    /// File with a token; "-" reads it from standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "login", required_unless_present = "login")]
    pub token: Option<PathBuf>,
    /// File with a login: {"tenant":…,"email":…,"password":…}.
    #[arg(long, env = "ORDERMESH_LOGIN", value_name = "FILE")]
    pub login: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Open a shop with an administrator.
    Create {
        #[command(flatten)]
        caller: Caller,
        /// Name in URLs and tokens.
        slug: String,
        /// Name shown to people.
        #[arg(long)]
        name: Option<String>,
        /// Login name of the administrator.
        #[arg(long, value_name = "EMAIL")]
        admin: String,
        /// File with the administrator's password; "-" reads it from standard input.
        #[arg(long, value_name = "FILE")]
        password: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Columns for people.
    Table,
    /// One document.
    Json,
    /// One document per line.
    Jsonl,
}

#[derive(Debug, Subcommand)]
pub enum Order {
    /// Show an order by id or number.
    Get {
        /// "ord_…" or the number.
        order: String,
        #[command(flatten)]
        with: With,
    },
    /// List orders, newest first.
    List {
        /// Only this state, such as DELIVERED; may be repeated.
        #[arg(long, value_name = "STATE")]
        state: Vec<String>,
        /// Most orders.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        #[command(flatten)]
        with: With,
    },
    /// Place an order.
    Create {
        /// File with the order as REST takes it; "-" reads it from standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Recognises a repeat; one is made up when there is none.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        with: With,
    },
    /// Show the steps that drive an order.
    Trace {
        /// "ord_…" or the number.
        order: String,
        /// Show new steps until the order's run ends.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        with: With,
    },
}

/// Who asks, and how the answer looks.
#[derive(Debug, Args)]
pub struct With {
    #[command(flatten)]
    pub caller: Caller,
    /// Form of the answer.
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_has_no_contradictions() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_origin_is_kept_as_browsers_send_it() {
        for (said, sent) in [
            ("https://shop.example", "https://shop.example"),
            ("https://Shop.Example:443/", "https://shop.example"),
            ("http://localhost:3000", "http://localhost:3000"),
        ] {
            assert_eq!(origin(said).as_deref(), Ok(sent));
        }
        for wrong in ["*", "null", "shop.example", "https://shop.example/path", "https://me@shop.example", "file:///"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pay_12_a_certificate_without_its_key_is_half_of_something() {
        let serve =
            |more: &[&str]| Cli::try_parse_from(["ordermesh", "serve", "all", "--secrets", "/s"].iter().chain(more));
        assert!(serve(&["--tls-cert", "/c"]).is_err() && serve(&["--tls-key", "/k"]).is_err());
        assert!(serve(&["--tls-client-ca", "/ca"]).is_err(), "nobody can be asked for his without one's own");
        for whole in [&["--tls-ca", "/ca"][..], &["--tls-cert", "/c", "--tls-key", "/k", "--tls-client-ca", "/ca"]] {
            assert!(serve(whole).is_ok(), "{whole:?}");
        }
    }

    #[test]
    fn a_peer_is_a_name_and_an_address() {
        assert_eq!(peer("order=http://order:1"), Ok(("order".to_owned(), "http://order:1".to_owned())));
        assert!(peer("order").is_err());
    }
}
