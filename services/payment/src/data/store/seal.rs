//! Columns that are sealed with the tenant's key (PAY-12): what a payment is paid with, and the bodies of webhooks.

use fault::Fault;
use ids::{OrderId, PaymentId, TenantId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Store, decode, sql};

/// What a payment is paid with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instrument {
    /// Provider's token of the payment method.
    pub method: String,
    /// The customer's mandate when he is away; empty when he is there (PAY-19).
    pub mandate: String,
}

impl std::fmt::Debug for Instrument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instrument")
    }
}

/// All attempts of a payment: a later one may take over what an earlier one was paid with.
fn of_attempts(payment: PaymentId) -> String {
    format!("attempts.instrument:{}", payment.uuid())
}

fn of_webhook(provider: &str, event: &str) -> String {
    format!("webhook_events.body:{provider}/{event}")
}

impl Store {
    /// What the provider was asked with.
    ///
    /// # Errors
    /// [`Fault`] of the database; Internal when there was no attempt or it does not open.
    pub async fn instrument(&self, tenant: TenantId, payment: PaymentId) -> Result<Instrument, Fault> {
        let query = diesel::select(sql::payment_instrument(tenant.uuid(), payment.uuid()));
        let sealed: Option<Vec<u8>> = self.call("payment.instrument", query).await?;
        let sealed = sealed.ok_or_else(|| Fault::internal("a payment without an attempt is to be asked for again"))?;
        let plain = self.vault.open(tenant, &of_attempts(payment), &sealed).await?;
        serde_json::from_slice(&plain).map_err(Fault::internal)
    }

    /// What was tried for an order up to a round and refused with such a code.
    ///
    /// # Errors
    /// [`Fault`] of the database; Internal when one does not open.
    pub async fn refused_with(
        &self,
        tenant: TenantId,
        order: OrderId,
        round: i32,
        such: fn(&str) -> bool,
    ) -> Result<Vec<(Instrument, String)>, Fault> {
        #[derive(Deserialize)]
        struct Refused {
            payment_id: Uuid,
            instrument: String,
            code: String,
        }
        let query = diesel::select(sql::attempts_refused(tenant.uuid(), order.uuid(), round));
        let tried: Vec<Refused> = decode(self.call("payment.refused_with", query).await?)?;
        let mut refused = Vec::new();
        for Refused { payment_id, instrument, code } in tried.into_iter().filter(|one| such(&one.code)) {
            let sealed = hex::decode(instrument).map_err(Fault::internal)?;
            let plain = self.vault.open(tenant, &of_attempts(PaymentId::from_uuid(payment_id)), &sealed).await?;
            refused.push((serde_json::from_slice(&plain).map_err(Fault::internal)?, code));
        }
        Ok(refused)
    }

    pub(super) async fn sealed(
        &self,
        tenant: TenantId,
        payment: PaymentId,
        instrument: &Instrument,
    ) -> Result<Vec<u8>, Fault> {
        let plain = serde_json::to_vec(instrument).map_err(Fault::internal)?;
        self.vault.seal(tenant, &of_attempts(payment), &plain).await
    }

    pub(super) async fn sealed_body(
        &self,
        tenant: TenantId,
        provider: &str,
        event: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        self.vault.seal(tenant, &of_webhook(provider, event), body).await
    }

    pub(super) async fn open_body(
        &self,
        tenant: TenantId,
        provider: &str,
        event: &str,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        self.vault.open(tenant, &of_webhook(provider, event), sealed).await
    }
}
