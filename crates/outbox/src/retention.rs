use std::time::Duration;

use diesel_async::RunQueryDsl;
use futures::FutureExt;
use pg::{Conn, Pg};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(3600);

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
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = due.tick() => self.prune().await,
            }
        }
    }

    async fn prune(&self) {
        let result = self
            .pg
            .worker("outbox.prune", |conn: &mut Conn| {
                async move {
                    for sql in [
                        "DELETE FROM idempotency WHERE created_at < now() - interval '7 days'",
                        "DELETE FROM inbox WHERE received_at < now() - interval '30 days'",
                    ] {
                        diesel::sql_query(sql).execute(conn).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await;
        if let Err(error) = result {
            tracing::warn!(service = self.pg.service(), %error, "pruning failed");
        }
    }
}
