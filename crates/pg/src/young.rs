use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use tokio_util::sync::CancellationToken;

use crate::connect::connect;
use crate::{Conn, PartsError, Target};

const EVERY: Duration = Duration::from_secs(1);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(10);

/// Keeps the statistics of small tables fresh: only their owner can.
///
/// A plan is made once per connection, and one that was made while a table was empty may walk all rows of a tenant. What
/// replaces it is an ANALYZE, for which autovacuum takes up to a minute: too late for a shop that opens with a crowd
/// (docs/adr/0009). So each table is analyzed whenever it has doubled, until it is large enough for autovacuum's pace.
#[derive(Debug, Clone)]
pub struct Young {
    target: Target,
    owner: String,
}

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Turn {
    #[diesel(sql_type = Bool)]
    ours: bool,
}

impl Young {
    /// Looks as a role that owns the tables.
    pub fn new(target: Target, owner: String) -> Self {
        Self { target, owner }
    }

    /// Analyzes what has doubled; how many tables that were, those with it that somebody else is at. Of several processes
    /// one looks at a time.
    ///
    /// # Errors
    /// When the owner cannot connect or a statement fails.
    pub async fn look(&self) -> Result<usize, PartsError> {
        look(&mut self.connect().await?).await.map_err(PartsError::from)
    }

    /// Looks every second, until cancelled.
    pub async fn keep(self, cancel: CancellationToken) {
        let mut conn = None;
        loop {
            let looked = self.again(&mut conn).await;
            match &looked {
                Ok(0) => {}
                Ok(tables) => {
                    metrics::counter!("young_tables_analyzed_total").increment(u64::try_from(*tables).unwrap_or(0))
                }
                Err(error) => {
                    tracing::warn!(%error, "the statistics of young tables were not looked at");
                    conn = None;
                }
            }
            let pause = if looked.is_ok() { EVERY } else { AGAIN };
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn again(&self, conn: &mut Option<Conn>) -> Result<usize, PartsError> {
        let conn = match conn {
            Some(conn) => conn,
            None => conn.insert(self.connect().await?),
        };
        look(conn).await.map_err(PartsError::from)
    }

    async fn connect(&self) -> Result<Conn, PartsError> {
        let url = self.target.url(&self.owner);
        connect(&url).await.map_err(|source| PartsError::Connect(self.owner.clone(), source))
    }
}

/// Each ANALYZE commits by itself: in a transaction of all of them the first would hold the horizon, below which
/// consumers see events, until the last had ended.
async fn look(conn: &mut Conn) -> diesel::QueryResult<usize> {
    let turn: Turn =
        diesel::sql_query("SELECT pg_try_advisory_lock(hashtext('om_young')) AS ours").get_result(conn).await?;
    if !turn.ours {
        return Ok(0);
    }
    let analyzed = analyze(conn).await;
    // When this fails the connection is given up, and the lock with it.
    conn.batch_execute("SELECT pg_advisory_unlock(hashtext('om_young'))").await?;
    analyzed
}

async fn analyze(conn: &mut Conn) -> diesel::QueryResult<usize> {
    // Pages of now against pages of the last ANALYZE; what belongs to somebody else is his to analyze.
    let young: Vec<Table> = diesel::sql_query(
        r"SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname LIKE 'om\_%' AND c.relkind = 'r' AND c.relpages < 2000 AND pg_has_role(c.relowner, 'USAGE')
            AND pg_relation_size(c.oid) / current_setting('block_size')::int > 2 * greatest(c.relpages, 4) ORDER BY 1",
    )
    .load(conn)
    .await?;
    for Table { name } in &young {
        conn.batch_execute(&format!("ANALYZE (SKIP_LOCKED) {name}")).await?;
    }
    Ok(young.len())
}
