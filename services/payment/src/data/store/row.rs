//! Rows as the SQL functions return them.

use std::collections::BTreeMap;

use ids::{OrderId, PaymentId, RefundId, ShipmentId, UserId};
use jiff::Timestamp;
use money::Money;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::logic::state::{Check, Dispute, Hold, Outcome, Payment};

#[derive(Debug, Deserialize)]
pub(super) struct Row {
    payment_id: Uuid,
    order_id: Uuid,
    currency: Option<String>,
    amount: Option<i64>,
    authorized: i64,
    captured: i64,
    refunded: i64,
    refunded_own: i64,
    refund_pending: i64,
    refund_returned: i64,
    pending: i32,
    disputes: BTreeMap<String, DisputeRow>,
    ceiling: i64,
    customer_id: Option<Uuid>,
    round: i32,
    attempt: i16,
    old_references: Vec<String>,
    immediate: bool,
    manual: bool,
    stray: Option<String>,
    hold: i16,
    closed: bool,
    void_requested: bool,
    unknown: bool,
    decline_reason: Option<String>,
    action_url: Option<String>,
    avs_result: Option<Check>,
    cvv_result: Option<Check>,
    provider: String,
    provider_reference: Option<String>,
    authorized_at: Option<Timestamp>,
    checks: i16,
    revision: i32,
    created_at: Timestamp,
}

impl From<Row> for Payment {
    fn from(row: Row) -> Self {
        let currency = row.currency.as_deref().and_then(|code| code.parse().ok());
        Self {
            id: PaymentId::from_uuid(row.payment_id),
            order: OrderId::from_uuid(row.order_id),
            asked: currency.zip(row.amount).map(|(currency, minor)| Money::new(currency, minor)),
            authorized: row.authorized,
            captured: row.captured,
            refunded: row.refunded,
            refunded_own: row.refunded_own,
            refund_pending: row.refund_pending,
            refund_returned: row.refund_returned,
            pending: row.pending,
            disputes: row.disputes.into_iter().map(|(id, row)| (id, row.into())).collect(),
            ceiling: row.ceiling,
            customer: row.customer_id.map(UserId::from_uuid),
            round: row.round,
            attempt: row.attempt,
            old_references: row.old_references,
            immediate: row.immediate,
            manual: row.manual,
            stray: row.stray,
            hold: match row.hold {
                0 => Hold::Open,
                1 => Hold::Expiring,
                _ => Hold::Expired,
            },
            closed: row.closed,
            void_requested: row.void_requested,
            unknown: row.unknown,
            decline_reason: row.decline_reason,
            action_url: row.action_url,
            avs: row.avs_result,
            cvv: row.cvv_result,
            provider: row.provider,
            reference: row.provider_reference,
            authorized_at: row.authorized_at,
            created_at: row.created_at,
            checks: row.checks,
            revision: row.revision,
        }
    }
}

/// A dispute as the row keeps it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct DisputeRow {
    amount: i64,
    outcome: OutcomeRow,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum OutcomeRow {
    Open,
    Won,
    Lost,
}

impl From<DisputeRow> for Dispute {
    fn from(row: DisputeRow) -> Self {
        let outcome = match row.outcome {
            OutcomeRow::Open => Outcome::Open,
            OutcomeRow::Won => Outcome::Won,
            OutcomeRow::Lost => Outcome::Lost,
        };
        Self { amount: row.amount, outcome }
    }
}

impl From<Dispute> for DisputeRow {
    fn from(dispute: Dispute) -> Self {
        let outcome = match dispute.outcome {
            Outcome::Open => OutcomeRow::Open,
            Outcome::Won => OutcomeRow::Won,
            Outcome::Lost => OutcomeRow::Lost,
        };
        Self { amount: dispute.amount, outcome }
    }
}

/// What the SQL function `payments_settle` writes.
#[derive(Debug, Serialize)]
pub(super) struct Facts<'a> {
    state: &'static str,
    authorized: i64,
    captured: i64,
    voided: i64,
    refunded: i64,
    refunded_own: i64,
    refund_pending: i64,
    refund_returned: i64,
    disputes: BTreeMap<&'a str, DisputeRow>,
    disputed: i64,
    manual: bool,
    stray: Option<&'a str>,
    hold: i16,
    closed: bool,
    void_requested: bool,
    unknown: bool,
    decline_reason: Option<&'a str>,
    action_url: Option<&'a str>,
    provider_reference: Option<&'a str>,
    avs_result: Option<Check>,
    cvv_result: Option<Check>,
    unresolved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    capture: Option<Ending<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund: Option<Ending<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<Ending<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    increment: Option<Ending<'a>>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(payment: &'a Payment, ends: Option<Ends<'a>>) -> Self {
        Self {
            state: payment.state().as_str(),
            authorized: payment.authorized,
            captured: payment.captured,
            voided: payment.voided(),
            refunded: payment.refunded,
            refunded_own: payment.refunded_own,
            refund_pending: payment.refund_pending,
            refund_returned: payment.refund_returned,
            disputes: payment.disputes.iter().map(|(id, dispute)| (id.as_str(), (*dispute).into())).collect(),
            disputed: payment.disputed(),
            manual: payment.manual,
            stray: payment.stray.as_deref(),
            hold: match payment.hold {
                Hold::Open => 0,
                Hold::Expiring => 1,
                Hold::Expired => 2,
            },
            closed: payment.closed,
            void_requested: payment.void_requested,
            unknown: payment.unknown,
            decline_reason: payment.decline_reason.as_deref(),
            action_url: payment.action_url.as_deref(),
            provider_reference: payment.reference.as_deref(),
            avs_result: payment.avs,
            cvv_result: payment.cvv,
            unresolved: payment.unresolved(),
            capture: ends.and_then(Ends::capture),
            refund: ends.and_then(Ends::refund),
            returned: ends.and_then(Ends::returned),
            increment: ends.and_then(Ends::increment),
        }
    }
}

/// How a capture, a refund or an increment ended.
#[derive(Debug, Clone, Copy)]
pub enum Ends<'a> {
    /// The provider took the money of a shipment.
    Captured(&'a Capture),
    /// The provider refused to take it, with this code.
    CaptureRefused(&'a Capture, &'a str),
    /// The provider gave money back and calls that so.
    Refunded(&'a Refund, &'a str),
    /// The provider refused to give it back, with this code.
    RefundRefused(&'a Refund, &'a str),
    /// The provider had given it back and has it again, with this code.
    RefundReturned(&'a Refund, &'a str),
    /// The provider holds more.
    Incremented(&'a Increment),
    /// The provider does not hold more, with this code.
    IncrementRefused(&'a Increment, &'a str),
}

#[derive(Debug, Serialize)]
struct Ending<'a> {
    id: Uuid,
    state: EntryState,
    code: Option<&'a str>,
    provider_reference: Option<&'a str>,
}

impl<'a> Ends<'a> {
    /// What the audit calls a refusal, over how many minor units it was, and its code.
    pub(super) fn refusal(self) -> Option<(&'static str, i64, &'a str)> {
        match self {
            Self::CaptureRefused(capture, code) => Some(("CAPTURE_REFUSED", capture.amount, code)),
            Self::RefundRefused(refund, code) => Some(("REFUND_REFUSED", refund.amount, code)),
            Self::RefundReturned(refund, code) => Some(("REFUND_RETURNED", refund.amount, code)),
            Self::IncrementRefused(increment, code) => Some(("INCREMENT_REFUSED", increment.amount, code)),
            Self::Captured(_) | Self::Refunded(..) | Self::Incremented(_) => None,
        }
    }

    fn capture(self) -> Option<Ending<'a>> {
        let (capture, state, code) = match self {
            Self::Captured(capture) => (capture, EntryState::Succeeded, None),
            Self::CaptureRefused(capture, code) => (capture, EntryState::Failed, Some(code)),
            _ => return None,
        };
        Some(Ending { id: capture.shipment, state, code, provider_reference: None })
    }

    fn refund(self) -> Option<Ending<'a>> {
        let (refund, state, code, provider_reference) = match self {
            Self::Refunded(refund, reference) => (refund, EntryState::Succeeded, None, Some(reference)),
            Self::RefundRefused(refund, code) => (refund, EntryState::Failed, Some(code), None),
            _ => return None,
        };
        Some(Ending { id: refund.id, state, code, provider_reference })
    }

    fn returned(self) -> Option<Ending<'a>> {
        let Self::RefundReturned(refund, code) = self else { return None };
        Some(Ending { id: refund.id, state: EntryState::Failed, code: Some(code), provider_reference: None })
    }

    fn increment(self) -> Option<Ending<'a>> {
        let (increment, state, code) = match self {
            Self::Incremented(increment) => (increment, EntryState::Succeeded, None),
            Self::IncrementRefused(increment, code) => (increment, EntryState::Failed, Some(code)),
            _ => return None,
        };
        Some(Ending { id: increment.id, state, code, provider_reference: None })
    }
}

/// Where a capture or refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EntryState {
    /// The provider was or will be asked.
    Pending,
    /// Done.
    Succeeded,
    /// Refused; nothing was done.
    Failed,
}

impl EntryState {
    /// Name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }
}

/// The money of one shipment.
#[derive(Debug, Clone, Deserialize)]
pub struct Capture {
    #[serde(rename = "shipment_id")]
    shipment: Uuid,
    #[serde(rename = "payment_id")]
    payment: Uuid,
    /// The attempt whose hold it takes from.
    pub attempt: i16,
    /// Minor units of the payment's currency.
    pub amount: i64,
    /// Nothing more will be captured.
    #[serde(rename = "final")]
    pub last: bool,
    /// Where it stands.
    pub state: EntryState,
    /// Why it failed.
    pub code: Option<String>,
}

impl Capture {
    /// The shipment.
    pub fn shipment(&self) -> ShipmentId {
        ShipmentId::from_uuid(self.shipment)
    }

    /// The payment.
    pub fn payment(&self) -> PaymentId {
        PaymentId::from_uuid(self.payment)
    }
}

/// More money that is to be held.
#[derive(Debug, Clone, Deserialize)]
pub struct Increment {
    #[serde(rename = "increment_id")]
    id: Uuid,
    /// How much more, minor units.
    amount: i64,
    /// Held in total when it is done, minor units.
    pub target: i64,
    /// Where it stands.
    pub state: EntryState,
    /// Why it failed.
    pub code: Option<String>,
}

impl Increment {
    /// Identity; the provider's idempotency key.
    pub fn id(&self) -> Uuid {
        self.id
    }
}

/// Money that is given back.
#[derive(Debug, Clone, Deserialize)]
pub struct Refund {
    #[serde(rename = "refund_id")]
    id: Uuid,
    #[serde(rename = "payment_id")]
    payment: Uuid,
    /// Minor units of `currency`.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub state: EntryState,
    /// Why it failed.
    pub code: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Refund {
    /// Identity.
    pub fn id(&self) -> RefundId {
        RefundId::from_uuid(self.id)
    }

    /// The payment.
    pub fn payment(&self) -> PaymentId {
        PaymentId::from_uuid(self.payment)
    }
}
