//! The second provider, by Adyen's API (docs.adyen.com/api-explorer/Checkout/71): JSON, modifications as resources.
//!
//! As with the first, every change carries a key of ours and an unknown outcome is only inquired.

use std::collections::BTreeMap;
use std::time::Duration;

use ids::PaymentId;
use money::{Currency, Money};
use resilience::{Answer, HttpError, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::gateway::{Authorization, Listed, Trouble};
use super::line::Line;
use crate::logic::state::{Phase, Snapshot};

/// Name of the provider in payments.
pub const PROVIDER: &str = "adyen";

/// A client of the provider; clones share connections.
#[derive(Debug, Clone)]
pub struct Adyen {
    line: Line,
    key: SecretString,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paid {
    psp_reference: String,
    result_code: String,
    amount: Amount,
    #[serde(default)]
    captured_value: i64,
    #[serde(default)]
    refunded_value: i64,
    refusal_reason: Option<String>,
    action: Option<Action>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Amount {
    value: i64,
    currency: String,
}

#[derive(Debug, Deserialize)]
struct Action {
    url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Found {
    payments: Vec<Paid>,
    #[serde(default)]
    more: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modified {
    psp_reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    error_code: String,
    payment: Option<Paid>,
}

impl Paid {
    /// The payment as the fold takes it; none when the currency is not one we know.
    fn snapshot(self) -> Option<Snapshot> {
        let phase = match self.result_code.as_str() {
            "RedirectShopper" | "ChallengeShopper" => Phase::RequiresAction,
            "Refused" | "Error" => Phase::Failed,
            "Authorised" => Phase::Held,
            "Captured" => Phase::Done,
            "Cancelled" => Phase::Canceled,
            _ => Phase::Processing,
        };
        let currency: Currency = self.amount.currency.parse().ok()?;
        Some(Snapshot {
            reference: self.psp_reference,
            amount: Money::new(currency, self.amount.value),
            phase,
            received: self.captured_value,
            refunded: self.refunded_value,
            decline_reason: self.refusal_reason,
            avs: None,
            cvv: None,
            action_url: self.action.and_then(|action| action.url),
        })
    }
}

impl Adyen {
    /// A client; `timeout` bounds one try.
    ///
    /// # Errors
    /// When the base URL is malformed.
    pub fn new(base_url: &str, key: SecretString, timeout: Duration) -> Result<Self, HttpError> {
        Ok(Self { line: Line::new(PROVIDER, base_url, timeout)?, key })
    }

    pub(super) fn is_open(&self) -> bool {
        self.line.is_open()
    }

    pub(super) async fn authorize(&self, ask: Authorization<'_>) -> Result<Snapshot, Trouble> {
        let payment = ask.payment.to_string();
        let away = !ask.instrument.mandate.is_empty();
        let mut metadata =
            json!({"tenant": ask.tenant.to_string(), "payment": payment, "order": ask.order.to_string()});
        if away {
            metadata["mandate"] = ask.instrument.mandate.as_str().into();
        }
        let body = json!({
            "amount": amount(ask.amount),
            "reference": payment,
            "paymentMethod": {"type": "scheme", "storedPaymentMethodId": ask.instrument.method},
            "additionalData": {"manualCapture": if ask.immediate { "false" } else { "true" }},
            "authenticationData": {"attemptAuthentication": if ask.challenge && !away { "always" } else { "never" }},
            "shopperInteraction": if away { "ContAuth" } else { "Ecommerce" },
            "metadata": metadata,
        });
        let key = format!("{payment}:{}", ask.attempt);
        snapshot(self.change("authorize", "/v71/payments", &key, &body).await?)
    }

    pub(super) async fn find(
        &self,
        payment: PaymentId,
        reference: Option<&str>,
        over: &[String],
    ) -> Result<Option<Snapshot>, Trouble> {
        if let Some(reference) = reference {
            let path = format!("/v71/payments/{reference}");
            return snapshot(self.read("find", || self.line.http.get(&path)).await?).map(Some);
        }
        let query = [("reference", payment.to_string())];
        let found: Found = self.read("search", || self.line.http.get("/v71/payments").query(&query)).await?;
        found.payments.into_iter().find(|paid| !over.contains(&paid.psp_reference)).map(snapshot).transpose()
    }

    pub(super) async fn list(&self, from: i64, to: i64) -> Result<Vec<Listed>, Trouble> {
        let (from, to) = (from.to_string(), to.to_string());
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let query = [("from", from.as_str()), ("to", &to), ("after", &after)];
            let page: Found = self.read("list", || self.line.http.get("/v71/payments").query(&query)).await?;
            let Some(last) = page.payments.last() else { return Ok(all) };
            after = last.psp_reference.clone();
            for paid in page.payments {
                let named = |key: &str| paid.metadata.get(key).cloned().unwrap_or_default();
                let (tenant, payment) = (named("tenant").parse().ok(), named("payment").parse().ok());
                all.push(Listed { tenant, payment, snapshot: snapshot(paid)? });
            }
            if !page.more {
                return Ok(all);
            }
        }
    }

    pub(super) async fn increment(&self, reference: &str, target: Money, key: &str) -> Result<Snapshot, Trouble> {
        let path = format!("/v71/payments/{reference}/amountUpdates");
        snapshot(self.change("increment", &path, key, &json!({"amount": amount(target)})).await?)
    }

    pub(super) async fn capture(
        &self,
        reference: &str,
        part: Money,
        last: bool,
        key: &str,
    ) -> Result<Snapshot, Trouble> {
        let path = format!("/v71/payments/{reference}/captures");
        snapshot(self.change("capture", &path, key, &json!({"amount": amount(part), "finalCapture": last})).await?)
    }

    pub(super) async fn cancel(&self, reference: &str, key: &str) -> Result<Snapshot, Trouble> {
        let path = format!("/v71/payments/{reference}/cancels");
        snapshot(self.change("cancel", &path, key, &json!({"paymentPspReference": reference})).await?)
    }

    pub(super) async fn refund(&self, reference: &str, part: Money, key: &str) -> Result<String, Trouble> {
        let path = format!("/v71/payments/{reference}/refunds");
        let body = json!({"amount": amount(part), "paymentPspReference": reference});
        let modified: Modified = self.change("refund", &path, key, &body).await?;
        Ok(modified.psp_reference)
    }

    async fn change<T: DeserializeOwned>(
        &self,
        op: &'static str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<T, Trouble> {
        let make = || self.line.http.post(path).header("Idempotency-Key", key).json(body);
        let answer = self.line.ask(op, || make().header("X-API-Key", self.key.expose_secret())).await?;
        understand(op, &answer)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        op: &'static str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<T, Trouble> {
        let answer = self.line.inquire(op, || make().header("X-API-Key", self.key.expose_secret())).await?;
        understand(op, &answer)
    }
}

fn amount(money: Money) -> Value {
    json!({"value": money.minor, "currency": money.currency.code()})
}

fn understand<T: DeserializeOwned>(op: &'static str, answer: &Answer) -> Result<T, Trouble> {
    if answer.status.is_success() {
        return answer.json().map_err(|error| {
            tracing::error!(op, %error, "the provider's answer cannot be read");
            Trouble::Unknown
        });
    }
    match answer.json::<Failure>() {
        Ok(Failure { error_code, payment }) if answer.status == StatusCode::UNPROCESSABLE_ENTITY => {
            let intent = payment.and_then(Paid::snapshot).map(Box::new);
            Err(Trouble::Refused { code: error_code, intent })
        }
        // Our configuration is wrong: that says nothing about the customer's money.
        Ok(_) | Err(_) => {
            tracing::error!(op, status = %answer.status, "the provider does not accept our requests");
            Err(Trouble::Unknown)
        }
    }
}

fn snapshot(paid: Paid) -> Result<Snapshot, Trouble> {
    paid.snapshot().ok_or_else(|| {
        tracing::error!("the provider answered with a currency that we do not know");
        Trouble::Unknown
    })
}
