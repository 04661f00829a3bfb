use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio_postgres::NoTls;

use crate::{ADMIN, Cluster, Error};

const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

impl Cluster {
    /// URL of the superuser at the maintenance database.
    pub fn admin_url(&self) -> String {
        self.url(ADMIN, "postgres")
    }

    /// URL of a role at a database.
    pub fn url(&self, role: &str, database: &str) -> String {
        let socket = self.home.socket();
        let host = utf8_percent_encode(&socket.to_string_lossy(), KEPT).to_string();
        format!("postgresql://{role}@/{database}?host={host}")
    }

    /// URL of a database with `{role}` where the role goes, as `pg::Target` takes it.
    pub fn template_url(&self, database: &str) -> String {
        self.url("{role}", database)
    }

    /// Creates a database, empty or as a copy of another that nobody is connected to.
    ///
    /// # Errors
    /// [`Error::Name`], or [`Error::Sql`] when it exists already.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> Result<(), Error> {
        let (name, template) = (checked(name)?, checked(template.unwrap_or("template0"))?);
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE {template}")).await
    }

    /// Drops a database, if there, and whoever is connected to it.
    ///
    /// # Errors
    /// [`Error::Name`] or [`Error::Sql`].
    pub async fn drop_database(&self, name: &str) -> Result<(), Error> {
        self.admin(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", checked(name)?)).await
    }

    /// Whether the database is there.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn has_database(&self, name: &str) -> Result<bool, Error> {
        let client = connect(&self.admin_url()).await?;
        let row = client
            .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name])
            .await
            .map_err(|source| Error::Sql { what: format!("look for database {name}"), source })?;
        Ok(row.is_some())
    }

    async fn admin(&self, statement: &str) -> Result<(), Error> {
        let client = connect(&self.admin_url()).await?;
        client.batch_execute(statement).await.map_err(|source| Error::Sql { what: statement.to_owned(), source })
    }
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .map_err(|source| Error::Sql { what: "connect to the private PostgreSQL".to_owned(), source })?;
    // Ends by itself when the client is dropped; its error reaches the caller through the client.
    tokio::spawn(async move { connection.await.inspect_err(|error| tracing::debug!(%error, "connection closed")) });
    Ok(client)
}

// Statements that name a database take no parameters, so the name must be harmless.
fn checked(name: &str) -> Result<&str, Error> {
    let ok = (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.as_bytes()[0].is_ascii_digit();
    if ok { Ok(name) } else { Err(Error::Name(name.to_owned())) }
}
