//! Many orders of a tenant in one transaction.

use std::sync::Arc;

use fault::{Fault, Kind};
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::TenantId;
use pg::{Conn, GroupCommit, Pg};

use crate::reservation::Reservation;

/// Most orders of one transaction; larger batches gain nothing (data.md 0.2).
const MOST: usize = 50;

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
    match once(name, &pg, run, tenant, items.clone()).await {
        Ok(answers) => answers,
        // One order that breaks the transaction must not take the others with it.
        Err(fault) if fault.kind() == Kind::Internal && items.len() > 1 => {
            tracing::error!(name, error = ?fault, orders = items.len(), "a batch failed, going on one by one");
            let mut answers = Vec::with_capacity(items.len());
            for item in items {
                let alone = once(name, &pg, run, tenant, vec![item]).await;
                answers.push(alone.and_then(|mut answers| answers.pop().unwrap_or_else(|| Err(unanswered()))));
            }
            answers
        }
        Err(fault) => items.iter().map(|_| Err(echo(&fault))).collect(),
    }
}

async fn once<I>(
    name: &'static str,
    pg: &Pg,
    run: Run<I>,
    tenant: TenantId,
    items: Vec<I>,
) -> Result<Vec<Result<Reservation, Fault>>, Fault>
where
    I: Send + Sync + 'static,
{
    let items = Arc::new(items);
    Ok(pg.tx(name, tenant, move |conn| run(conn, tenant, Arc::clone(&items))).await?)
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
