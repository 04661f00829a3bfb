use super::{Dispute, Hold, Outcome, Payment, State};

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
    /// More is held.
    Incremented,
    /// Everything was taken at once.
    TakenAtOnce,
    /// The hold ends within a day.
    Expiring,
    /// The hold ended with this many minor units of it.
    Expired(i64),
    /// A dispute was opened.
    ChargebackOpened(String, Dispute),
    /// A dispute ended.
    ChargebackClosed(String, Dispute),
}

impl Payment {
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
        } else if self.authorized > 0 && next.authorized > self.authorized && !next.void_requested {
            changes.push(Change::Incremented);
        }
        if next.immediate && self.captured == 0 && next.captured > 0 && !next.void_requested {
            changes.push(Change::TakenAtOnce);
        }
        if next.manual && !self.manual && !changes.contains(&Change::Authorized) {
            changes.push(Change::Authorized);
        }
        if next.hold > self.hold {
            let left = self.authorized - self.captured;
            changes.push(if next.hold == Hold::Expired { Change::Expired(left) } else { Change::Expiring });
        }
        changes.extend(self.disputes_changed(next));
        if before != after && after == State::Declined {
            changes.push(Change::Declined);
        }
        let released = next.voided() - self.voided();
        if released > 0 || (before != after && after == State::Voided) {
            changes.push(Change::Voided(released.max(0)));
        }
        changes
    }

    fn disputes_changed(&self, next: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (id, dispute) in &next.disputes {
            let before = self.disputes.get(id);
            if before.is_none() {
                let opened = Dispute { outcome: Outcome::Open, ..*dispute };
                changes.push(Change::ChargebackOpened(id.clone(), opened));
            }
            if dispute.outcome > before.map_or(Outcome::Open, |before| before.outcome) {
                changes.push(Change::ChargebackClosed(id.clone(), *dispute));
            }
        }
        changes
    }
}
