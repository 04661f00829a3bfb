//! Which orders match? Reads the projection tables and nothing else (ORD-39).

use contract::order::v1 as wire;
use diesel::sql_types::{Integer, Jsonb, Nullable, Uuid as SqlUuid};
use fault::Fault;
use ids::{TenantId, UserId};
use jiff::{SignedDuration, Timestamp};
use pg::Pg;
use prost::Message;
use serde::Serialize;
use uuid::Uuid;

use crate::infra::id_time::first_id;

diesel::define_sql_function! {
    /// Orders that a filter lets through, newest first, behind an id.
    fn order_page(tenant: SqlUuid, filter: Jsonb, before: Nullable<SqlUuid>, most: Integer) -> Array<Binary>;
}
diesel::define_sql_function! {
    /// How many orders a filter lets through, and at most so many.
    fn order_tally(tenant: SqlUuid, filter: Jsonb, most: Integer) -> BigInt;
}

/// Between an order's id and the time it says it was placed lies the pricing, and the clocks of two machines.
const SLACK: SignedDuration = SignedDuration::from_hours(1);

/// Which orders; None = whatever. Its fields are those of the SQL type `order_filter`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// These states, before the words of a vocabulary are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub states: Option<Vec<i16>>,
    /// These states, a lock counting as what was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bases: Option<Vec<i16>>,
    /// A shop's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retail: Option<Vec<&'static str>>,
    /// A lifecycle's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Vec<&'static str>>,
    /// Users who buy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customers: Option<Vec<Uuid>>,
    /// Order numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Vec<i64>>,
    /// Products.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skus: Option<Vec<String>>,
    /// Products from this one on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku_from: Option<String>,
    /// Products before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sku_to: Option<String>,
    /// Ids from this one on: tells the parts that need not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_from: Option<Uuid>,
    /// Ids before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_to: Option<Uuid>,
    /// Placed then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_from: Option<Timestamp>,
    /// Placed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_to: Option<Timestamp>,
    /// Currency of the total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Total of at least this, minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_min: Option<i64>,
    /// Total of at most this, minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_max: Option<i64>,
}

impl Filter {
    /// Only orders placed in a span of time; open where there is no bound.
    #[must_use]
    pub fn placed(mut self, from: Option<Timestamp>, to: Option<Timestamp>) -> Self {
        self.id_from = from.map(|from| first_id(from.saturating_sub(SLACK).unwrap_or(Timestamp::MIN)));
        self.id_to = to.map(|to| first_id(to.saturating_add(SLACK).unwrap_or(Timestamp::MAX)));
        // The database keeps microseconds, and cuts what is finer.
        let kept = |at: Timestamp| Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        (self.created_from, self.created_to) = (from.map(kept), to.map(kept));
        self
    }

    /// Only orders with a product that begins so.
    #[must_use]
    pub fn sku_beginning(mut self, prefix: &str) -> Self {
        // SKUs are ASCII, so the last letter there is stands behind all of them.
        self.sku_to = Some(format!("{prefix}\u{10ffff}"));
        self.sku_from = Some(prefix.to_owned());
        self
    }

    /// The one user whose orders these are.
    pub fn only_customer(&self) -> Option<UserId> {
        match self.customers.as_deref() {
            Some([one]) => Some(UserId::from_uuid(*one)),
            _ => None,
        }
    }

    /// A text that is the same for the same filter only.
    pub fn mark(&self) -> String {
        format!("orders {}", serde_json::json!(self))
    }
}

/// Reads the projections.
#[derive(Clone, Debug)]
pub struct Finder {
    /// The service's door.
    pub pg: Pg,
}

impl Finder {
    /// Reads a page, newest first, behind an order id.
    ///
    /// # Errors
    /// As [`Pg::ask`].
    pub async fn page(
        &self,
        tenant: TenantId,
        filter: &Filter,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<wire::Order>, Fault> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let query = diesel::select(order_page(tenant.uuid(), serde_json::json!(filter), before, limit));
        let docs: Vec<Vec<u8>> = self.pg.ask("order.page", query).await?;
        docs.iter().map(|doc| wire::Order::decode(doc.as_slice()).map_err(Fault::internal)).collect()
    }

    /// Counts, and stops at so many.
    ///
    /// # Errors
    /// As [`Pg::ask`].
    pub async fn count(&self, tenant: TenantId, filter: &Filter, most: i64) -> Result<i64, Fault> {
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let query = diesel::select(order_tally(tenant.uuid(), serde_json::json!(filter), most));
        Ok(self.pg.ask("order.tally", query).await?)
    }
}
