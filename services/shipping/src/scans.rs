//! How a parcel moves: by rank, forward only, whatever order the carrier's scans come in (TRK-04).

use serde::Deserialize;

/// State of a shipment, in the order of its life; the figures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "i16")]
pub(crate) enum State {
    Created = 1,
    Labeled = 2,
    Shipped = 3,
    InTransit = 4,
    OutForDelivery = 5,
    Delivered = 6,
}

/// A stored figure is not a state.
#[derive(Debug, thiserror::Error)]
#[error("not the figure of a state")]
pub(crate) struct UnknownState;

impl TryFrom<i16> for State {
    type Error = UnknownState;

    fn try_from(figure: i16) -> Result<Self, UnknownState> {
        Ok(match figure {
            1 => Self::Created,
            2 => Self::Labeled,
            3 => Self::Shipped,
            4 => Self::InTransit,
            5 => Self::OutForDelivery,
            6 => Self::Delivered,
            _ => return Err(UnknownState),
        })
    }
}

/// The state that a carrier's code stands for; `None` for a code that we do not know.
pub(crate) fn meaning(code: &str) -> Option<State> {
    Some(match code {
        // It has left; that it moves is what the next scan says.
        "PICKED_UP" => State::Shipped,
        "IN_TRANSIT" => State::InTransit,
        "OUT_FOR_DELIVERY" => State::OutForDelivery,
        "DELIVERED" => State::Delivered,
        _ => return None,
    })
}

/// The state that all scans so far move a parcel to; `None` when it stays.
///
/// Before the parcel has left our books nothing moves: scans that come early wait until it has.
pub(crate) fn fold<'a>(now: State, codes: impl IntoIterator<Item = &'a str>) -> Option<State> {
    if now < State::Shipped {
        return None;
    }
    codes.into_iter().filter_map(meaning).max().filter(|furthest| now < *furthest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [State; 6] =
        [State::Created, State::Labeled, State::Shipped, State::InTransit, State::OutForDelivery, State::Delivered];
    const CODES: [&str; 5] = ["PICKED_UP", "IN_TRANSIT", "OUT_FOR_DELIVERY", "DELIVERED", "CUSTOMS_PARTY"];

    #[test]
    fn trk_04_a_late_older_scan_never_moves_a_parcel_back() {
        assert_eq!(fold(State::Delivered, ["IN_TRANSIT"]), None);
        assert_eq!(fold(State::OutForDelivery, ["PICKED_UP", "IN_TRANSIT"]), None);
        assert_eq!(fold(State::Shipped, ["DELIVERED", "IN_TRANSIT"]), Some(State::Delivered));
    }

    #[test]
    fn scans_before_the_parcel_left_our_books_wait() {
        assert_eq!(fold(State::Created, ["DELIVERED"]), None);
        assert_eq!(fold(State::Labeled, ["DELIVERED"]), None);
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
        fn trk_04_the_order_and_number_of_scans_do_not_matter(
            now in prop::sample::select(&STATES[..]),
            codes in prop::collection::vec(prop::sample::select(&CODES[..]), 0..8),
        ) {
            let moved = fold(now, codes.iter().copied());
            let backwards: Vec<&str> = codes.iter().rev().chain(&codes).copied().collect();
            prop_assert_eq!(moved, fold(now, backwards));
            if let Some(state) = moved {
                prop_assert!(now < state);
                prop_assert_eq!(fold(state, codes.iter().copied()), None);
            }
        }
    }
}
