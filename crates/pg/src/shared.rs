//! Calls of one tenant that arrive together share a transaction.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use diesel_async::RunQueryDsl;
use diesel_async::methods::LoadQuery;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use ids::TenantId;

use crate::{Conn, Error, GroupCommit};

/// Most calls of one transaction; larger batches gain nothing (`data.md` 0.2).
pub(crate) const MOST: usize = 50;

pub(crate) type Answer = Box<dyn Any + Send>;
pub(crate) type Calls = GroupCommit<TenantId, Arc<dyn Call>, Result<Answer, Error>>;

/// A query whose type was forgotten, so that queries of many types fit into one batch.
pub(crate) trait Call: Send + Sync {
    /// Sends the query; calls that are polled together are pipelined.
    fn send<'c>(&self, conn: &'c Conn) -> BoxFuture<'c, Result<Answer, Error>>;
}

struct Typed<Q, U> {
    query: Q,
    answer: PhantomData<fn() -> U>,
}

pub(crate) fn call<Q, U>(query: Q) -> Arc<dyn Call>
where
    U: Send + 'static,
    Q: Clone + Send + Sync + RunQueryDsl<Conn> + for<'c> LoadQuery<'static, &'c Conn, U> + 'static,
{
    Arc::new(Typed { query, answer: PhantomData })
}

impl<Q, U> Call for Typed<Q, U>
where
    U: Send + 'static,
    Q: Clone + Send + Sync + for<'c> LoadQuery<'static, &'c Conn, U> + 'static,
{
    fn send<'c>(&self, conn: &'c Conn) -> BoxFuture<'c, Result<Answer, Error>> {
        let query = self.query.clone();
        async move {
            let mut conn = conn;
            let row: U = RunQueryDsl::get_result(query, &mut conn).await?;
            Ok(Box::new(row) as Answer)
        }
        .boxed()
    }
}

/// Sends all calls of a batch and waits for all answers.
pub(crate) async fn send(conn: &Conn, calls: &[Arc<dyn Call>]) -> Result<Vec<Answer>, Error> {
    // Every answer is read even when one is an error: a call dropped half-way leaves the connection in doubt.
    join_all(calls.iter().map(|call| call.send(conn))).await.into_iter().collect()
}
