use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use tokio_util::sync::CancellationToken;

use crate::Target;
use crate::connect::connect;

/// Parts are made three months ahead, so a day more or less does not matter.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// After a failure it is tried again sooner.
const AGAIN: Duration = Duration::from_secs(600);

/// Makes the parts of tables by month, ahead of time: only their owner can, and no service is one (ORD-40).
#[derive(Debug, Clone)]
pub struct Parts {
    target: Target,
    owner: String,
}

/// Why the owner of the tables could not do its duties.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// No connection as the owner.
    #[error("cannot connect as {0}: {1}")]
    Connect(String, diesel::ConnectionError),
    /// A statement failed.
    #[error(transparent)]
    Db(#[from] diesel::result::Error),
}

#[derive(QueryableByName)]
struct Schema {
    #[diesel(sql_type = Text)]
    schema: String,
}

impl Parts {
    /// Months ahead of this one that have their parts.
    pub const AHEAD: i32 = 3;

    /// Makes parts as a role that owns the tables.
    pub fn new(target: Target, owner: String) -> Self {
        Self { target, owner }
    }

    /// Makes what is missing in every schema that has a function `om_make_parts`, one transaction each.
    ///
    /// # Errors
    /// When the owner cannot connect or a statement fails; what was made before stays.
    pub async fn make(&self) -> Result<(), PartsError> {
        let url = self.target.url(&self.owner);
        let mut conn = connect(&url).await.map_err(|source| PartsError::Connect(self.owner.clone(), source))?;
        let schemas: Vec<Schema> = diesel::sql_query(
            "SELECT n.nspname::text AS schema FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
             WHERE p.proname = 'om_make_parts' ORDER BY 1",
        )
        .load(&mut conn)
        .await?;
        for Schema { schema } in schemas {
            let ahead = Self::AHEAD;
            let make = format!(
                "BEGIN; SET LOCAL search_path = \"{schema}\"; SELECT om_make_parts({ahead}); COMMIT",
                schema = schema.replace('"', "\"\"")
            );
            if let Err(error) = conn.batch_execute(&make).await {
                conn.batch_execute("ROLLBACK").await?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes them now and every day, until cancelled.
    pub async fn keep(self, cancel: CancellationToken) {
        loop {
            let made = self.make().await;
            metrics::counter!("parts_made_total", "outcome" => if made.is_ok() { "ok" } else { "failed" }).increment(1);
            if let Err(error) = &made {
                tracing::error!(%error, "the parts of the months to come could not be made");
            }
            let pause = if made.is_ok() { EVERY } else { AGAIN };
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }
}
