//! Refunds: done at once, or pending at the bank until the control desk says how they end; a bank may also send back
//! what it took, long after it was done.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::books::{Books, Change, new_id, record, tell};
use super::refusal::Refusal;
use crate::control::Control;

/// Refunds to this card take the bank its time.
const SLOW: &str = "pm_sim_refund_pending";

/// What the bank is not done with, in Stripe's words.
const PENDING: &str = "pending";

/// Money on its way back to a customer.
pub(super) struct Refund {
    id: String,
    intent: String,
    amount: i64,
    currency: String,
    /// In Stripe's words: pending, succeeded or failed.
    status: &'static str,
    metadata: BTreeMap<String, String>,
}

impl Refund {
    fn json(&self) -> Value {
        let failed = self.status == "failed";
        json!({
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "currency": self.currency,
            "status": self.status,
            "failure_reason": failed.then_some("lost_or_stolen_card"),
            "payment_intent": self.intent,
            "metadata": self.metadata,
        })
    }
}

impl Change<'_> {
    pub(super) fn refund(&mut self, _: &str) -> Result<Value, Refusal> {
        let amount = self.request.number("amount")?;
        let intent = self.books.intent_mut(self.request.text("payment_intent")?)?;
        let amount = intent.refund(amount)?;
        let key = self.request.idempotency_key.as_deref();
        record(self.control, "refund", intent, amount, key);
        let refund = Refund {
            id: new_id("re"),
            intent: intent.id.clone(),
            amount,
            currency: intent.currency.clone(),
            status: if intent.payment_method == SLOW { PENDING } else { "succeeded" },
            metadata: self.request.metadata(),
        };
        let shown = refund.json();
        if !intent.second {
            tell(self.control, "charge.refunded", intent, intent.charge_json().unwrap_or_default());
        } else if refund.status != PENDING {
            // It answers every refund with "received", and notifies of the end only.
            tell(self.control, "refund.updated", intent, shown.clone());
        }
        self.books.refunds.push(refund);
        Ok(shown)
    }
}

impl Books {
    /// The newest refunds of an intent.
    pub(super) fn refunds_of(&self, intent: &str, limit: usize) -> Value {
        let mut found = self.refunds.iter().rev().filter(|refund| refund.intent == intent);
        let data: Vec<Value> = found.by_ref().take(limit).map(Refund::json).collect();
        json!({"object": "list", "data": data, "has_more": found.next().is_some()})
    }

    /// The bank ends a refund; one that succeeded may still come back.
    pub(super) fn end_refund(&mut self, control: &Arc<Control>, id: &str, succeed: bool) -> Result<Value, Refusal> {
        let refund = self.refunds.iter_mut().find(|refund| refund.id == id && refund.status != "failed");
        let refund = refund.ok_or(Refusal::Invalid("refund"))?;
        let never_done = std::mem::replace(&mut refund.status, if succeed { "succeeded" } else { "failed" }) == PENDING;
        let (shown, intent, amount) = (refund.json(), refund.intent.clone(), refund.amount);
        let intent = self.intent_mut(&intent)?;
        if !succeed {
            intent.refunded -= amount;
            record(control, "refund_failed", intent, amount, None);
        }
        // The second provider calls failed only what it had called done before.
        let updated = succeed || (never_done && intent.second);
        let kind = if updated { "refund.updated" } else { "refund.failed" };
        tell(control, kind, intent, shown.clone());
        Ok(shown)
    }
}
