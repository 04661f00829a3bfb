//! The provider, by Stripe's API (docs.stripe.com/api): form-encoded requests, JSON answers, idempotency keys.
//!
//! Every change carries a key of ours, so a try that timed out is repeated with the same key and has one effect. When
//! all tries end without an answer the outcome is [`Trouble::Unknown`], and only an inquiry may decide what to do.

mod wire;

use std::time::Duration;

use fault::Fault;
use ids::{OrderId, PaymentId, TenantId};
use money::Money;
use resilience::{Answer, Http, HttpError, RequestBuilder, Retry, StatusCode, retry};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use wire::{Charge, Event, Failure, Found, Intent};

use crate::logic::state::{Phase, Snapshot};

/// Name of the provider in payments and webhook paths.
pub const PROVIDER: &str = "stripe";
/// Three tries in all, as domain.md 4.5 step 3 has it.
const PATIENCE: Retry =
    Retry { retries: 2, min: Duration::from_millis(100), max: Duration::from_secs(1), deadline: None };

/// The provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody knows whether it was done.
    #[error("the provider's answer is not known")]
    Unknown,
    /// It was not done and will not be, as asked.
    #[error("the provider refused: {code}")]
    Refused {
        /// Provider's most telling code, such as "charge_already_refunded".
        code: String,
        /// The intent as it stands, when the provider showed it.
        intent: Option<Box<Snapshot>>,
    },
}

/// A hold that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Authorization<'a> {
    /// Whose shop.
    pub tenant: TenantId,
    /// Our id; also the idempotency key.
    pub payment: PaymentId,
    /// The order.
    pub order: OrderId,
    /// How much.
    pub amount: Money,
    /// Provider's token of the payment method.
    pub method: &'a str,
}

/// What a webhook says.
#[derive(Debug)]
pub struct ProviderEvent {
    /// Provider's id of the event.
    pub id: String,
    /// Provider's type, such as "payment_intent.succeeded".
    pub kind: String,
    /// The tenant it belongs to by its metadata.
    pub tenant: Option<TenantId>,
    /// The payment it belongs to by its metadata.
    pub payment: Option<PaymentId>,
    /// What it reports; none for kinds that say nothing about our payments.
    pub snapshot: Option<Snapshot>,
}

/// A client of the provider; clones share connections.
#[derive(Debug, Clone)]
pub struct Stripe {
    http: Http,
    key: SecretString,
}

impl Stripe {
    /// A client; `timeout` bounds one try.
    ///
    /// # Errors
    /// When the base URL is malformed.
    pub fn new(base_url: &str, key: SecretString, timeout: Duration) -> Result<Self, HttpError> {
        Ok(Self { http: Http::new(PROVIDER, base_url, timeout)?, key })
    }

    /// Asks for a hold. A decline is a snapshot in [`Phase::Failed`].
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same payment has one effect.
    pub async fn authorize(&self, ask: Authorization<'_>) -> Result<Snapshot, Trouble> {
        let (amount, currency) = (ask.amount.minor.to_string(), ask.amount.currency.code().to_ascii_lowercase());
        let (tenant, payment, order) = (ask.tenant.to_string(), ask.payment.to_string(), ask.order.to_string());
        let form = [
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("payment_method", ask.method),
            ("capture_method", "manual"),
            ("confirm", "true"),
            ("metadata[tenant]", &tenant),
            ("metadata[payment]", &payment),
            ("metadata[order]", &order),
        ];
        // One attempt per payment; another attempt would be another key.
        let key = format!("{payment}:1");
        match self.change("authorize", "/v1/payment_intents", &key, &form).await {
            Ok(intent) => snapshot(intent),
            Err(Trouble::Refused { intent: Some(intent), .. }) if intent.phase == Phase::Failed => Ok(*intent),
            Err(trouble) => Err(trouble),
        }
    }

    /// Looks a payment up by the provider's id, or else by ours; none when the provider knows nothing of it.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn find(&self, payment: PaymentId, reference: Option<&str>) -> Result<Option<Snapshot>, Trouble> {
        if let Some(reference) = reference {
            let path = format!("/v1/payment_intents/{reference}");
            return snapshot(self.read("find", || self.http.get(&path)).await?).map(Some);
        }
        let query = [("query", format!("metadata['payment']:'{payment}'"))];
        let found: Found = self.read("search", || self.http.get("/v1/payment_intents/search").query(&query)).await?;
        if found.data.len() > 1 {
            tracing::error!(payment.id = %payment, intents = found.data.len(), "the provider has several intents of one payment");
        }
        found.data.into_iter().next().map(snapshot).transpose()
    }

    /// Takes part of a hold; `last` lets the rest go.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn capture(&self, reference: &str, minor: i64, last: bool, key: &str) -> Result<Snapshot, Trouble> {
        let path = format!("/v1/payment_intents/{reference}/capture");
        let last = if last { "true" } else { "false" };
        let form = [("amount_to_capture", minor.to_string()), ("final_capture", last.to_owned())];
        snapshot(self.change("capture", &path, key, &form).await?)
    }

    /// Lets a hold or a challenge go.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn cancel(&self, reference: &str, key: &str) -> Result<Snapshot, Trouble> {
        let path = format!("/v1/payment_intents/{reference}/cancel");
        snapshot(self.change("cancel", &path, key, &[("cancellation_reason", "abandoned")]).await?)
    }

    /// Gives captured money back and returns the provider's id of that.
    ///
    /// A refund that a bank takes days for ("pending") counts as done: the money is committed.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn refund(&self, reference: &str, minor: i64, key: &str) -> Result<String, Trouble> {
        let form = [("payment_intent", reference.to_owned()), ("amount", minor.to_string())];
        let refund: wire::Refund = self.change("refund", "/v1/refunds", key, &form).await?;
        match refund.status.as_str() {
            "failed" | "canceled" => Err(Trouble::Refused { code: format!("refund_{}", refund.status), intent: None }),
            _ => Ok(refund.id),
        }
    }

    async fn change<T: DeserializeOwned, V: AsRef<str>>(
        &self,
        op: &'static str,
        path: &str,
        key: &str,
        form: &[(&str, V)],
    ) -> Result<T, Trouble> {
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        self.read(op, || self.http.post(path).header("Idempotency-Key", key).form(&form)).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        op: &'static str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<T, Trouble> {
        let once = || async {
            let answer = self.http.send(op, make().bearer_auth(self.key.expose_secret())).await?;
            if transient(answer.status) {
                let fault = Fault::unavailable("PROVIDER_TROUBLE", format!("the provider answered {}", answer.status));
                return Err(match answer.retry_after() {
                    Some(wait) => fault.retry_after(wait.min(PATIENCE.max)),
                    None => fault,
                });
            }
            Ok(answer)
        };
        let answer = retry(PATIENCE, once).await.map_err(|fault| {
            tracing::warn!(op, error = %fault, "the provider did not answer");
            Trouble::Unknown
        })?;
        understand(op, &answer)
    }
}

/// Reads the events that a webhook may carry.
///
/// # Errors
/// When it is not an event, or its object is not what its kind says.
pub fn read_event(body: &[u8]) -> Result<ProviderEvent, serde_json::Error> {
    let Event { id, kind, data } = serde_json::from_slice(body)?;
    let (metadata, snapshot) = if kind.starts_with("payment_intent.") || is(&data.object, "payment_intent") {
        let intent: Intent = serde_json::from_value(data.object)?;
        (intent.metadata.clone(), intent.snapshot())
    } else if is(&data.object, "charge") {
        let charge: Charge = serde_json::from_value(data.object)?;
        (charge.metadata.clone(), charge.snapshot())
    } else {
        (std::collections::BTreeMap::default(), None)
    };
    let named = |key: &str| metadata.get(key).cloned().unwrap_or_default();
    Ok(ProviderEvent {
        id,
        kind,
        tenant: named("tenant").parse().ok(),
        payment: named("payment").parse().ok(),
        snapshot,
    })
}

fn is(object: &serde_json::Value, kind: &str) -> bool {
    object.get("object").and_then(serde_json::Value::as_str) == Some(kind)
}

/// The request had no effect, or has one under its key; it may be sent again as it is.
fn transient(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::CONFLICT
}

fn understand<T: DeserializeOwned>(op: &'static str, answer: &Answer) -> Result<T, Trouble> {
    if answer.status.is_success() {
        return answer.json().map_err(|error| {
            tracing::error!(op, %error, "the provider's answer cannot be read");
            Trouble::Unknown
        });
    }
    let failure: Option<Failure> = answer.json().ok();
    match failure.map(|failure| failure.error) {
        // Our configuration or our key discipline is wrong: that says nothing about the customer's money.
        Some(error) if error.kind != "idempotency_error" && !is_ours(answer.status) => {
            let code = error.code();
            let intent = error.payment_intent.and_then(|intent| intent.snapshot()).map(Box::new);
            Err(Trouble::Refused { code, intent })
        }
        error => {
            let kind = error.map(|error| error.kind);
            tracing::error!(op, status = %answer.status, kind, "the provider does not accept our requests");
            Err(Trouble::Unknown)
        }
    }
}

fn is_ours(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN || status.is_redirection()
}

fn snapshot(intent: Intent) -> Result<Snapshot, Trouble> {
    intent.snapshot().ok_or_else(|| {
        tracing::error!("the provider answered with a currency that we do not know");
        Trouble::Unknown
    })
}

#[cfg(test)]
mod tests;
