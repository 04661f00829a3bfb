//! The payment as a fold over what is known of it.
//!
//! Facts only grow: amounts take the larger figure, flags are never cleared. So the same reports in any order and
//! any number of repeats end in the same payment, and a late failure never takes an authorization back (PAY-10).

use ids::{OrderId, PaymentId};
use jiff::Timestamp;
use money::Money;

/// How often an authorization that was voided while nobody knew it is looked for again.
const LATE_CHECKS: i16 = 6;

/// Where a payment stands; derived from its facts, never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The provider is being asked.
    Processing,
    /// The customer must act, such as 3-D Secure.
    RequiresAction,
    /// The money is held.
    Authorized,
    /// Part of the held money was taken.
    PartiallyCaptured,
    /// All that will be taken was taken.
    Captured,
    /// The provider refused.
    Declined,
    /// The hold was let go, or must never be made.
    Voided,
    /// It is not known what the provider did.
    Unknown,
    /// Part of the taken money was given back.
    PartiallyRefunded,
    /// All of it was given back.
    Refunded,
}

impl State {
    /// Name in the store and in messages for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "PROCESSING",
            Self::RequiresAction => "REQUIRES_ACTION",
            Self::Authorized => "AUTHORIZED",
            Self::PartiallyCaptured => "PARTIALLY_CAPTURED",
            Self::Captured => "CAPTURED",
            Self::Declined => "DECLINED",
            Self::Voided => "VOIDED",
            Self::Unknown => "UNKNOWN",
            Self::PartiallyRefunded => "PARTIALLY_REFUNDED",
            Self::Refunded => "REFUNDED",
        }
    }
}

/// Everything known about the money of one order; amounts are minor units of `asked`'s currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Identity.
    pub id: PaymentId,
    /// The order; it has no other payment.
    pub order: OrderId,
    /// What was asked for; none when the order was voided before anybody asked.
    pub asked: Option<Money>,
    /// Held in total.
    pub authorized: i64,
    /// Taken in total; never above `authorized`.
    pub captured: i64,
    /// Given back in total by the provider's or our own count; never above `captured`.
    pub refunded: i64,
    /// Given back through our own refunds.
    pub refunded_own: i64,
    /// The provider will take no more from the hold.
    pub closed: bool,
    /// The order wants no money held; whatever turns up later is let go.
    pub void_requested: bool,
    /// The last attempt ended without an answer.
    pub unknown: bool,
    /// Why it was declined.
    pub decline_reason: Option<String>,
    /// Where the customer must go.
    pub action_url: Option<String>,
    /// Provider's name.
    pub provider: String,
    /// Provider's id of it.
    pub reference: Option<String>,
    /// When the hold was first seen; holds end after 7 days (PAY-02).
    pub authorized_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// How often the resolving job looked at it.
    pub checks: i16,
    /// Bumped by every change of the row; the compare-and-set of writers.
    pub revision: i32,
}

/// Where the provider says an intent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not decided.
    Processing,
    /// The customer must act.
    RequiresAction,
    /// Refused.
    Failed,
    /// Held; may be captured.
    Held,
    /// Captured; the rest of the hold is gone.
    Done,
    /// Let go.
    Canceled,
}

/// The provider's whole view of one intent at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Provider's id.
    pub reference: String,
    /// Amount of the intent.
    pub amount: Money,
    /// Where it stands.
    pub phase: Phase,
    /// Captured so far, minor units.
    pub received: i64,
    /// Given back so far, minor units.
    pub refunded: i64,
    /// Why it failed.
    pub decline_reason: Option<String>,
    /// Where the customer must go.
    pub action_url: Option<String>,
}

/// A report does not belong to the payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Amount or currency differ from what was asked for, or amounts contradict each other.
    #[error("the provider's amounts do not fit the payment")]
    Amount,
    /// The provider knows the payment under another id already.
    #[error("the provider reports a second intent for the payment")]
    Reference,
}

/// What changed between two versions of a payment; becomes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The customer must act.
    ActionRequired,
    /// The money is held.
    Authorized,
    /// The provider refused.
    Declined,
    /// This many minor units of the hold were let go.
    Voided(i64),
}

impl Payment {
    /// Where the payment stands.
    pub fn state(&self) -> State {
        if self.refunded > 0 {
            return if self.refunded == self.captured && !self.holds() {
                State::Refunded
            } else {
                State::PartiallyRefunded
            };
        }
        if self.captured > 0 {
            return if self.holds() { State::PartiallyCaptured } else { State::Captured };
        }
        if self.closed {
            return State::Voided;
        }
        if self.authorized > 0 {
            return State::Authorized;
        }
        self.undecided()
    }

    fn undecided(&self) -> State {
        if self.decline_reason.is_some() {
            State::Declined
        } else if self.action_url.is_some() {
            State::RequiresAction
        } else if self.void_requested && (self.asked.is_none() || !self.unknown) {
            State::Voided
        } else if self.unknown {
            State::Unknown
        } else {
            State::Processing
        }
    }

    /// Whether money is still held.
    pub fn holds(&self) -> bool {
        !self.closed && self.authorized > self.captured
    }

    /// Let go so far, minor units.
    pub fn voided(&self) -> i64 {
        if self.closed { self.authorized - self.captured } else { 0 }
    }

    /// Whether nobody knows yet what the provider did.
    pub fn undetermined(&self) -> bool {
        self.asked.is_some() && self.reference.is_none() && self.decline_reason.is_none() && !self.closed
    }

    /// Whether money or a challenge must be let go although the order wants none (S2).
    pub fn must_release(&self) -> bool {
        let challenge = self.state() == State::RequiresAction;
        self.void_requested && (self.holds() || challenge || self.captured > self.refunded)
    }

    /// Whether the resolving job must look at it.
    pub fn unresolved(&self) -> bool {
        let late = self.void_requested && self.undetermined() && self.checks < LATE_CHECKS;
        matches!(self.state(), State::Processing | State::Unknown) || self.must_release() || late
    }

    /// Takes a report of the provider in.
    ///
    /// # Errors
    /// [`Mismatch`] when the report is not about this payment; nothing is taken in then.
    pub fn observe(&self, seen: &Snapshot) -> Result<Self, Mismatch> {
        let amount = seen.amount.minor;
        let plausible = seen.refunded >= 0 && seen.refunded <= seen.received && seen.received <= amount;
        if self.asked != Some(seen.amount) || !plausible {
            return Err(Mismatch::Amount);
        }
        if self.reference.as_ref().is_some_and(|known| *known != seen.reference) {
            return Err(Mismatch::Reference);
        }
        let was_held = matches!(seen.phase, Phase::Held | Phase::Done) || seen.received > 0;
        let mut next = self.clone();
        next.reference = Some(seen.reference.clone());
        next.unknown = false;
        next.authorized = self.authorized.max(if was_held { amount } else { 0 });
        next.captured = self.captured.max(seen.received);
        next.refunded = self.refunded.max(seen.refunded);
        next.closed |= matches!(seen.phase, Phase::Done | Phase::Canceled);
        if seen.phase == Phase::Failed {
            next.decline_reason = smaller(&self.decline_reason, seen.decline_reason.as_deref().unwrap_or("declined"));
        }
        if let (Phase::RequiresAction, Some(url)) = (seen.phase, &seen.action_url) {
            next.action_url = smaller(&self.action_url, url);
        }
        Ok(next)
    }

    /// The provider refused without making an intent.
    #[must_use]
    pub fn refused(&self, reason: &str) -> Self {
        let mut next = self.clone();
        next.unknown = false;
        next.decline_reason = smaller(&self.decline_reason, reason);
        next
    }

    /// Every try ended without an answer.
    #[must_use]
    pub fn lost_track(&self) -> Self {
        Self { unknown: self.reference.is_none(), ..self.clone() }
    }

    /// The provider knows nothing of it.
    #[must_use]
    pub fn not_found(&self) -> Self {
        Self { unknown: false, ..self.clone() }
    }

    /// One of our refunds came through.
    #[must_use]
    pub fn gave_back(&self, minor: i64) -> Self {
        let own = self.refunded_own + minor;
        Self { refunded_own: own, refunded: self.refunded.max(own), ..self.clone() }
    }

    /// What happened on the way from `self` to `next`.
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let (before, after) = (self.state(), next.state());
        if before != after && after == State::RequiresAction {
            changes.push(Change::ActionRequired);
        }
        // An order that wants no money is not told that some is held; it is told when that is let go.
        if self.authorized == 0 && next.authorized > 0 && !next.void_requested && !self.closed {
            changes.push(Change::Authorized);
        }
        if before != after && after == State::Declined {
            changes.push(Change::Declined);
        }
        let released = next.voided() - self.voided();
        if released > 0 || (before != after && after == State::Voided) {
            changes.push(Change::Voided(released.max(0)));
        }
        changes
    }
}

/// One of two texts, the same whichever came first.
fn smaller(known: &Option<String>, seen: &str) -> Option<String> {
    match known {
        Some(known) if known.as_str() <= seen => Some(known.clone()),
        _ => Some(seen.to_owned()),
    }
}

#[cfg(test)]
mod tests;
