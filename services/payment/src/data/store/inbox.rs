//! Signed events and due work: what the job and the webhook endpoint need.

use ctx::Ctx;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use fault::Fault;
use futures::FutureExt;
use ids::{PaymentId, TenantId};
use serde_json::Value;
use uuid::Uuid;

use super::{Due, Ends, Parked, Status, Store, Stored, Webhook, Written, decode, optional, sql, tell};
use crate::logic::state::Payment;

/// Most payments or events that one pass of the job takes.
const PASS: i64 = 100;

impl Store {
    /// Payments of all tenants that are due for a look.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn due(&self) -> Result<Vec<Due>, Fault> {
        #[derive(QueryableByName)]
        struct Doc {
            #[diesel(sql_type = SqlUuid)]
            tenant_id: Uuid,
            #[diesel(sql_type = SqlUuid)]
            payment_id: Uuid,
        }
        let rows = self.pg.worker("payment.due", |conn| {
            async move {
                let query = diesel::sql_query(
                    "SELECT tenant_id, payment_id FROM payments WHERE check_at <= now() ORDER BY check_at LIMIT $1",
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

    /// Takes the look at a payment that is due; none when somebody else did.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn claim(&self, tenant: TenantId, payment: PaymentId) -> Result<Option<Payment>, Fault> {
        let query = diesel::select(sql::payment_claim(tenant.uuid(), payment.uuid()));
        optional(self.call("payment.claim", query).await?)
    }

    /// Stores an event of the provider once, with what it changes.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn ingest(
        &self,
        ctx: &Ctx,
        webhook: &Webhook,
        status: Status,
        folded: Option<(&Payment, &Payment, Option<Ends<'_>>)>,
    ) -> Result<Stored, Fault> {
        let written = folded.map(|(before, next, ends)| Written::of(before, next, ends)).transpose()?;
        let mut meta = eventlog::meta(ctx);
        if let Some(refusal) = folded.and_then(|(.., ends)| ends).and_then(Ends::refusal) {
            tell(&mut meta, refusal);
        }
        let (doc, written) = match written {
            Some(Written { doc, types, topics, payloads }) => (Some(doc), (types, topics, payloads)),
            None => (None, Default::default()),
        };
        let body = self.sealed_body(ctx.tenant, &webhook.provider, &webhook.event_id, &webhook.body).await?;
        let query = diesel::select(sql::webhook_store(
            ctx.tenant.uuid(),
            webhook.provider.clone(),
            webhook.event_id.clone(),
            webhook.kind.clone(),
            status.as_str(),
            body,
            folded.map(|(before, ..)| before.id.uuid()),
            folded.map_or(0, |(before, ..)| before.revision),
            doc,
            written.0,
            written.1,
            written.2,
            meta,
        ));
        let outcome: String = self.call("payment.webhook", query).await?;
        decode(Value::String(outcome))
    }

    /// Parked events of all tenants, at most 24 hours old (I5).
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn parked(&self) -> Result<Vec<Parked>, Fault> {
        #[derive(QueryableByName)]
        struct Doc {
            #[diesel(sql_type = SqlUuid)]
            tenant_id: Uuid,
            #[diesel(sql_type = Text)]
            provider: String,
            #[diesel(sql_type = Text)]
            event_id: String,
        }
        let rows = self.pg.worker("payment.parked", |conn| {
            async move {
                // By chance, so that many hopeless events of one tenant do not keep others from their turn.
                let query = diesel::sql_query(
                    "SELECT tenant_id, provider, event_id FROM webhook_events WHERE status = 'PARKED' \
                     AND received_at > now() - interval '24 hours' ORDER BY random() LIMIT $1",
                );
                Ok(query.bind::<BigInt, _>(PASS).load::<Doc>(conn).await?)
            }
            .boxed()
        });
        let parked = |Doc { tenant_id, provider, event_id }| {
            let tenant = TenantId::from_uuid(tenant_id);
            Parked { tenant, provider, event_id }
        };
        Ok(rows.await?.into_iter().map(parked).collect())
    }

    /// The body of a parked event; none when it is not parked any more.
    ///
    /// # Errors
    /// [`Fault`] of the database.
    pub async fn parked_body(&self, parked: &Parked) -> Result<Option<Vec<u8>>, Fault> {
        let query =
            diesel::select(sql::webhook_body(parked.tenant.uuid(), parked.provider.clone(), parked.event_id.clone()));
        let sealed: Option<Vec<u8>> = self.call("payment.parked_body", query).await?;
        let Some(sealed) = sealed else { return Ok(None) };
        self.open_body(parked.tenant, &parked.provider, &parked.event_id, &sealed).await.map(Some)
    }
}
