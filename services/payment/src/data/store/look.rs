//! What people look at: refunds and the audit; and what the sweep of holds looks for.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::{PaymentId, RefundId, TenantId};
use serde_json::Value;
use uuid::Uuid;

use super::{Due, Entry, Refund, Store, decode, optional, sql};
use crate::logic::state::Payment;

/// Most holds that one pass of the sweep takes.
const PASS: i64 = 200;

impl Store {
    /// A payment by the provider's id of its present attempt.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn of_reference(&self, tenant: TenantId, reference: &str) -> Result<Option<Payment>, Fault> {
        let query = diesel::select(sql::payment_of_reference(tenant.uuid(), reference.to_owned()));
        optional(self.call("payment.get", query).await?)
    }

    /// A refund by its id.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn refund(&self, tenant: TenantId, refund: RefundId) -> Result<Option<Refund>, Fault> {
        let query = diesel::select(sql::refund_get(tenant.uuid(), refund.uuid()));
        let doc: Option<Value> = self.call("payment.refund_get", query).await?;
        doc.map(decode).transpose()
    }

    /// All refunds of a payment, oldest first; none without the payment.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn refunds(&self, tenant: TenantId, payment: PaymentId) -> Result<Option<Vec<Refund>>, Fault> {
        let query = diesel::select(sql::refunds_of(tenant.uuid(), payment.uuid()));
        let doc: Option<Value> = self.call("payment.refunds", query).await?;
        doc.map(decode).transpose()
    }

    /// The audit of a payment behind a number, oldest first; none without the payment.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn history(
        &self,
        tenant: TenantId,
        payment: PaymentId,
        after: i32,
        most: i32,
    ) -> Result<Option<Vec<Entry>>, Fault> {
        let query = diesel::select(sql::payment_history(tenant.uuid(), payment.uuid(), after, most));
        let doc: Option<Value> = self.call("payment.history", query).await?;
        doc.map(decode).transpose()
    }

    /// Payments of all tenants whose hold has come nearer to its end than was said.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn aging(&self) -> Result<Vec<Due>, Fault> {
        #[derive(QueryableByName)]
        struct Doc {
            #[diesel(sql_type = SqlUuid)]
            tenant_id: Uuid,
            #[diesel(sql_type = SqlUuid)]
            payment_id: Uuid,
        }
        let rows = self.pg.worker("payment.aging", |conn| {
            async move {
                let query = diesel::sql_query(
                    "SELECT tenant_id, payment_id FROM payments WHERE hold_at <= now() ORDER BY hold_at LIMIT $1",
                );
                Ok(query.bind::<BigInt, _>(PASS).load::<Doc>(conn).await?)
            }
            .boxed()
        });
        let due = |row: Doc| Due {
            tenant: TenantId::from_uuid(row.tenant_id),
            payment: PaymentId::from_uuid(row.payment_id),
        };
        Ok(rows.await?.into_iter().map(due).collect())
    }
}
