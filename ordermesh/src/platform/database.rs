use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cluster::{Cluster, Options};
use pg::Target;

use crate::services;

const NAME: &str = "ordermesh";

/// Which PostgreSQL holds the system's data.
#[derive(Debug, Clone)]
pub enum Database {
    /// One that we start and stop; without a directory its data is gone afterwards.
    Private {
        /// Where it lives.
        dir: Option<PathBuf>,
        /// Whether commits reach the disk.
        fsync: bool,
    },
    /// One that is there: a connection string, `{role}` standing for the role's name if it is a template.
    Url(String),
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Connection string with `{role}`.
    pub template: String,
    /// Role that may create schemas and roles.
    pub admin: String,
    /// What must be stopped at the end.
    pub cluster: Option<Cluster>,
}

impl Opened {
    pub(crate) async fn open(database: Database) -> Result<Self> {
        let (root, fsync) = match database {
            Database::Url(url) => {
                let (template, admin) = template(&url)?;
                return Ok(Self { template, admin, cluster: None });
            }
            Database::Private { dir, fsync } => (dir, fsync),
        };
        // Starting it waits for other processes.
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(&Options { root, fsync })).await??;
        if !cluster.has_database(NAME).await? {
            cluster.create_database(NAME, None).await?;
        }
        Ok(Self { template: cluster.template_url(NAME), admin: cluster::ADMIN.to_owned(), cluster: Some(cluster) })
    }

    /// Brings every schema up to date and says what was done.
    pub(crate) async fn migrate(&self) -> Result<Vec<String>> {
        let target = Target::new(self.template.clone());
        pg::migrate(&target, &self.admin, services::sources()).await.context("bring the database up to date")
    }

    pub(crate) async fn close(self) -> Result<()> {
        if let Some(cluster) = self.cluster {
            tokio::task::spawn_blocking(move || cluster.stop()).await?;
        }
        Ok(())
    }
}

/// Puts `{role}` where the user stands; the user is the administrator.
fn template(url: &str) -> Result<(String, String)> {
    let (scheme, rest) = url.split_once("://").context("a database URL looks like postgresql://admin@host/database")?;
    if url.contains("{role}") {
        return Ok((url.to_owned(), "postgres".to_owned()));
    }
    let (login, place) = rest.split_once('@').context("the database URL names no user: postgresql://admin@host/db")?;
    let (user, password) = login.split_once(':').map_or((login, String::new()), |(u, p)| (u, format!(":{p}")));
    Ok((format!("{scheme}://{{role}}{password}@{place}"), user.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn the_user_of_the_url_is_the_administrator() {
        let (url, admin) = template("postgresql://root:pw@db:5432/shop").unwrap();
        assert_eq!((url.as_str(), admin.as_str()), ("postgresql://{role}:pw@db:5432/shop", "root"));
        assert!(template("db:5432").is_err());
    }
}
