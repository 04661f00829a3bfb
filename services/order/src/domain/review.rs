//! An order whose risk a person looks at.

use contract::order::v1::OrderState;

use crate::domain::event::OrderEvent;
use crate::domain::order::{Order, Refusal};

impl Order {
    /// A person must look before money is taken, or before what is held counts (FRD-03, FRD-04).
    ///
    /// # Errors
    /// [`Refusal::Already`] when that is known, [`Refusal::State`].
    pub fn review_payment(&self) -> Result<Vec<OrderEvent>, Refusal> {
        Ok(vec![self.to(OrderState::PaymentReview, "")?])
    }

    /// He said yes: the payment goes on where it stopped.
    ///
    /// # Errors
    /// [`Refusal::Already`] when nobody had to look, [`Refusal::State`].
    pub fn resume_payment(&self) -> Result<Vec<OrderEvent>, Refusal> {
        Ok(vec![self.to(OrderState::PaymentProcessing, "")?])
    }
}
