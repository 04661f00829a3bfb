//! Items of one tenant that arrive together are one call of a function over a set.

use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::TenantId;
use serde_json::Value;

use crate::shared::MOST;
use crate::{Conn, Error, GroupCommit, Pg};

/// What asks the function: it takes a JSON array and answers with one, item by item.
pub type Ask = for<'c> fn(&'c mut Conn, TenantId, Value) -> BoxFuture<'c, Result<Value, Error>>;

impl GroupCommit<TenantId, Value, Value> {
    /// One statement for many items: starting a statement costs more than what it does to a row.
    ///
    /// When the call fails it is made again for each item, so nobody pays for another's mistake.
    pub fn of_set(pg: Pg, name: &'static str, ask: Ask) -> Self {
        Self::new(MOST, move |tenant, items| flush(pg.clone(), name, ask, tenant, items).boxed())
    }
}

async fn flush(pg: Pg, name: &'static str, ask: Ask, tenant: TenantId, items: Vec<Value>) -> Vec<Result<Value, Fault>> {
    match together(&pg, name, ask, tenant, items.clone()).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if items.len() == 1 => vec![Err(error.into())],
        Err(error) => {
            tracing::warn!(name, %error, items = items.len(), "a set is written item by item");
            let mut answers = Vec::with_capacity(items.len());
            for item in items {
                let one =
                    together(&pg, name, ask, tenant, vec![item]).await.map(|mut one| one.pop().unwrap_or_default());
                answers.push(one.map_err(Fault::from));
            }
            answers
        }
    }
}

async fn together(
    pg: &Pg,
    name: &'static str,
    ask: Ask,
    tenant: TenantId,
    items: Vec<Value>,
) -> Result<Vec<Value>, Error> {
    let (asked, items) = (items.len(), Value::Array(items));
    let answers = pg.tx(name, tenant, move |conn| ask(conn, tenant, items.clone())).await?;
    match answers {
        Value::Array(answers) if answers.len() == asked => Ok(answers),
        _ => Err(Fault::internal("a set was not answered item by item").into()),
    }
}
