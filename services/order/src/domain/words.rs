//! Which states the words of the three vocabularies stand for (requirements 1.20).

use contract::order::v1::OrderState;

use crate::domain::state::{GIVEN_UP, is_lock, lifecycle, retail};

/// Words of states that somebody looks for, in one vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The words as the vocabulary writes them.
    pub words: Vec<&'static str>,
    /// States whose word it may be.
    pub states: Vec<OrderState>,
}

/// The state in detailed words (seed B); a draft has none, nor has a lock.
pub fn detailed(state: OrderState) -> &'static str {
    use OrderState as S;
    match state {
        S::Unspecified | S::Draft | S::CancellationPending | S::ChangePending => "",
        S::Pending => "PENDING",
        S::PaymentProcessing | S::PaymentActionRequired | S::PaymentReview => "PAYMENT_PROCESSING",
        S::PaymentCompleted => "PAYMENT_COMPLETED",
        S::PaymentFailed => "PAYMENT_FAILED",
        S::FulfillmentPending => "FULFILLMENT_PENDING",
        S::FulfillmentInProgress | S::PartiallyShipped => "FULFILLMENT_IN_PROGRESS",
        S::Shipped | S::PartiallyDelivered => "SHIPPED",
        S::Delivered => "DELIVERED",
        S::Cancelled | S::Failed => "CANCELLED",
        S::Refunded => "REFUNDED",
    }
}

/// One of the three vocabularies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// Seed B.
    Detailed,
    /// Seed C.
    Retail,
    /// Seed E.
    Lifecycle,
}

impl Vocabulary {
    /// The word of a state.
    pub fn word(self, state: OrderState) -> &'static str {
        match self {
            Self::Detailed => detailed(state),
            Self::Retail => retail(state, None),
            Self::Lifecycle => lifecycle(state),
        }
    }

    /// Whether an order in a state may have one of these words: a lock keeps the word of the state before, and a failed
    /// payment ends as a cancelled order once it may not be tried again.
    fn may_be(self, state: OrderState, words: &[&'static str]) -> bool {
        let ends = self == Self::Retail && state == OrderState::PaymentFailed && words.contains(&GIVEN_UP);
        is_lock(state) || ends || words.contains(&self.word(state))
    }

    /// Its words, each once.
    pub fn words(self) -> Vec<&'static str> {
        let mut words: Vec<_> = all().map(|state| self.word(state)).filter(|word| !word.is_empty()).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// What a text means, whatever its case and whether words are joined by blanks or underscores.
    pub fn read(self, text: &str) -> Option<&'static str> {
        let plain = |text: &str| text.replace('_', " ").to_lowercase();
        self.words().into_iter().find(|word| plain(word) == plain(text))
    }

    /// States that may have one of these words.
    pub fn wanted(self, mut words: Vec<&'static str>) -> Wanted {
        words.sort_unstable();
        words.dedup();
        let states = all().filter(|state| self.may_be(*state, &words)).collect();
        Wanted { words, states }
    }
}

fn all() -> impl Iterator<Item = OrderState> {
    (1..).map_while(|number| OrderState::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ord_06_each_vocabulary_has_the_words_of_its_seed() {
        let detailed = Vocabulary::Detailed.words();
        assert_eq!(detailed.len(), 10, "seven states and three alternates: {detailed:?}");
        let retail = ["Cancelled", "Delivered", "Draft", "Paid", "Pending Payment", "Processing", "Shipped"];
        assert_eq!(Vocabulary::Retail.words(), retail);
        let lifecycle = ["Cancelled", "Completed", "Confirmed", "Failed", "Pending", "Processing"];
        assert_eq!(Vocabulary::Lifecycle.words(), lifecycle);
    }

    #[test]
    fn a_word_is_understood_in_any_spelling() {
        for text in ["Pending Payment", "PENDING_PAYMENT", "pending payment"] {
            assert_eq!(Vocabulary::Retail.read(text), Some("Pending Payment"));
        }
        assert_eq!(Vocabulary::Retail.read("Confirmed"), None);
        assert_eq!(Vocabulary::Detailed.read(""), None);
        assert_eq!(Vocabulary::Detailed.read("shipped"), Some("SHIPPED"));
    }

    #[test]
    fn every_state_that_has_a_word_is_found_by_it_and_locks_by_all() {
        for vocabulary in [Vocabulary::Detailed, Vocabulary::Retail, Vocabulary::Lifecycle] {
            for word in vocabulary.words() {
                let wanted = vocabulary.wanted(vec![word, word]);
                assert_eq!(wanted.words, [word]);
                for state in all() {
                    let found = wanted.states.contains(&state);
                    let ends =
                        (vocabulary, state, word) == (Vocabulary::Retail, OrderState::PaymentFailed, "Cancelled");
                    assert_eq!(found, is_lock(state) || ends || vocabulary.word(state) == word, "{word} {state:?}");
                }
            }
        }
    }
}
