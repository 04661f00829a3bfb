//! What we publish.

use contract::Event;
use contract::notification::v1 as pb;
use eventlog::NewEvent;

use crate::api::wire;
use crate::model::{Message, Outcome};

fn event<E: Event>(event: &E) -> NewEvent {
    NewEvent::new(E::TYPE, E::TOPIC, event.encode_to_vec())
}

/// What the end of a message's tries is published as; nothing while it is tried again.
pub(crate) fn ended(message: &Message, outcome: &Outcome, again: bool) -> Option<NewEvent> {
    match outcome {
        Outcome::Sent => Some(sent(message)),
        Outcome::Later(_) if again => None,
        Outcome::Later(reason) | Outcome::Never(reason) => Some(failed(message, reason)),
    }
}

fn sent(message: &Message) -> NewEvent {
    event(&pb::NotificationSent {
        order_id: message.order().to_string(),
        message_id: message.id().to_string(),
        kind: wire::kind(message.kind).into(),
        channel: pb::MessageChannel::Email.into(),
        attempts: message.attempts,
    })
}

fn failed(message: &Message, reason: &str) -> NewEvent {
    event(&pb::NotificationFailed {
        order_id: message.order().to_string(),
        message_id: message.id().to_string(),
        kind: wire::kind(message.kind).into(),
        channel: pb::MessageChannel::Email.into(),
        attempts: message.attempts,
        reason: reason.to_owned(),
    })
}
