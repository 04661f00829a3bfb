//! What people do to an order beside buying: notes, holds, ratings.

use contract::common::v1::Actor;
use contract::order::v1 as wire;
use contract::order::v1::OrderState;
use prost_types::Timestamp;

use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};

/// Notes of one order; the picture of an order must stay one that is read in one go.
pub const MAX_NOTES: usize = 100;

impl Order {
    /// Somebody notes something, in any state (ORD-47).
    ///
    /// # Errors
    /// [`Refusal::Full`] behind the hundredth.
    pub fn add_note(&self, text: &str, author: Actor, at: Timestamp) -> Result<Vec<OrderEvent>, Refusal> {
        if self.doc.notes.len() >= MAX_NOTES {
            return Err(Refusal::Full(MAX_NOTES, "notes"));
        }
        let (order_id, text, author) = (self.doc.id.clone(), text.to_owned(), Some(author));
        Ok(vec![OrderEvent::NoteAdded(wire::OrderNoteAdded { order_id, text, author, create_time: Some(at) })])
    }

    /// Fulfillment is not asked for until the hold is released.
    ///
    /// # Errors
    /// [`Refusal::Already`] when it is held, [`Refusal::State`] before it is placed and once a warehouse has it.
    pub fn hold(&self, reason: &str) -> Result<Vec<OrderEvent>, Refusal> {
        use OrderState as S;
        let waits = matches!(
            self.state(),
            S::Pending | S::PaymentProcessing | S::PaymentActionRequired | S::PaymentReview | S::PaymentCompleted
        );
        match (waits, self.doc.on_hold) {
            (false, _) => Err(Refusal::State(self.state())),
            (true, true) => Err(Refusal::Already),
            (true, false) => {
                let (order_id, reason) = (self.doc.id.clone(), reason.to_owned());
                Ok(vec![OrderEvent::Held(wire::OrderHeld { order_id, reason })])
            }
        }
    }

    /// Fulfillment goes on.
    ///
    /// # Errors
    /// [`Refusal::Already`] when it is not held.
    pub fn release(&self) -> Result<Vec<OrderEvent>, Refusal> {
        if !self.doc.on_hold {
            return Err(Refusal::Already);
        }
        Ok(vec![OrderEvent::Released(wire::OrderReleased { order_id: self.doc.id.clone() })])
    }

    /// The customer says how it was; a second word replaces the first.
    ///
    /// # Errors
    /// [`Refusal::Already`] for the same word again, [`Refusal::State`] before everything arrived.
    pub fn rate(&self, stars: i32, comment: &str, at: Timestamp) -> Result<Vec<OrderEvent>, Refusal> {
        if !matches!(self.state(), OrderState::Delivered | OrderState::Refunded) {
            return Err(Refusal::State(self.state()));
        }
        if self.doc.rating.as_ref().is_some_and(|known| known.stars == stars && known.comment == comment) {
            return Err(Refusal::Already);
        }
        let (order_id, comment) = (self.doc.id.clone(), comment.to_owned());
        Ok(vec![OrderEvent::Rated(wire::OrderRated { order_id, stars, comment, create_time: Some(at) })])
    }
}
