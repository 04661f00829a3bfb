//! Messages to values and back.

use std::str::FromStr;

use contract::notification::v1 as pb;
use fault::Fault;
use ids::{IdError, MessageId};
use jiff::Timestamp;

use super::list::{List, Page};
use crate::model::{Attempt, Kind, Message, State};
use crate::store::Filter;

pub(crate) fn message_id(text: &str) -> Result<MessageId, Fault> {
    id("message_id", text)
}

fn id<T: FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error: IdError| Fault::invalid(field, "INVALID_ID", error.to_string()))
}

fn wanted<T: FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<Option<T>, Fault> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

pub(crate) fn list(request: pb::ListMessagesRequest) -> Result<List, Fault> {
    let filter = Filter {
        order: wanted("order_id", &request.order_id)?,
        customer: wanted("customer_id", &request.customer_id)?,
        state: match pb::MessageState::try_from(request.state) {
            Ok(pb::MessageState::Unspecified) => None,
            Ok(pb::MessageState::Pending) => Some(State::Pending),
            Ok(pb::MessageState::Sent) => Some(State::Sent),
            Ok(pb::MessageState::Failed) => Some(State::Failed),
            Err(_) => return Err(Fault::invalid("state", "STATE_INVALID", "PENDING, SENT or FAILED")),
        },
    };
    Ok(List { size: serve::page::size(request.page_size)?, token: request.page_token, filter })
}

pub(crate) fn page(page: Page) -> pb::ListMessagesResponse {
    pb::ListMessagesResponse { messages: page.messages.iter().map(message).collect(), next_page_token: page.next }
}

pub(crate) fn message(message: &Message) -> pb::Message {
    let next = (message.state == State::Pending).then_some(message.due_at);
    pb::Message {
        id: message.id().to_string(),
        kind: kind(message.kind).into(),
        channel: pb::MessageChannel::Email.into(),
        state: state(message.state).into(),
        order_id: message.order().to_string(),
        customer_id: message.customer().to_string(),
        attempt_count: message.attempts,
        attempts: message.log.iter().map(attempt).collect(),
        next_try_time: next.map(timestamp),
        create_time: Some(timestamp(message.created_at)),
        sent_time: message.sent_at.map(timestamp),
    }
}

fn attempt(attempt: &Attempt) -> pb::Attempt {
    pb::Attempt { attempt: attempt.attempt, outcome: attempt.outcome.clone(), occur_time: Some(timestamp(attempt.at)) }
}

pub(crate) fn kind(kind: Kind) -> pb::MessageKind {
    match kind {
        Kind::OrderConfirmation => pb::MessageKind::OrderConfirmation,
        Kind::ShipmentTracking => pb::MessageKind::ShipmentTracking,
        Kind::Delivery => pb::MessageKind::Delivery,
        Kind::Cancellation => pb::MessageKind::Cancellation,
        Kind::Refund => pb::MessageKind::Refund,
    }
}

fn state(state: State) -> pb::MessageState {
    match state {
        State::Pending => pb::MessageState::Pending,
        State::Sent => pb::MessageState::Sent,
        State::Failed => pb::MessageState::Failed,
    }
}

fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
