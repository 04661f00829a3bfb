use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use cluster::{Cluster, Options};
use diesel_async::AsyncConnection as _;
use pg::{Conn, Migrations, Pg, Source, Target};
use tokio::sync::{Mutex, OnceCell};

const POOL: usize = 8;

static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
static TEMPLATES: OnceLock<Mutex<HashMap<String, Arc<OnceCell<()>>>>> = OnceLock::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A database of one test, migrated and empty.
#[derive(Debug, Clone)]
pub struct Db {
    name: String,
    target: Target,
}

impl Db {
    /// A database with the schema of one service: `Db::fresh("inventory", inventory::MIGRATIONS)`.
    ///
    /// # Errors
    /// When there is no PostgreSQL or a migration fails.
    pub async fn fresh(service: &'static str, migrations: Migrations) -> Result<Self> {
        Self::of(vec![Source { service, migrations }]).await
    }

    /// A database with the schemas of several services.
    ///
    /// # Errors
    /// As [`Db::fresh`].
    pub async fn of(sources: Vec<Source>) -> Result<Self> {
        let cluster = shared()?;
        // The name of a database has at most 63 characters: of each service the first five tell it from the others.
        let template = sources.iter().map(|source| source.service.get(..5).unwrap_or(source.service));
        let template = template.collect::<Vec<_>>().join("_");
        let template = format!("template_{template}");
        let ready = {
            let mut templates = TEMPLATES.get_or_init(Mutex::default).lock().await;
            Arc::clone(templates.entry(template.clone()).or_default())
        };
        ready.get_or_try_init(|| prepare(cluster, &template, sources)).await?;
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        cluster.create_database(&name, Some(&template)).await?;
        let target = Target::new(cluster.template_url(&name));
        Ok(Self { name, target })
    }

    /// The door a service has to this database.
    ///
    /// # Panics
    /// When the pool cannot be built.
    pub fn pg(&self, service: &'static str) -> Pg {
        Pg::connect(service, &self.target, POOL).expect("a pool connects only when it is used")
    }

    /// A connection of any role, for what a test must see or do behind the service's back.
    ///
    /// # Errors
    /// When the role does not exist.
    pub async fn connect(&self, role: &str) -> Result<Conn> {
        Conn::establish(&self.target.url(role)).await.with_context(|| format!("connect to {} as {role}", self.name))
    }

    /// A connection of the superuser, whom row level security does not hold.
    ///
    /// # Errors
    /// When the cluster is gone.
    pub async fn admin(&self) -> Result<Conn> {
        self.connect(cluster::ADMIN).await
    }

    /// Where the database is.
    pub fn target(&self) -> &Target {
        &self.target
    }
}

/// The one cluster of this process.
pub(crate) fn shared() -> Result<&'static Cluster> {
    let cluster = CLUSTER.get_or_init(|| {
        let cluster = Cluster::start(&Options { root: None, fsync: false }).map_err(|error| error.to_string())?;
        if std::env::var_os("KEEP").is_some() {
            keep(&cluster);
        }
        Ok(cluster)
    });
    cluster.as_ref().map_err(|error| anyhow::anyhow!(error.clone()))
}

async fn prepare(cluster: &'static Cluster, template: &str, sources: Vec<Source>) -> Result<()> {
    cluster.create_database(template, None).await?;
    let target = Target::new(cluster.template_url(template));
    // Diesel's migrations block their thread, which the single-threaded runtime of a test does not allow.
    let migrated = std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(pg::migrate(&target, cluster::ADMIN, sources))?;
        Ok(())
    });
    tokio::task::spawn_blocking(move || migrated.join()).await?.map_err(|_| anyhow::anyhow!("migration panicked"))?
}

/// Where a failing test does not drop its database, because it shares it.
#[cfg(feature = "system")]
pub(crate) fn keep_when_anything_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        if let Some(Ok(cluster)) = CLUSTER.get() {
            keep(cluster);
        }
    }));
}

impl Drop for Db {
    // A test that fails unwinds through its database; a panic that a test provokes elsewhere does not.
    fn drop(&mut self) {
        if let (true, Some(Ok(cluster))) = (std::thread::panicking(), CLUSTER.get()) {
            eprintln!("database of the failed test: {}", cluster.url(cluster::ADMIN, &self.name));
            keep(cluster);
        }
    }
}

/// Keeps the databases of this process when the outcome is an error, and hands it on.
///
/// An error that a test returns, unlike a panic, passes by its [`Db`] unseen: wrap what returns it. [`eventually`] does
/// so by itself, and `KEEP=1` keeps everything.
///
/// [`eventually`]: crate::eventually
///
/// # Errors
/// The error of the outcome.
pub fn kept<T>(outcome: Result<T>) -> Result<T> {
    if let (Err(_), Some(Ok(cluster))) = (&outcome, CLUSTER.get()) {
        let thread = std::thread::current();
        eprintln!("{} ends with an error", thread.name().unwrap_or("a test"));
        keep(cluster);
    }
    outcome
}

fn keep(cluster: &Cluster) {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| match cluster.keep() {
        Ok(()) => {
            let root = cluster.root().display();
            eprintln!(
                "the databases of failed tests (test_0 is the first) are kept in {root}; look at one with:\n  \
                 pg_ctl -D {root}/data -o '-k {root}/s' -l {root}/postgres.log start && psql '{}'",
                cluster.url(cluster::ADMIN, "test_0")
            );
        }
        Err(error) => eprintln!("databases not kept: {error}"),
    });
}
