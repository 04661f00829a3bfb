//! Columns that are sealed with the tenant's key (PAY-12): what a payment is paid with, and the bodies of webhooks.

use fault::Fault;
use ids::{PaymentId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, decode, sql};

/// Values that are sealed anew at a time.
const PASS: i32 = 100;

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

#[derive(Deserialize)]
struct Sealed {
    kind: String,
    id: String,
    n: i32,
    sealed: String,
}

impl Sealed {
    fn place(&self) -> Result<String, Fault> {
        match self.kind.as_str() {
            "attempt" => Ok(of_attempts(PaymentId::from_uuid(self.id.parse().map_err(Fault::internal)?))),
            provider => Ok(of_webhook(provider, &self.id)),
        }
    }
}

/// All attempts of a payment: a later one may take over what an earlier one was paid with.
fn of_attempts(payment: PaymentId) -> String {
    format!("attempts.instrument:{payment}")
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

    /// Turns keys that are due, and seals anew what older ones sealed; how many values.
    ///
    /// # Errors
    /// [`Fault`] of the database; what was not sealed anew still opens and comes again.
    pub async fn turn_keys(&self) -> Result<usize, Fault> {
        let mut count = 0;
        for older in self.vault.turn().await? {
            loop {
                let query = diesel::select(sql::sealed_below(older.tenant.uuid(), older.below.clone(), PASS));
                let found: Value = self.call("payment.sealed_below", query).await?;
                let found: Vec<Sealed> = decode(found)?;
                if found.is_empty() {
                    break;
                }
                count += found.len();
                for one in found {
                    self.seal_again(older.tenant, one).await?;
                }
            }
        }
        Ok(count)
    }

    async fn seal_again(&self, tenant: TenantId, one: Sealed) -> Result<(), Fault> {
        let (place, before) = (one.place()?, hex::decode(&one.sealed).map_err(Fault::internal)?);
        let plain = self.vault.open(tenant, &place, &before).await?;
        let after = self.vault.seal(tenant, &place, &plain).await?;
        let query = diesel::select(sql::sealed_again(tenant.uuid(), one.kind, one.id, one.n, before, after));
        let _: bool = self.call("payment.sealed_again", query).await?;
        Ok(())
    }
}
