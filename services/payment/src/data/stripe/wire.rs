//! Stripe's JSON as far as we read it; nothing outside the client sees these types.

use std::collections::BTreeMap;

use ids::RefundId;
use money::{Currency, Money};
use serde::Deserialize;
use serde_json::Value;

use crate::data::gateway::Report;
use crate::logic::state::{Check, Dispute, Outcome, Phase, RefundSeen, RefundState, Snapshot};

#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    status: String,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    next_action: Option<NextAction>,
    last_payment_error: Option<ErrorBody>,
    /// The charge itself where it was asked for, else its id.
    #[serde(default)]
    latest_charge: Value,
}

/// Stripe's words: pass, fail, unavailable, unchecked.
#[derive(Debug, Default)]
struct Checks {
    avs: Option<Check>,
    cvv: Option<Check>,
}

impl Checks {
    fn of(charge: &Value) -> Self {
        let checks = &charge["payment_method_details"]["card"]["checks"];
        let said = |name: &str| match checks[name].as_str() {
            Some("pass") => Some(Check::Pass),
            Some("fail") => Some(Check::Fail),
            Some("unavailable") => Some(Check::Unavailable),
            _ => None,
        };
        Self { avs: said("address_line1_check").max(said("address_postal_code_check")), cvv: said("cvc_check") }
    }
}

#[derive(Debug, Deserialize)]
struct NextAction {
    redirect_to_url: Option<Redirect>,
}

#[derive(Debug, Deserialize)]
struct Redirect {
    url: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Charge {
    payment_intent: String,
    amount: i64,
    #[serde(default)]
    amount_captured: i64,
    #[serde(default)]
    amount_refunded: i64,
    currency: String,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Disputed {
    id: String,
    amount: i64,
    payment_intent: String,
    status: String,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) data: Vec<Intent>,
    pub(super) has_more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Found {
    pub(super) data: Vec<Intent>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    id: String,
    status: String,
    failure_reason: Option<String>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refunds {
    pub(super) data: Vec<Refund>,
    pub(super) has_more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) error: ErrorBody,
}

#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    code: Option<String>,
    decline_code: Option<String>,
    pub(super) payment_intent: Option<Box<Intent>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) data: EventData,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventData {
    pub(super) object: Value,
}

impl ErrorBody {
    /// The most telling code.
    pub(super) fn code(&self) -> String {
        self.decline_code.clone().or_else(|| self.code.clone()).unwrap_or_else(|| self.kind.clone())
    }
}

impl Intent {
    /// The intent as the fold takes it; none when the currency is not one we know.
    pub(super) fn snapshot(self) -> Option<Snapshot> {
        let phase = match self.status.as_str() {
            "requires_action" => Phase::RequiresAction,
            "requires_payment_method" => Phase::Failed,
            "requires_capture" => Phase::Held,
            "succeeded" => Phase::Done,
            "canceled" => Phase::Canceled,
            _ => Phase::Processing,
        };
        let checks = Checks::of(&self.latest_charge);
        Some(Snapshot {
            avs: checks.avs,
            cvv: checks.cvv,
            amount: Money::new(currency(&self.currency)?, self.amount),
            phase,
            received: self.amount_received,
            refunded: self.latest_charge["amount_refunded"].as_i64().unwrap_or_default(),
            decline_reason: self.last_payment_error.as_ref().map(ErrorBody::code),
            action_url: self.next_action.and_then(|action| action.redirect_to_url).map(|redirect| redirect.url),
            reference: self.id,
        })
    }
}

impl Charge {
    /// What the charge says of its intent.
    pub(super) fn snapshot(self) -> Option<Snapshot> {
        Some(Snapshot {
            reference: self.payment_intent,
            amount: Money::new(currency(&self.currency)?, self.amount),
            phase: Phase::Processing,
            received: self.amount_captured,
            refunded: self.amount_refunded,
            decline_reason: None,
            action_url: None,
            avs: None,
            cvv: None,
        })
    }
}

impl Refund {
    /// Which refund of ours it is; none when somebody else asked for it.
    pub(super) fn ours(&self) -> Option<RefundId> {
        self.metadata.get("refund")?.parse().ok()
    }

    /// The refund as it stands.
    pub(super) fn seen(self) -> RefundSeen {
        let state = match self.status.as_str() {
            "succeeded" => RefundState::Succeeded,
            "failed" | "canceled" => {
                RefundState::Failed(self.failure_reason.unwrap_or_else(|| format!("refund_{}", self.status)))
            }
            _ => RefundState::Pending,
        };
        RefundSeen { reference: self.id, state }
    }

    /// What it says; what others gave back is counted on the charge.
    pub(super) fn report(self) -> Report {
        match self.ours() {
            Some(refund) => Report::Refund { refund, seen: self.seen() },
            None => Report::Nothing,
        }
    }
}

impl Disputed {
    /// What the dispute says; inquiries ("warning_…") move no money.
    pub(super) fn report(self) -> Report {
        let outcome = match self.status.as_str() {
            "won" => Outcome::Won,
            "lost" => Outcome::Lost,
            inquiry if inquiry.starts_with("warning_") => return Report::Nothing,
            _ => Outcome::Open,
        };
        let dispute = Dispute { amount: self.amount.max(0), outcome };
        Report::Dispute { id: self.id, reference: self.payment_intent, dispute }
    }
}

fn currency(lower: &str) -> Option<Currency> {
    lower.to_ascii_uppercase().parse().ok()
}
