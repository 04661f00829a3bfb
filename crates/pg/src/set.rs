//! Items of one tenant that arrive together are one call of a function over a set.

use std::sync::Arc;

use fault::Fault;
use futures::FutureExt;
use futures::future::BoxFuture;
use ids::TenantId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::shared::MOST;
use crate::{Conn, Error, GroupCommit, Json, Pg};

/// An item or its answer as the text it is on the wire: made once, by whom it is of.
type Text = Arc<RawValue>;

/// What asks the function: it takes a JSON array and answers with one, item by item.
pub type Ask = for<'c> fn(&'c mut Conn, TenantId, Items) -> BoxFuture<'c, Result<Answers, Error>>;

/// The array that a function over a set takes.
pub type Items = Json<Arc<[Text]>>;

/// The array that a function over a set answers with.
pub type Answers = Json<Vec<Text>>;

/// One statement for many items: starting a statement costs more than what it does to a row.
#[derive(Debug, Clone)]
pub struct Set(GroupCommit<TenantId, Text, Text>);

impl Set {
    /// When the call fails it is made again for each item, so nobody pays for another's mistake.
    pub fn new(pg: Pg, name: &'static str, ask: Ask) -> Self {
        Self(GroupCommit::new(MOST, move |tenant, items| flush(pg.clone(), name, ask, tenant, items).boxed()))
    }

    /// Hands an item in and waits for its answer.
    ///
    /// # Errors
    /// As [`Pg::tx`]; Internal when item or answer are not what they are to be.
    ///
    /// # Cancel safety
    /// As [`GroupCommit::submit`].
    pub async fn submit<I, O>(&self, tenant: TenantId, item: &I) -> Result<O, Fault>
    where
        I: Serialize + ?Sized,
        O: DeserializeOwned,
    {
        let item = serde_json::value::to_raw_value(item).map_err(Fault::internal)?;
        let answer = self.0.submit(tenant, item.into()).await?;
        serde_json::from_str(answer.get()).map_err(Fault::internal)
    }
}

async fn flush(pg: Pg, name: &'static str, ask: Ask, tenant: TenantId, items: Vec<Text>) -> Vec<Result<Text, Fault>> {
    let items: Arc<[Text]> = items.into();
    match together(&pg, name, ask, tenant, Arc::clone(&items)).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if items.len() == 1 => vec![Err(error.into())],
        Err(error) => {
            tracing::warn!(name, %error, items = items.len(), "a set is written item by item");
            let mut answers = Vec::with_capacity(items.len());
            for item in items.iter() {
                let one = together(&pg, name, ask, tenant, Arc::new([Arc::clone(item)])).await;
                answers.push(one.map(|mut one| one.remove(0)).map_err(Fault::from));
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
    items: Arc<[Text]>,
) -> Result<Vec<Text>, Error> {
    let asked = items.len();
    let Json(answers) = pg.tx(name, tenant, move |conn| ask(conn, tenant, Json(Arc::clone(&items)))).await?;
    if answers.len() == asked {
        Ok(answers)
    } else {
        Err(Fault::internal("a set was not answered item by item").into())
    }
}
