//! Many orders of a tenant in one transaction.

use std::sync::Arc;

use diesel_async::SimpleAsyncConnection;
use fault::Fault;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use ids::TenantId;
use pg::{Conn, GroupCommit, Pg};

use crate::reservation::Reservation;

/// Most orders of one transaction; larger batches gain nothing (data.md 0.2).
const MOST: usize = 50;
/// Orders of a failed batch that are tried at the same time; requests need connections too.
const AT_ONCE: usize = 4;

/// What each order of a batch is told, in order.
pub(super) type Answers = Result<Vec<Result<Reservation, Fault>>, pg::Error>;
/// Answers a batch on a connection.
pub(super) type Run<I> = for<'c> fn(&'c mut Conn, TenantId, Arc<Vec<I>>) -> BoxFuture<'c, Answers>;

/// Gathers what arrives while a tenant's batch before is being committed.
pub(super) fn group<I>(name: &'static str, pg: Pg, run: Run<I>) -> GroupCommit<TenantId, I, Reservation>
where
    I: Clone + Send + Sync + 'static,
{
    GroupCommit::new(MOST, move |tenant, items| flush(name, pg.clone(), run, tenant, items).boxed())
}

async fn flush<I>(
    name: &'static str,
    pg: Pg,
    run: Run<I>,
    tenant: TenantId,
    items: Vec<I>,
) -> Vec<Result<Reservation, Fault>>
where
    I: Clone + Send + Sync + 'static,
{
    match once(name, &pg, run, tenant, items.clone(), false).await {
        Ok(answers) => answers,
        // One order that breaks the transaction, or waits for a lock, must not take the others with it.
        Err(fault) if items.len() > 1 && !everybodys(&fault) => {
            tracing::warn!(name, %tenant, error = ?fault, orders = items.len(), "a batch failed, going on one by one");
            let alone = items.into_iter().map(|item| once(name, &pg, run, tenant, vec![item], true));
            let alone = futures::stream::iter(alone).buffered(AT_ONCE).collect::<Vec<_>>().await;
            let answer = |alone: Result<Vec<_>, Fault>| alone?.pop().unwrap_or_else(|| Err(unanswered()));
            alone.into_iter().map(answer).collect()
        }
        Err(fault) => items.iter().map(|_| Err(echo(&fault))).collect(),
    }
}

/// Whether nobody of many is to blame: there is no database to be had, for each of them as for all.
pub(crate) fn everybodys(fault: &Fault) -> bool {
    matches!(fault.reason(), "DATABASE_BUSY" | "DATABASE_GONE")
}

async fn once<I>(
    name: &'static str,
    pg: &Pg,
    run: Run<I>,
    tenant: TenantId,
    items: Vec<I>,
    again: bool,
) -> Result<Vec<Result<Reservation, Fault>>, Fault>
where
    I: Send + Sync + 'static,
{
    let items = Arc::new(items);
    let answers = pg.tx(name, tenant, move |conn| {
        let items = Arc::clone(&items);
        async move {
            if again {
                // All have waited once, and the tenant's next batch waits for the last of them.
                conn.batch_execute("SET LOCAL lock_timeout = '100ms'; SET LOCAL statement_timeout = '1s'").await?;
            }
            run(conn, tenant, items).await
        }
        .boxed()
    });
    Ok(answers.await?)
}

fn unanswered() -> Fault {
    Fault::internal("an order of a batch got no answer")
}

/// The same fault for everybody in a batch; its cause is logged with the first.
fn echo(fault: &Fault) -> Fault {
    let copy = Fault::new(fault.kind(), fault.reason().to_owned(), fault.to_string());
    match fault.wait() {
        Some(wait) => copy.retry_after(wait),
        None => copy,
    }
}
