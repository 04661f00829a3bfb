//! What the store answers with.

use ids::{PaymentId, TenantId};
use serde::Deserialize;

use super::{Capture, Ends, Refund};
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
    /// Refunds without an outcome.
    pub refunds: Vec<Refund>,
}

impl OpenEntries {
    /// Whether a capture or refund has not ended yet.
    pub fn has(&self, ends: Ends<'_>) -> bool {
        match ends {
            Ends::Captured(capture) | Ends::CaptureRefused(capture, _) => {
                self.captures.iter().any(|open| open.shipment() == capture.shipment())
            }
            Ends::Refunded(refund, _) | Ends::RefundRefused(refund, _) => {
                self.refunds.iter().any(|open| open.id() == refund.id())
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
