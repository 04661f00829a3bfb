use super::{Payment, Snapshot};

/// In which way a payment differs from the provider's books (PAY-11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The provider has it, we do not.
    MissingOurs,
    /// We have it, the provider does not.
    MissingTheirs,
    /// Both have it, with other amounts.
    Amount,
    /// Both have it, with the same amounts in another state.
    State,
}

impl Difference {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::MissingOurs, Self::MissingTheirs, Self::Amount, Self::State];

    /// Name in the store and the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingOurs => "MISSING_OURS",
            Self::MissingTheirs => "MISSING_THEIRS",
            Self::Amount => "AMOUNT_DIFFERS",
            Self::State => "STATE_DIFFERS",
        }
    }
}

impl Payment {
    /// Whether the resolving job may yet find this at the provider, as what the payment waits for or as a stray: until
    /// then nobody can say that no payment wants it.
    pub fn awaits(&self, provider: &str, reference: &str) -> bool {
        let looked_for = self.provider == provider && self.undetermined() && self.unresolved();
        let over = self.old_references.iter().any(|old| old == reference);
        (looked_for || self.stray.as_deref() == Some(provider)) && !over
    }

    /// How the payment differs from what the provider has of it; none when it does not, or an earlier attempt is meant.
    pub fn differs(&self, theirs: &Snapshot) -> Option<Difference> {
        if self.old_references.contains(&theirs.reference) {
            return None;
        }
        let Ok(next) = self.observe(theirs) else { return Some(Difference::Amount) };
        let amounts = |payment: &Self| (payment.authorized, payment.captured, payment.refunded);
        let ahead = self.captured > theirs.received || next.refunded != theirs.refunded;
        if amounts(&next) != amounts(self) || ahead {
            Some(Difference::Amount)
        } else {
            (next.state() != self.state()).then_some(Difference::State)
        }
    }
}
