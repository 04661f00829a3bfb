//! A message as it is stored.

use ctx::Cause;
use ids::{MessageId, OrderId, UserId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a message is about; the figures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "i16")]
pub(crate) enum Kind {
    OrderConfirmation = 1,
    ShipmentTracking = 2,
    Delivery = 3,
    Cancellation = 4,
    Refund = 5,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Self; 5] =
        [Self::OrderConfirmation, Self::ShipmentTracking, Self::Delivery, Self::Cancellation, Self::Refund];
}

/// Where a message stands; the figures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i16")]
pub(crate) enum State {
    Pending = 1,
    Sent = 2,
    Failed = 3,
}

/// A stored figure means nothing.
#[derive(Debug, thiserror::Error)]
#[error("not a figure of this enumeration")]
pub(crate) struct UnknownFigure;

impl TryFrom<i16> for Kind {
    type Error = UnknownFigure;

    fn try_from(figure: i16) -> Result<Self, UnknownFigure> {
        Self::ALL.into_iter().find(|kind| *kind as i16 == figure).ok_or(UnknownFigure)
    }
}

impl TryFrom<i16> for State {
    type Error = UnknownFigure;

    fn try_from(figure: i16) -> Result<Self, UnknownFigure> {
        [Self::Pending, Self::Sent, Self::Failed].into_iter().find(|state| *state as i16 == figure).ok_or(UnknownFigure)
    }
}

/// What an event said and the order does not say by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parcel: Option<Parcel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refunded: Option<Amount>,
}

/// A parcel that left or arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    /// Empty when the event did not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub carrier: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tracking_number: String,
    /// Numbers of the order's lines, and units.
    pub lines: Vec<(i32, i32)>,
}

/// Money as others have checked it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Amount {
    pub currency: String,
    pub minor: i64,
}

/// Something that a customer is told once.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    id: Uuid,
    order: Uuid,
    customer: Uuid,
    pub kind: Kind,
    pub facts: Facts,
    /// What led to it.
    pub trace: Cause,
    pub state: State,
    /// Tries of all times.
    pub attempts: i32,
    /// Tries since it was last put in line.
    pub tries: i32,
    pub due_at: Timestamp,
    pub created_at: Timestamp,
    pub sent_at: Option<Timestamp>,
    /// The tries, oldest first; only of a single message.
    #[serde(default)]
    pub log: Vec<Attempt>,
}

impl Message {
    /// Its id, which is also in the Message-ID of the mail.
    pub(crate) fn id(&self) -> MessageId {
        MessageId::from_uuid(self.id)
    }

    pub(crate) fn order(&self) -> OrderId {
        OrderId::from_uuid(self.order)
    }

    pub(crate) fn customer(&self) -> UserId {
        UserId::from_uuid(self.customer)
    }
}

/// A try to send a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Attempt {
    pub attempt: i32,
    pub outcome: String,
    pub at: Timestamp,
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The mail server took it.
    Sent,
    /// Not this time.
    Later(String),
    /// Trying again would change nothing.
    Never(String),
}

impl Outcome {
    /// SENT, or why not.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Sent => "SENT",
            Self::Later(reason) | Self::Never(reason) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_states_are_stored_as_their_figures() {
        for kind in Kind::ALL {
            assert_eq!(Kind::try_from(kind as i16).ok(), Some(kind));
        }
        for state in [State::Pending, State::Sent, State::Failed] {
            assert_eq!(State::try_from(state as i16).ok(), Some(state));
        }
        assert!(Kind::try_from(0).is_err() && Kind::try_from(6).is_err() && State::try_from(4).is_err());
    }
}
