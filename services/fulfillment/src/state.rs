//! How a fulfillment moves: by rank, forward only, whatever order the warehouse system's words come in (FUL-12).

use serde::Deserialize;

/// State of a fulfillment, in the order of its life; the figures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "i16")]
pub(crate) enum State {
    Submitting = 1,
    Submitted = 2,
    Picking = 3,
    Packed = 4,
    Shipped = 5,
    Cancelled = 6,
}

/// A stored figure is not a state.
#[derive(Debug, thiserror::Error)]
#[error("not the figure of a state")]
pub(crate) struct UnknownState;

impl TryFrom<i16> for State {
    type Error = UnknownState;

    fn try_from(figure: i16) -> Result<Self, UnknownState> {
        Ok(match figure {
            1 => Self::Submitting,
            2 => Self::Submitted,
            3 => Self::Picking,
            4 => Self::Packed,
            5 => Self::Shipped,
            6 => Self::Cancelled,
            _ => return Err(UnknownState),
        })
    }
}

impl State {
    /// Whether the warehouse still may cancel: nothing has been picked.
    pub(crate) fn cancellable(self) -> bool {
        matches!(self, Self::Submitting | Self::Submitted)
    }

    /// Whether work has begun, so that a cancellation comes too late.
    pub(crate) fn begun(self) -> bool {
        matches!(self, Self::Picking | Self::Packed | Self::Shipped)
    }
}

/// A status as the warehouse system words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WmsStatus {
    Accepted,
    Picking,
    Packed,
    Shipped,
    Cancelled,
}

impl WmsStatus {
    /// Reads a status; `None` for one that we do not know.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ACCEPTED" => Self::Accepted,
            "PICKING" => Self::Picking,
            "PACKED" => Self::Packed,
            "SHIPPED" => Self::Shipped,
            "CANCELLED" => Self::Cancelled,
            _ => return None,
        })
    }
}

/// States that an open fulfillment passes because of what was heard, in order; empty when nothing is new.
///
/// Lines may be repeated, late and in any order: only the furthest counts. A state that was skipped is passed all the
/// same, so that whoever waits for it hears of it. SHIPPED counts as PACKED here: the parcel has left our books only
/// when we released it. CANCELLED is believed unless a line shows that the parcel was packed.
pub(crate) fn fold(now: State, heard: &[WmsStatus]) -> Vec<State> {
    if !matches!(now, State::Submitted | State::Picking) {
        return Vec::new();
    }
    let furthest = heard.iter().filter_map(|status| match status {
        WmsStatus::Accepted => Some(State::Submitted),
        WmsStatus::Picking => Some(State::Picking),
        WmsStatus::Packed | WmsStatus::Shipped => Some(State::Packed),
        WmsStatus::Cancelled => None,
    });
    let target = furthest.max().unwrap_or(now);
    if target < State::Packed && heard.contains(&WmsStatus::Cancelled) {
        return vec![State::Cancelled];
    }
    [State::Picking, State::Packed].into_iter().filter(|state| now < *state && *state <= target).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [State; 6] =
        [State::Submitting, State::Submitted, State::Picking, State::Packed, State::Shipped, State::Cancelled];
    const HEARD: [WmsStatus; 5] =
        [WmsStatus::Accepted, WmsStatus::Picking, WmsStatus::Packed, WmsStatus::Shipped, WmsStatus::Cancelled];

    #[test]
    fn ful_12_a_late_or_repeated_line_never_moves_a_fulfillment_back() {
        assert_eq!(fold(State::Picking, &[WmsStatus::Accepted, WmsStatus::Picking]), []);
        assert_eq!(fold(State::Packed, &[WmsStatus::Picking, WmsStatus::Cancelled]), []);
        assert_eq!(fold(State::Submitted, &[WmsStatus::Picking, WmsStatus::Accepted]), [State::Picking]);
    }

    #[test]
    fn ful_12_a_skipped_state_is_passed_all_the_same() {
        assert_eq!(fold(State::Submitted, &[WmsStatus::Packed]), [State::Picking, State::Packed]);
        assert_eq!(fold(State::Picking, &[WmsStatus::Shipped]), [State::Packed]);
    }

    #[test]
    fn a_cancellation_is_believed_unless_the_parcel_was_packed() {
        assert_eq!(fold(State::Submitted, &[WmsStatus::Cancelled]), [State::Cancelled]);
        assert_eq!(fold(State::Picking, &[WmsStatus::Picking, WmsStatus::Cancelled]), [State::Cancelled]);
        assert_eq!(fold(State::Picking, &[WmsStatus::Cancelled, WmsStatus::Packed]), [State::Packed]);
    }

    #[test]
    fn states_are_stored_as_their_figures() {
        for state in STATES {
            assert_eq!(State::try_from(state as i16).ok(), Some(state));
        }
        assert!(State::try_from(0).is_err() && State::try_from(7).is_err());
    }

    proptest! {
        #[test]
        fn ful_12_the_order_and_number_of_lines_do_not_matter(
            now in prop::sample::select(&STATES[..]),
            heard in prop::collection::vec(prop::sample::select(&HEARD[..]), 0..8),
        ) {
            let path = fold(now, &heard);
            let mut twice_backwards: Vec<_> = heard.iter().rev().copied().collect();
            twice_backwards.extend(&heard);
            prop_assert_eq!(&path, &fold(now, &twice_backwards));
            let mut last = now;
            for state in path {
                prop_assert!(last < state, "{:?} is not behind {:?}", state, last);
                last = state;
            }
            prop_assert_eq!(fold(last, &heard), vec![], "folding again changes nothing");
        }
    }
}
