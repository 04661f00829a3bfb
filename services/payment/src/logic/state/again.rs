use money::Money;

use super::{Hold, MOST_ATTEMPTS, Payment, State};

impl Payment {
    /// The hold ends now, so that the next attempt can begin.
    #[must_use]
    pub fn given_up(&self) -> Self {
        Self { hold: Hold::Expired, ..self.clone() }
    }

    /// Whether another attempt may begin: nothing was taken or lingers, and the last one ended or is about to.
    pub fn may_begin_again(&self) -> bool {
        let ended = matches!(self.state(), State::Declined | State::Expired | State::Voided);
        let ending = self.state() == State::Authorized && self.hold != Hold::Open;
        let idle = !self.void_requested && !self.manual && self.captured == 0 && self.asked.is_some();
        idle && !self.lingers() && (ended || ending) && self.attempt < MOST_ATTEMPTS
    }

    /// Whether something of the present attempt is under way that the next one must not meet: a capture that may yet
    /// take from its hold, or a stray, from which a new hold at that provider could not be told (PAY-09).
    pub fn lingers(&self) -> bool {
        self.pending > 0 || self.stray.is_some()
    }

    /// What the next attempt asks for: all that was held, for its increments are needed as well.
    pub fn asked_again(&self) -> Option<Money> {
        self.asked.map(|asked| Money::new(asked.currency, asked.minor.max(self.authorized)))
    }
}
