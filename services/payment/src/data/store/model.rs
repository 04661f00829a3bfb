//! What the store answers with.

use ids::{PaymentId, TenantId};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Capture, Ends, Increment, Refund};
use crate::logic::state::Payment;

/// Who asks the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Turn {
    /// The caller: the payment has just begun.
    Ours,
    /// The caller, by an inquiry: whoever asked has been silent for 30 s.
    Stale,
    /// Somebody else, now or before.
    Theirs,
}

/// A payment that was begun or found.
#[derive(Debug)]
pub struct Begun {
    /// Who asks the provider.
    pub turn: Turn,
    /// The payment.
    pub payment: Payment,
}

/// Why a capture or refund got no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The payment has another currency.
    Currency,
    /// Nothing is held, or what is held must be let go.
    Closed,
    /// The hold is older than 7 days (PAY-02).
    Expired,
    /// A capture that ends the hold is under way, or would end it under another.
    Busy,
    /// More than is left.
    Exceeds,
}

/// A capture's or refund's place under the limit.
#[derive(Debug)]
pub enum Place<E> {
    /// There is no such payment.
    NoPayment,
    /// There is nothing to do: the money was taken before.
    Before {
        /// The payment.
        payment: Payment,
    },
    /// There is no place.
    Refused {
        /// Why.
        why: Limit,
        /// The payment.
        payment: Payment,
        /// Minor units that are left.
        remaining: i64,
    },
    /// It has its place, from now on or from an earlier call.
    Taken {
        /// The payment.
        payment: Payment,
        /// The entry.
        entry: E,
        /// Whether it got its place from this call.
        fresh: bool,
        /// Whether the earlier call asked the same.
        same: bool,
    },
}

/// A signed event of a provider.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Whose it is.
    pub provider: String,
    /// Provider's id of it; folded once.
    pub event_id: String,
    /// Provider's type of it.
    pub kind: String,
    /// As it was sent.
    pub body: Vec<u8>,
}

/// What becomes of a stored event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Folded into its payment.
    Folded,
    /// Its payment is not known; tried again for 24 h (I5).
    Parked,
    /// It says nothing about our payments.
    Ignored,
}

/// Outcome of storing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Stored {
    /// Stored with what it changes.
    Fresh,
    /// It was stored before; nothing changed.
    Duplicate,
    /// The payment moved on meanwhile; nothing was stored.
    Stale,
}

/// One change of a payment in the audit (PAY-13).
#[derive(Debug, Clone, Deserialize)]
pub struct Entry {
    /// Number within the payment.
    pub seq: i32,
    /// What happened.
    pub action: String,
    /// Kind of who did it.
    pub actor_kind: String,
    /// Who did it.
    pub actor_id: String,
    /// What caused it.
    pub correlation_id: String,
    /// Minor units it was about.
    pub amount: Option<i64>,
    /// Their currency.
    pub currency: Option<String>,
    /// Before; none at the first.
    pub before: Option<Figures>,
    /// After.
    pub after: Figures,
    /// Why, where a person said so.
    pub note: String,
    /// When.
    pub occurred_at: Timestamp,
}

/// A payment's amounts at one time, minor units.
#[derive(Debug, Clone, Deserialize)]
pub struct Figures {
    /// State.
    pub state: String,
    /// Held.
    pub authorized: i64,
    /// Taken.
    pub captured: i64,
    /// Let go.
    pub voided: i64,
    /// Given back.
    pub refunded: i64,
    /// About to be given back.
    pub refund_pending: i64,
    /// Disputed.
    pub disputed: i64,
    /// Attempt.
    pub attempt: i32,
}

/// A payment that the resolving job must look at.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// Its tenant.
    pub tenant: TenantId,
    /// The payment.
    pub payment: PaymentId,
}

/// An event that waits for its payment.
#[derive(Debug, Clone)]
pub struct Parked {
    /// Its tenant.
    pub tenant: TenantId,
    /// Whose it is.
    pub provider: String,
    /// Provider's id of it.
    pub event_id: String,
}

/// A payment with its captures and refunds that have not ended.
#[derive(Debug)]
pub struct OpenEntries {
    /// The payment.
    pub payment: Payment,
    /// Captures without an outcome.
    pub captures: Vec<Capture>,
    /// Increments without an outcome.
    pub increments: Vec<Increment>,
    /// Refunds without an outcome.
    pub refunds: Vec<Refund>,
}

impl OpenEntries {
    /// Whether a capture or refund has not ended yet.
    pub fn has(&self, ends: Ends<'_>) -> bool {
        match ends {
            Ends::Captured(capture) | Ends::CaptureRefused(capture, _) => {
                let same = |open: &Capture| (open.shipment(), open.attempt) == (capture.shipment(), capture.attempt);
                self.captures.iter().any(same)
            }
            Ends::Refunded(refund, _) | Ends::RefundRefused(refund, _) => {
                self.refunds.iter().any(|open| open.id() == refund.id())
            }
            // It had ended before.
            Ends::RefundReturned(..) => false,
            Ends::Incremented(increment) | Ends::IncrementRefused(increment, _) => {
                self.increments.iter().any(|open| open.id() == increment.id())
            }
        }
    }
}

impl Status {
    /// Name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Folded => "FOLDED",
            Self::Parked => "PARKED",
            Self::Ignored => "IGNORED",
        }
    }
}
