//! The provider, by Stripe's API (docs.stripe.com/api): form-encoded requests, JSON answers, idempotency keys.
//!
//! Every change carries a key of ours, so a try that timed out is repeated with the same key and has one effect. When
//! all tries end without an answer the outcome is [`Trouble::Unknown`], and only an inquiry may decide what to do.

mod wire;

use std::time::Duration;

use ids::{PaymentId, RefundId};
use money::Money;
use resilience::{Answer, HttpError, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use wire::{Charge, Event, Failure, Found, Intent};

use super::gateway::{Authorization, Listed, ProviderEvent, Refunding, Report, Trouble};
use super::line::Line;
use crate::logic::state::{Phase, RefundSeen, RefundState, Snapshot};

/// Name of the provider in payments and webhook paths.
pub const PROVIDER: &str = "stripe";
/// What ids of mandates begin with that the provider keeps.
const THEIR_MANDATE: &str = "mandate_";
/// The charge of an intent, which alone says what was given back and what the bank checked; else only its id is shown.
const CHARGE: (&str, &str) = ("expand[]", "latest_charge");
/// The charges of the intents of a list.
const CHARGES: (&str, &str) = ("expand[]", "data.latest_charge");
/// What an intent must be made with so that it can be taken in parts and raised later, where the card allows it.
const LATER: [(&str, &str); 2] = [
    ("payment_method_options[card][request_multicapture]", "if_available"),
    ("payment_method_options[card][request_incremental_authorization]", "if_available"),
];

/// A client of the provider; clones share connections.
#[derive(Debug, Clone)]
pub struct Stripe {
    line: Line,
    key: SecretString,
}

impl Stripe {
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

    /// Asks for a hold. A decline is a snapshot in [`Phase::Failed`].
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same payment has one effect.
    pub async fn authorize(&self, ask: Authorization<'_>) -> Result<Snapshot, Trouble> {
        let (amount, currency) = (ask.amount.minor.to_string(), ask.amount.currency.code().to_ascii_lowercase());
        let (tenant, payment, order) = (ask.tenant.to_string(), ask.payment.to_string(), ask.order.to_string());
        let mut form = vec![
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("payment_method", &ask.instrument.method),
            ("capture_method", if ask.immediate { "automatic" } else { "manual" }),
            ("confirm", "true"),
            ("metadata[tenant]", &tenant),
            ("metadata[payment]", &payment),
            ("metadata[order]", &order),
            CHARGE,
        ];
        if !ask.immediate {
            form.extend(LATER);
        }
        let mandate = ask.instrument.mandate.as_str();
        if !mandate.is_empty() {
            form.extend([("off_session", "true"), ("metadata[mandate]", mandate)]);
            if mandate.starts_with(THEIR_MANDATE) {
                form.push(("mandate", mandate));
            }
        } else if ask.challenge {
            form.push(("payment_method_options[card][request_three_d_secure]", "challenge"));
        }
        let key = format!("{payment}:{}", ask.attempt);
        match self.change("authorize", "/v1/payment_intents", &key, &form).await {
            Ok(intent) => snapshot(intent),
            Err(Trouble::Refused { intent: Some(intent), .. }) if intent.phase == Phase::Failed => Ok(*intent),
            Err(trouble) => Err(trouble),
        }
    }

    /// Looks a payment up by the provider's id, or else by ours; none when the provider knows nothing of it, or only
    /// attempts that are over.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn find(
        &self,
        payment: PaymentId,
        reference: Option<&str>,
        over: &[String],
    ) -> Result<Option<Snapshot>, Trouble> {
        if let Some(reference) = reference {
            let path = format!("/v1/payment_intents/{reference}");
            return snapshot(self.read("find", || self.line.http.get(&path).query(&[CHARGE])).await?).map(Some);
        }
        let ours = format!("metadata['payment']:'{payment}'");
        let query = [("query", ours.as_str()), CHARGES];
        let found: Found =
            self.read("search", || self.line.http.get("/v1/payment_intents/search").query(&query)).await?;
        let mut present = found.data.into_iter().filter(|intent| !over.contains(&intent.id));
        let first = present.next().map(snapshot).transpose()?;
        if present.next().is_some() {
            tracing::error!(payment.id = %payment, "the provider has several intents of one attempt");
        }
        Ok(first)
    }

    /// All payments that were made in a period, seconds since 1970.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn list(&self, from: i64, to: i64) -> Result<Vec<Listed>, Trouble> {
        let (from, to) = (from.to_string(), to.to_string());
        let (mut all, mut behind) = (Vec::new(), String::new());
        loop {
            let mut query = vec![("created[gte]", from.as_str()), ("created[lt]", &to), ("limit", "100"), CHARGES];
            if !behind.is_empty() {
                query.push(("starting_after", &behind));
            }
            let page: wire::Page =
                self.read("list", || self.line.http.get("/v1/payment_intents").query(&query)).await?;
            let Some(last) = page.data.last() else { return Ok(all) };
            behind = last.id.clone();
            for intent in page.data {
                let named = |key: &str| intent.metadata.get(key).cloned().unwrap_or_default();
                let (tenant, payment) = (named("tenant").parse().ok(), named("payment").parse().ok());
                all.push(Listed { tenant, payment, snapshot: snapshot(intent)? });
            }
            if !page.has_more {
                return Ok(all);
            }
        }
    }

    /// Holds more: `target` in total.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn increment(&self, reference: &str, target: Money, key: &str) -> Result<Snapshot, Trouble> {
        let path = format!("/v1/payment_intents/{reference}/increment_authorization");
        let target = target.minor.to_string();
        snapshot(self.change("increment", &path, key, &[("amount", target.as_str()), CHARGE]).await?)
    }

    /// Takes part of a hold; `last` lets the rest go.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn capture(&self, reference: &str, part: Money, last: bool, key: &str) -> Result<Snapshot, Trouble> {
        let path = format!("/v1/payment_intents/{reference}/capture");
        let (part, last) = (part.minor.to_string(), if last { "true" } else { "false" });
        let form = [("amount_to_capture", part.as_str()), ("final_capture", last), CHARGE];
        snapshot(self.change("capture", &path, key, &form).await?)
    }

    /// Lets a hold or a challenge go.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn cancel(&self, reference: &str, key: &str) -> Result<Snapshot, Trouble> {
        let path = format!("/v1/payment_intents/{reference}/cancel");
        match self.change("cancel", &path, key, &[("cancellation_reason", "abandoned"), CHARGE]).await {
            // Refusals show an intent without its charge, but what is left of its money depends on what was given back.
            Err(Trouble::Refused { code, intent: Some(intent) }) if intent.received > 0 => {
                let whole = self.find(PaymentId::from_uuid(uuid::Uuid::nil()), Some(reference), &[]).await;
                let whole = whole.ok().flatten().map_or(intent, Box::new);
                Err(Trouble::Refused { code, intent: Some(whole) })
            }
            answer => snapshot(answer?),
        }
    }

    /// Gives captured money back: done, or under way for as long as the bank takes.
    ///
    /// # Errors
    /// [`Trouble`]; a repeat with the same key has one effect.
    pub async fn refund(&self, ask: Refunding<'_>) -> Result<RefundSeen, Trouble> {
        let mut form = vec![("payment_intent", ask.reference.to_owned()), ("amount", ask.amount.minor.to_string())];
        if let Some((tenant, payment, refund)) = ask.ours {
            form.extend([
                ("metadata[tenant]", tenant.to_string()),
                ("metadata[payment]", payment.to_string()),
                ("metadata[refund]", refund.to_string()),
            ]);
        }
        let refund: wire::Refund = self.change("refund", "/v1/refunds", ask.key, &form).await?;
        match refund.seen() {
            RefundSeen { state: RefundState::Failed(code), .. } => Err(Trouble::Refused { code, intent: None }),
            seen => Ok(seen),
        }
    }

    /// Looks a refund of ours up; none when the provider knows nothing of it.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn find_refund(&self, reference: &str, refund: RefundId) -> Result<Option<RefundSeen>, Trouble> {
        let query = [("payment_intent", reference), ("limit", "100")];
        let found: wire::Refunds = self.read("refunds", || self.line.http.get("/v1/refunds").query(&query)).await?;
        match found.data.into_iter().find(|one| one.ours() == Some(refund)) {
            Some(found) => Ok(Some(found.seen())),
            None if found.has_more => Err(Trouble::Unknown),
            None => Ok(None),
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
        let make = || self.line.http.post(path).header("Idempotency-Key", key).form(&form);
        let answer = self.line.ask(op, || make().bearer_auth(self.key.expose_secret())).await?;
        understand(op, &answer)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        op: &'static str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<T, Trouble> {
        let answer = self.line.inquire(op, || make().bearer_auth(self.key.expose_secret())).await?;
        understand(op, &answer)
    }
}

/// Reads the events that a webhook may carry.
///
/// # Errors
/// When it is not an event, or its object is not what its kind says.
pub fn read_event(body: &[u8]) -> Result<ProviderEvent, serde_json::Error> {
    let Event { id, kind, data } = serde_json::from_slice(body)?;
    let told = |snapshot: Option<Snapshot>| snapshot.map_or(Report::Nothing, Report::Payment);
    let (metadata, report) = if is(&data.object, "refund") {
        let refund: wire::Refund = serde_json::from_value(data.object)?;
        (refund.metadata.clone(), refund.report())
    } else if is(&data.object, "dispute") {
        let dispute: wire::Disputed = serde_json::from_value(data.object)?;
        (dispute.metadata.clone(), dispute.report())
    } else if kind.starts_with("payment_intent.") || is(&data.object, "payment_intent") {
        let intent: Intent = serde_json::from_value(data.object)?;
        (intent.metadata.clone(), told(intent.snapshot()))
    } else if is(&data.object, "charge") {
        let charge: Charge = serde_json::from_value(data.object)?;
        (charge.metadata.clone(), told(charge.snapshot()))
    } else {
        (std::collections::BTreeMap::default(), Report::Nothing)
    };
    let named = |key: &str| metadata.get(key).cloned().unwrap_or_default();
    Ok(ProviderEvent { id, kind, tenant: named("tenant").parse().ok(), payment: named("payment").parse().ok(), report })
}

fn is(object: &serde_json::Value, kind: &str) -> bool {
    object.get("object").and_then(serde_json::Value::as_str) == Some(kind)
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
