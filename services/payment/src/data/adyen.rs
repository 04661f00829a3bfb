//! The second provider, by Adyen's API (docs.adyen.com/api-explorer/Checkout/71): JSON, modifications as resources.
//!
//! As with the first, every change carries a key of ours and an unknown outcome is only inquired.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use ids::{PaymentId, RefundId};
use jiff::Timestamp;
use money::{Currency, Money};
use resilience::{Answer, HttpError, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::Sha256;

use super::gateway::{Authorization, Listed, ProviderEvent, Refunding, Report, Trouble};
use super::line::Line;
use crate::logic::state::{Check, Phase, RefundSeen, RefundState, Snapshot};

/// Name of the provider in payments and webhook paths.
pub const PROVIDER: &str = "adyen";

/// How far the sender's clock may be off, seconds (rule I5).
const WINDOW_S: u64 = 300;
/// Longest signature that is looked at, bytes.
const LONGEST_SIGNATURE: usize = 200;
/// What it calls a payment that is not in its books.
const NOT_THERE: &str = "no_such_payment";

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
    additional_data: Additional,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Amount {
    value: i64,
    currency: String,
}

/// What the bank said of address and security code: a number, then words.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Additional {
    avs_result: Option<String>,
    cvc_result: Option<String>,
}

impl Additional {
    /// Adyen's codes (docs.adyen.com/risk-management/avs-checks); one part that is wrong is wrong.
    fn avs(&self) -> Option<Check> {
        Some(match code(self.avs_result.as_deref()?) {
            Some(7 | 9 | 12 | 14 | 15 | 19..=21 | 23..=25) => Check::Pass,
            Some(1 | 2 | 6 | 10 | 13 | 16 | 17 | 26) => Check::Fail,
            _ => Check::Unavailable,
        })
    }

    /// Adyen's codes (docs.adyen.com/payment-methods/cards/cvc-cvv-checks); the rest say that nobody checked.
    fn cvv(&self) -> Option<Check> {
        Some(match code(self.cvc_result.as_deref()?) {
            Some(1) => Check::Pass,
            Some(2) => Check::Fail,
            _ => Check::Unavailable,
        })
    }
}

fn code(result: &str) -> Option<u8> {
    result.split_whitespace().next()?.parse().ok()
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
struct Notification {
    /// JSON notifications have one.
    notification_items: [Item; 1],
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(rename = "NotificationRequestItem")]
    item: Told,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// Of the notification.
    psp_reference: String,
    event_code: String,
    /// Whether what the code names came about: "true" or "false".
    #[serde(default)]
    success: String,
    payment: Paid,
    refund: Option<Refunded>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refunded {
    psp_reference: String,
    /// Ours.
    reference: Option<String>,
    /// Where it stands when somebody asks; notifications say it by their code.
    #[serde(default)]
    status: String,
    reason: Option<String>,
}

impl Refunded {
    fn ours(&self) -> Option<RefundId> {
        self.reference.as_deref()?.parse().ok()
    }

    fn shown(self) -> RefundSeen {
        let ended = match self.status.as_str() {
            "succeeded" => Some(true),
            "failed" => Some(false),
            _ => None,
        };
        self.seen(ended)
    }

    /// A `REFUND` ended as its `success` has it; money that was given back and is here again has codes of its own.
    fn told(self, code: &str, success: &str) -> RefundSeen {
        let ended = match (code, success) {
            ("REFUND", "true") => Some(true),
            ("REFUND", "false") | ("REFUND_FAILED" | "REFUNDED_REVERSED", _) => Some(false),
            _ => None,
        };
        self.seen(ended)
    }

    fn seen(self, well: Option<bool>) -> RefundSeen {
        let state = match well {
            Some(true) => RefundState::Succeeded,
            Some(false) => RefundState::Failed(self.reason.unwrap_or_else(|| "refund_failed".to_owned())),
            None => RefundState::Pending,
        };
        RefundSeen { reference: self.psp_reference, state }
    }
}

#[derive(Debug, Deserialize)]
struct Refunds {
    refunds: Vec<Refunded>,
    #[serde(default)]
    more: bool,
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
            avs: self.additional_data.avs(),
            cvv: self.additional_data.cvv(),
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
            return match self.read("find", || self.line.http.get(&path)).await {
                Err(Trouble::Refused { code, .. }) if code == NOT_THERE => Ok(None),
                answer => snapshot(answer?).map(Some),
            };
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

    pub(super) async fn refund(&self, ask: Refunding<'_>) -> Result<RefundSeen, Trouble> {
        let path = format!("/v71/payments/{}/refunds", ask.reference);
        let ours = ask.ours.map(|(.., refund)| refund.to_string());
        let body = json!({"amount": amount(ask.amount), "paymentPspReference": ask.reference, "reference": ours});
        let modified: Modified = self.change("refund", &path, ask.key, &body).await?;
        // "received" is all that an answer ever says; how it ends comes as a notification, days later.
        Ok(RefundSeen { reference: modified.psp_reference, state: RefundState::Pending })
    }

    pub(super) async fn find_refund(&self, reference: &str, refund: RefundId) -> Result<Option<RefundSeen>, Trouble> {
        let path = format!("/v71/payments/{reference}/refunds");
        let found: Refunds = self.read("refunds", || self.line.http.get(&path)).await?;
        match found.refunds.into_iter().find(|one| one.ours() == Some(refund)) {
            Some(found) => Ok(Some(found.shown())),
            None if found.more => Err(Trouble::Unknown),
            None => Ok(None),
        }
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
        Ok(Failure { error_code, payment })
            if answer.status == StatusCode::UNPROCESSABLE_ENTITY || error_code == NOT_THERE =>
        {
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

/// Reads a notification of the provider: what happened, and the payment as it stands then.
///
/// # Errors
/// When it is not one.
pub fn read_event(body: &[u8]) -> Result<ProviderEvent, serde_json::Error> {
    let Notification { notification_items: [Item { item }] } = serde_json::from_slice(body)?;
    let named = |key: &str| item.payment.metadata.get(key).cloned().unwrap_or_default();
    let (tenant, payment) = (named("tenant").parse().ok(), named("payment").parse().ok());
    let refund = item.refund.and_then(|one| Some((one.ours()?, one.told(&item.event_code, &item.success))));
    let report = match refund {
        Some((refund, seen)) => Report::Refund { refund, seen },
        None => item.payment.snapshot().map_or(Report::Nothing, Report::Payment),
    };
    Ok(ProviderEvent { id: item.psp_reference, kind: item.event_code, tenant, payment, report })
}

/// Whether `header` (`<unix>:<hex of HMAC-SHA256>`) signs this time and body, now.
pub fn genuine(secret: &SecretString, header: &str, body: &[u8], now: Timestamp) -> bool {
    let Some((sent, signature)) = header.split_once(':').filter(|_| header.len() <= LONGEST_SIGNATURE) else {
        return false;
    };
    let fresh = sent.parse::<i64>().is_ok_and(|at| now.as_second().abs_diff(at) <= WINDOW_S);
    let key = secret.expose_secret().as_bytes();
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    let mac = mac.chain_update(sent).chain_update(b":").chain_update(body);
    // Compared in constant time.
    fresh && hex::decode(signature).is_ok_and(|signature| mac.verify_slice(&signature).is_ok())
}

fn snapshot(paid: Paid) -> Result<Snapshot, Trouble> {
    paid.snapshot().ok_or_else(|| {
        tracing::error!("the provider answered with a currency that we do not know");
        Trouble::Unknown
    })
}
