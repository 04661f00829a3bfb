use std::time::{Duration, Instant};

use diesel::sql_types::Integer;
use diesel_async::RunQueryDsl;
use futures::FutureExt;
use pg::{Conn, Pg};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(3600);
/// Rows of one transaction: a fraction of what fits into its time limit, however much has gathered.
const BATCH: usize = 5_000;

/// What has outlived its purpose. Found by place: a batch reads the table only as far as it must.
const PRUNE: [&str; 2] = [
    "DELETE FROM idempotency WHERE ctid = ANY (ARRAY( \
     SELECT ctid FROM idempotency WHERE created_at < now() - interval '7 days' LIMIT $1))",
    "DELETE FROM inbox WHERE ctid = ANY (ARRAY( \
     SELECT ctid FROM inbox WHERE received_at < now() - interval '30 days' LIMIT $1))",
];

/// Forgets what has outlived its purpose in a service's schema: idempotency keys after 7 days, inbox rows after 30. Events
/// stay.
#[derive(Debug)]
pub struct Retention {
    pg: Pg,
}

impl Retention {
    /// That of a service.
    pub fn new(pg: Pg) -> Self {
        Self { pg }
    }

    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut due = tokio::time::interval(EVERY);
        let forever = async {
            loop {
                due.tick().await;
                for sql in PRUNE {
                    if let Err(error) = self.prune(sql).await {
                        tracing::warn!(service = self.pg.service(), %error, "pruning failed");
                    }
                }
            }
        };
        cancel.run_until_cancelled(forever).await;
    }

    /// Batch by batch until nothing is left: what is gone stays gone when a later batch fails.
    async fn prune(&self, sql: &'static str) -> Result<(), pg::Error> {
        loop {
            let began = Instant::now();
            let batch = self.pg.worker("outbox.prune", move |conn: &mut Conn| {
                async move { Ok(diesel::sql_query(sql).bind::<Integer, _>(BATCH as i32).execute(conn).await?) }.boxed()
            });
            if batch.await? < BATCH {
                return Ok(());
            }
            tokio::time::sleep(crate::rest(began.elapsed())).await;
        }
    }
}
