//! When a message that did not get out is tried again (NOT-05).

use std::time::Duration;

/// Pauses that double, and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Pause after the first try.
    pub first: Duration,
    /// Longest pause.
    pub longest: Duration,
    /// Tries after which a person must ask for more.
    pub tries: i32,
}

impl Retry {
    /// Most of three hours: an evening's outage of a mail server costs nobody a message.
    pub(crate) const DEFAULT: Self =
        Self { first: Duration::from_secs(2), longest: Duration::from_secs(900), tries: 20 };

    /// The pause behind a try, from 1; `None` when that was the last. `chance` is drawn from 0 to 1, so that messages that
    /// failed together do not come back together.
    pub(crate) fn pause(&self, tries: i32, chance: f64) -> Option<Duration> {
        if tries >= self.tries {
            return None;
        }
        let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(30);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        Some(whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn not_05_pauses_double_up_to_the_longest_and_end() {
        let retry = Retry { first: Duration::from_secs(2), longest: Duration::from_secs(10), tries: 5 };
        let pauses: Vec<_> = (1..=5).map(|tries| retry.pause(tries, 1.0).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(2), Some(4), Some(8), Some(10), None]);
    }

    proptest! {
        #[test]
        fn not_05_chance_takes_away_at_most_half_of_a_pause(tries in 1..20_i32, chance in 0.0..=1.0_f64) {
            let retry = Retry::DEFAULT;
            let (whole, drawn) = (retry.pause(tries, 1.0), retry.pause(tries, chance));
            prop_assert_eq!(whole.is_some(), drawn.is_some());
            if let (Some(whole), Some(drawn)) = (whole, drawn) {
                prop_assert!(drawn <= whole && drawn >= whole / 2 && whole <= retry.longest);
            }
        }
    }
}
