use diesel_async::{AsyncMigrationHarness, RunQueryDsl, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};

use crate::{Conn, Error, Target};

/// Embedded SQL of one folder under `migrations/`.
pub type Migrations = EmbeddedMigrations;

/// What a service brings to the database.
pub struct Source {
    /// Name of the service; its schema is `om_<service>`.
    pub service: &'static str,
    /// Its tables and functions.
    pub migrations: Migrations,
}

const BUS: Migrations = diesel_migrations::embed_migrations!("../../migrations/bus");
const RUNTIME: Migrations = diesel_migrations::embed_migrations!("../../migrations/runtime");
/// Any number will do as long as nothing else in the cluster locks it.
const LOCK: &str = "SELECT pg_advisory_lock(7067436825)";

/// Why the database could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection as the administrator.
    #[error("cannot connect to the database as {role}: {source}")]
    Connect {
        /// The role that was tried.
        role: String,
        /// What the database said.
        source: diesel::ConnectionError,
    },
    /// A statement failed.
    #[error("cannot prepare schema {schema}: {source}")]
    Prepare {
        /// The schema.
        schema: String,
        /// What the database said.
        source: diesel::result::Error,
    },
    /// A migration failed; it was rolled back.
    #[error("migration of schema {schema} failed: {source}")]
    Run {
        /// The schema.
        schema: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        Self::Fault(fault::Fault::internal(error))
    }
}

/// Brings the bus and every service's schema and roles up to date; safe to run from several processes at once.
///
/// # Errors
/// [`MigrateError`], and then the schema it names is as it was.
pub async fn migrate(target: &Target, admin: &str, sources: Vec<Source>) -> Result<Vec<String>, MigrateError> {
    let mut applied = Vec::new();
    let mut guard = connect(target, admin).await?;
    let prepare = |schema: &str| {
        let schema = schema.to_owned();
        move |source| MigrateError::Prepare { schema, source }
    };
    guard.batch_execute(LOCK).await.map_err(prepare("public"))?;
    guard.batch_execute(BUS_SCHEMA).await.map_err(prepare("om_bus"))?;
    applied.extend(run(target, admin, "om_bus", vec![BUS]).await?);
    for source in sources {
        let schema = format!("om_{}", source.service);
        diesel::sql_query("SELECT 1").execute(&mut guard).await.map_err(prepare(&schema))?;
        guard.batch_execute(&roles(&schema)).await.map_err(prepare(&schema))?;
        applied.extend(run(target, admin, &schema, vec![RUNTIME, source.migrations]).await?);
    }
    // The advisory lock ends with the connection.
    drop(guard);
    Ok(applied)
}

async fn connect(target: &Target, admin: &str) -> Result<Conn, MigrateError> {
    crate::connect::connect(&target.url(admin))
        .await
        .map_err(|source| MigrateError::Connect { role: admin.to_owned(), source })
}

async fn run(target: &Target, admin: &str, schema: &str, sets: Vec<Migrations>) -> Result<Vec<String>, MigrateError> {
    let mut conn = connect(target, admin).await?;
    conn.batch_execute(&format!("SET search_path = {schema}"))
        .await
        .map_err(|source| MigrateError::Prepare { schema: schema.to_owned(), source })?;
    let mut harness = AsyncMigrationHarness::new(conn);
    let mut applied = Vec::new();
    for set in sets {
        let versions = harness
            .run_pending_migrations(set)
            .map_err(|source| MigrateError::Run { schema: schema.to_owned(), source })?;
        applied.extend(versions.into_iter().map(|version| format!("{schema}: {version}")));
    }
    Ok(applied)
}

const BUS_SCHEMA: &str = "
CREATE SCHEMA IF NOT EXISTS om_bus;
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'om_bus_client') THEN CREATE ROLE om_bus_client NOLOGIN; END IF;
END $$;";

/// Neither role owns anything, is superuser or bypasses row level security (`reliability.md` 5). No query is long enough
/// for the JIT compiler: where a plan's estimated cost called it, a look for due sagas took 100 ms instead of 0.3.
fn roles(schema: &str) -> String {
    format!(
        "CREATE SCHEMA IF NOT EXISTS {schema};
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{schema}') THEN
    CREATE ROLE {schema} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{schema}_worker') THEN
    CREATE ROLE {schema}_worker LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE IN ROLE om_bus_client;
  END IF;
END $$;
GRANT USAGE ON SCHEMA {schema} TO {schema}, {schema}_worker, om_bus_client;
ALTER ROLE {schema} SET search_path = {schema};
ALTER ROLE {schema}_worker SET search_path = {schema};
ALTER ROLE {schema} SET statement_timeout = '5s';
ALTER ROLE {schema}_worker SET statement_timeout = '10s';
ALTER ROLE {schema} SET jit = off;
ALTER ROLE {schema}_worker SET jit = off;
ALTER ROLE {schema} SET lock_timeout = '1s';
ALTER ROLE {schema}_worker SET lock_timeout = '1s';
ALTER ROLE {schema} SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE {schema}_worker SET idle_in_transaction_session_timeout = '5s';"
    )
}
