use std::time::{Duration, Instant};

use diesel::sql_types::Integer;
use diesel_async::RunQueryDsl;
use futures::FutureExt;
use pg::{Conn, Pg};
use tokio_util::sync::CancellationToken;

use crate::PUBLISHED;

diesel::define_sql_function! {
    /// Moves events to the bus; how many, or -1 when another process is at it.
    fn relay(batch: Integer) -> Integer;
}

const BATCH: i32 = 500;
/// The same while many people wait for an answer of this process: what lies in the log can lie a little longer.
const ASIDE: i32 = 100;
/// Longest pause when nothing wakes us: what another process committed is found after it.
const IDLE: Duration = Duration::from_millis(250);
const FIRST: Duration = Duration::from_millis(5);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// Moves a service's events to the bus, in order, none twice and none skipped.
#[derive(Debug)]
pub struct Relay {
    pg: Pg,
}

impl Relay {
    /// The relay of a service.
    pub fn new(pg: Pg) -> Self {
        Self { pg }
    }

    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut commits = self.pg.commits();
        let mut pause = FIRST;
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        while !cancel.is_cancelled() {
            let began = Instant::now();
            let batch = if ctx::foreground::is_busy() { ASIDE } else { BATCH };
            let moved = match self.step(batch).await {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::warn!(service = self.pg.service(), %error, "relay step failed");
                    pause = IDLE;
                    0
                }
            };
            if moved > 0 {
                metrics::counter!("outbox_relayed_total", "service" => self.pg.service())
                    .increment(u64::from(moved.unsigned_abs()));
                PUBLISHED.send_modify(|count| *count += 1);
                pause = FIRST;
            }
            let rest = crate::rest(began.elapsed());
            if moved >= batch {
                if batch == ASIDE {
                    tokio::time::sleep(rest).await;
                }
                continue;
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = prune.tick() => self.prune().await,
                changed = commits.changed() => {
                    if changed.is_err() { return }
                    // A burst of commits becomes one batch, and an older open transaction gets a moment to end.
                    tokio::time::sleep(if moved > 0 { rest } else { FIRST }).await;
                    pause = FIRST;
                }
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(IDLE),
            }
        }
    }

    async fn step(&self, batch: i32) -> Result<i32, pg::Error> {
        self.pg.worker_call("outbox.relay", diesel::select(relay(batch))).await
    }

    /// Forgets what has outlived its purpose: idempotency keys after 7 days, inbox rows and the bus's log later.
    async fn prune(&self) {
        let result = self
            .pg
            .worker("outbox.prune", |conn: &mut Conn| {
                async move {
                    for sql in [
                        "DELETE FROM idempotency WHERE created_at < now() - interval '7 days'",
                        "DELETE FROM inbox WHERE received_at < now() - interval '30 days'",
                        "DELETE FROM om_bus.log WHERE published_at < now() - interval '7 days'",
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
