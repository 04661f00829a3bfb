use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cluster::{Cluster, Options};
use pg::Target;

use crate::{cli, services};

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
    /// One that is there.
    Url {
        /// Connection string; `{role}` stands for the role's name if it is a template, else its user does.
        url: String,
        /// Role that may create schemas and roles; the URL's user when nobody says.
        admin: Option<String>,
    },
}

impl From<cli::Place> for Database {
    fn from(place: cli::Place) -> Self {
        Self::Url { url: place.database, admin: place.database_admin }
    }
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Connection string with `{role}`.
    pub template: String,
    /// Role that may create schemas and roles, if anybody named one.
    pub admin: Option<String>,
    /// What must be stopped at the end.
    pub cluster: Option<Cluster>,
}

impl Opened {
    pub(crate) async fn open(database: Database) -> Result<Self> {
        let (root, fsync) = match database {
            Database::Url { url, admin } => {
                let (template, user) = template(&url)?;
                return Ok(Self { template, admin: admin.or(user), cluster: None });
            }
            Database::Private { dir, fsync } => (dir, fsync),
        };
        // Starting it waits for other processes.
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(&Options { root, fsync })).await??;
        if !cluster.has_database(NAME).await? {
            cluster.create_database(NAME, None).await?;
        }
        let admin = Some(cluster::ADMIN.to_owned());
        Ok(Self { template: cluster.template_url(NAME), admin, cluster: Some(cluster) })
    }

    /// Brings every schema up to date and says what was done.
    pub(crate) async fn migrate(&self) -> Result<Vec<String>> {
        let target = Target::new(self.template.clone());
        let admin = self.admin.as_deref().context(
            "a database URL with {role} does not say who may create schemas and roles; fix: --database-admin ROLE",
        )?;
        pg::migrate(&target, admin, services::sources()).await.context("bring the database up to date")
    }

    /// Who looks after the parts of tables, when somebody is named who owns them (ORD-40).
    pub(crate) fn parts(&self) -> Option<pg::Parts> {
        Some(pg::Parts::new(Target::new(self.template.clone()), self.admin.clone()?))
    }

    /// Who looks after the statistics of small tables, when somebody is named who owns them.
    pub(crate) fn young(&self) -> Option<pg::Young> {
        Some(pg::Young::new(Target::new(self.template.clone()), self.admin.clone()?))
    }

    pub(crate) async fn close(self) -> Result<()> {
        if let Some(cluster) = self.cluster {
            tokio::task::spawn_blocking(move || cluster.stop()).await?;
        }
        Ok(())
    }
}

/// Puts `{role}` where the user stands, and says who that was; a template names nobody.
fn template(url: &str) -> Result<(String, Option<String>)> {
    let (scheme, rest) = url.split_once("://").context("a database URL looks like postgresql://admin@host/database")?;
    if url.contains("{role}") {
        return Ok((url.to_owned(), None));
    }
    let (login, place) = rest.split_once('@').context("the database URL names no user: postgresql://admin@host/db")?;
    let (user, password) = login.split_once(':').map_or((login, String::new()), |(u, p)| (u, format!(":{p}")));
    Ok((format!("{scheme}://{{role}}{password}@{place}"), Some(user.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::{Database, Opened, template};

    async fn opened(url: &str, admin: Option<&str>) -> Opened {
        let database = Database::Url { url: url.to_owned(), admin: admin.map(str::to_owned) };
        Opened::open(database).await.expect("nothing is connected to yet")
    }

    #[test]
    fn services_take_the_place_of_the_urls_user() {
        let (url, user) = template("postgresql://root:pw@db:5432/shop").unwrap();
        assert_eq!((url.as_str(), user.as_deref()), ("postgresql://{role}:pw@db:5432/shop", Some("root")));
        assert!(template("db:5432").is_err());
    }

    #[tokio::test]
    async fn the_administrator_is_who_is_named_else_the_urls_user() {
        assert_eq!(opened("postgresql://root@db/shop", None).await.admin.as_deref(), Some("root"));
        assert_eq!(opened("postgresql://root@db/shop", Some("owner")).await.admin.as_deref(), Some("owner"));
        assert_eq!(opened("postgresql://{role}@db/shop", Some("owner")).await.admin.as_deref(), Some("owner"));
    }

    #[tokio::test]
    async fn a_template_without_an_administrator_is_not_migrated_by_guess() {
        let refused = opened("postgresql://{role}@db/shop", None).await.migrate().await.unwrap_err();
        assert!(refused.to_string().contains("fix: --database-admin"), "{refused}");
    }
}
