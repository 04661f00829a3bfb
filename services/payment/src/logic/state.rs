//! The payment as a fold over what is known of it.
//!
//! Facts only grow: amounts take the larger figure, flags are never cleared. So the same reports in any order and
//! any number of repeats end in the same payment, and a late failure never takes an authorization back (PAY-10).

mod again;
mod changes;
mod compare;
mod refunds;
mod report;

use std::collections::BTreeMap;

use ids::{OrderId, PaymentId, UserId};
use jiff::{SignedDuration, Timestamp};
use money::Money;

pub use changes::Change;
pub use compare::Difference;
pub use report::{Mismatch, Phase, RefundSeen, RefundState, Snapshot};

/// How often an authorization that was voided while nobody knew it is looked for again.
const LATE_CHECKS: i16 = 6;
/// Life of a hold (PAY-02; cards: Stripe docs, "place a hold").
const HOLD: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long before its end a hold is warned of.
const WARNING: SignedDuration = SignedDuration::from_hours(24);
/// Attempts that a payment may have.
pub const MOST_ATTEMPTS: i16 = 5;

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
    /// The hold ended after 7 days without a capture.
    Expired,
    /// The customer's bank took money back, or wants to.
    Disputed,
}

/// How far the end of a hold has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// More than a day is left.
    Open,
    /// Its end was announced.
    Expiring,
    /// It ended; what is left of it is let go.
    Expired,
}

/// What became of a dispute; the later one wins, LOST over WON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Undecided; the bank has the money.
    Open,
    /// The money stays with the shop.
    Won,
    /// The money is gone.
    Lost,
}

/// Money that the customer's bank wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispute {
    /// How much, minor units.
    pub amount: i64,
    /// What became of it.
    pub outcome: Outcome,
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
            Self::Expired => "EXPIRED",
            Self::Disputed => "DISPUTED",
        }
    }
}

/// What a bank said of something that the customer typed; the worse word counts, whichever came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Check {
    /// It is right.
    Pass,
    /// The bank does not check it.
    Unavailable,
    /// It is wrong.
    Fail,
}

impl Check {
    /// Name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Fail => "FAIL",
        }
    }
}

/// Everything known about the money of one order; amounts are minor units of `asked`'s currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Identity.
    pub id: PaymentId,
    /// The order; it has no other payment in the same round.
    pub order: OrderId,
    /// Which round of paying the order it belongs to, from 1 (PAY-18).
    pub round: i32,
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
    /// Refunds of ours without an outcome.
    pub refund_pending: i64,
    /// Refunds of ours that the provider counted and that came back later; what it counts may still hold them.
    pub refund_returned: i64,
    /// How many captures, increments and refunds are without an outcome; the row alone counts them.
    pub pending: i32,
    /// Disputes by the provider's id of them.
    pub disputes: BTreeMap<String, Dispute>,
    /// The most that the provider was ever asked to hold; the amount and its increments.
    pub ceiling: i64,
    /// The customer, when the order told us.
    pub customer: Option<UserId>,
    /// Which attempt this is, from 1.
    pub attempt: i16,
    /// The provider's ids of earlier attempts: what they report changes nothing.
    pub old_references: Vec<String>,
    /// Taken when authorized, not per shipment.
    pub immediate: bool,
    /// The money came outside of any provider (PAY-18).
    pub manual: bool,
    /// A provider that was asked before, whose answer got lost and who knew nothing then (PAY-09).
    pub stray: Option<String>,
    /// How far the end of the hold has come.
    pub hold: Hold,
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
    /// What the bank said of the address (FRD-01).
    pub avs: Option<Check>,
    /// What the bank said of the security code, which itself is never kept (FRD-02).
    pub cvv: Option<Check>,
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

impl Payment {
    /// As its row begins, before anybody was asked.
    pub fn begun(
        id: PaymentId,
        (order, round): (OrderId, i32),
        asked: Money,
        provider: &str,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            order,
            round,
            asked: Some(asked),
            authorized: 0,
            captured: 0,
            refunded: 0,
            refunded_own: 0,
            refund_pending: 0,
            refund_returned: 0,
            pending: 0,
            disputes: BTreeMap::new(),
            ceiling: asked.minor,
            customer: None,
            attempt: 1,
            old_references: Vec::new(),
            immediate: false,
            manual: false,
            stray: None,
            hold: Hold::Open,
            closed: false,
            void_requested: false,
            unknown: false,
            decline_reason: None,
            action_url: None,
            avs: None,
            cvv: None,
            provider: provider.to_owned(),
            reference: None,
            authorized_at: None,
            created_at,
            checks: 0,
            revision: 0,
        }
    }

    /// Where the payment stands.
    pub fn state(&self) -> State {
        if self.disputed() > 0 {
            return State::Disputed;
        }
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
        if self.hold == Hold::Expired && !self.void_requested {
            return State::Expired;
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

    /// Given back, or about to be; the provider's count may hold refunds of ours whose answer is on the way.
    fn going_back(&self) -> i64 {
        self.refunded.max(self.refunded_own + self.refund_pending)
    }

    /// Disputed and not won, minor units; never more than what is left of the captures (M11).
    pub fn disputed(&self) -> i64 {
        let open = self.disputes.values().filter(|dispute| dispute.outcome != Outcome::Won);
        let wanted = open.fold(0_i64, |sum, dispute| sum.saturating_add(dispute.amount));
        wanted.clamp(0, (self.captured - self.going_back()).max(0))
    }

    /// What may still be given back, minor units.
    pub fn refundable(&self) -> i64 {
        if self.manual { 0 } else { (self.captured - self.going_back() - self.disputed()).max(0) }
    }

    /// When the hold ends; none when no money is held.
    pub fn hold_ends(&self) -> Option<Timestamp> {
        self.authorized_at.filter(|_| self.holds()).and_then(|at| at.checked_add(HOLD).ok())
    }

    /// The payment when its hold has come nearer to its end by now; none when nothing is due.
    pub fn aged(&self, now: Timestamp) -> Option<Self> {
        let ends = self.hold_ends()?;
        let hold = match now.duration_until(ends) {
            left if left <= SignedDuration::ZERO => Hold::Expired,
            left if left <= WARNING => Hold::Expiring,
            _ => Hold::Open,
        };
        (hold > self.hold).then(|| Self { hold, ..self.clone() })
    }

    /// The money came outside of any provider; none where some is or may be held.
    ///
    /// When the payment of an order fails nobody wants money held any more; whoever paid otherwise is no case of that. A
    /// hold that was let go because the order ended stays so.
    pub fn marked_paid(&self) -> Option<Self> {
        let asked = self.asked?;
        let none_held = matches!(self.state(), State::Declined | State::Expired | State::Voided) && !self.holds();
        let failed = !self.undetermined() && self.authorized == 0;
        (none_held && (failed || !self.void_requested) && self.stray.is_none() && self.captured == 0).then(|| Self {
            manual: true,
            void_requested: false,
            authorized: asked.minor,
            captured: asked.minor,
            closed: true,
            ..self.clone()
        })
    }

    /// Takes in what became of a dispute.
    #[must_use]
    pub fn observe_dispute(&self, id: &str, seen: Dispute) -> Self {
        let mut next = self.clone();
        let known = next.disputes.entry(id.to_owned()).or_insert(seen);
        known.amount = known.amount.max(seen.amount);
        known.outcome = known.outcome.max(seen.outcome);
        next
    }

    /// Whether nothing may be captured any more: nobody wants it, or the 7 days of the hold are over by now (PAY-02).
    pub fn over(&self, now: Timestamp) -> bool {
        let aged = self.aged(now).map_or(self.hold, |aged| aged.hold);
        self.void_requested || aged == Hold::Expired
    }

    /// Whether nobody knows yet what the provider did.
    pub fn undetermined(&self) -> bool {
        self.asked.is_some() && self.reference.is_none() && self.decline_reason.is_none() && !self.closed
    }

    /// Whether money or a challenge must be let go although the order wants none (S2).
    pub fn must_release(&self) -> bool {
        let challenge = self.state() == State::RequiresAction;
        let unwanted = self.holds() || challenge || self.captured > self.refunded + self.disputed();
        (self.void_requested && unwanted && !self.manual) || (self.hold == Hold::Expired && self.holds())
    }

    /// Whether the resolving job must look at it.
    pub fn unresolved(&self) -> bool {
        let late = self.void_requested && self.undetermined() && self.checks < LATE_CHECKS;
        matches!(self.state(), State::Processing | State::Unknown)
            || self.must_release()
            || late
            || self.stray.is_some()
    }

    /// Takes in what a provider of this name reports.
    ///
    /// # Errors
    /// [`Mismatch`] as [`Payment::observe`], and when another provider has the payment by now: what the former did after
    /// all is a stray (PAY-09).
    pub fn told_by(&self, provider: &str, seen: &Snapshot) -> Result<Self, Mismatch> {
        if self.provider == provider { self.observe(seen) } else { Err(Mismatch::Provider) }
    }

    /// Takes a report of the payment's own provider in.
    ///
    /// # Errors
    /// [`Mismatch`] when the report is not about this payment; nothing is taken in then.
    pub fn observe(&self, seen: &Snapshot) -> Result<Self, Mismatch> {
        if self.manual {
            return Err(Mismatch::Outside);
        }
        // An earlier attempt is over, whatever it still has to say.
        if self.old_references.contains(&seen.reference) {
            return Ok(self.clone());
        }
        let amount = seen.amount.minor;
        let plausible = seen.refunded >= 0 && seen.refunded <= seen.received && seen.received <= amount;
        let asked = self.asked.is_some_and(|asked| {
            asked.currency == seen.amount.currency && (asked.minor..=self.ceiling.max(asked.minor)).contains(&amount)
        });
        if !asked || !plausible {
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
        next.refunded = self.refunded.max(seen.refunded - self.refund_returned);
        next.avs = self.avs.max(seen.avs);
        next.cvv = self.cvv.max(seen.cvv);
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

    /// Whether a provider that was asked before has been looked at often enough.
    pub fn stray_is_gone(&self) -> bool {
        self.checks >= LATE_CHECKS
    }

    /// Nothing turned up at the provider that was asked before, or it was let go.
    #[must_use]
    pub fn without_stray(&self) -> Self {
        Self { stray: None, ..self.clone() }
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
        let pending = (self.refund_pending - minor).max(0);
        Self { refunded_own: own, refunded: self.refunded.max(own), refund_pending: pending, ..self.clone() }
    }

    /// One of our refunds was refused.
    #[must_use]
    pub fn kept(&self, minor: i64) -> Self {
        Self { refund_pending: (self.refund_pending - minor).max(0), ..self.clone() }
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
