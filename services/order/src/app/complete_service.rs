//! A booked service was given: nothing left a warehouse, so nobody else says so (ORD-46).

use std::sync::Arc;

use contract::order::v1 as wire;
use ctx::Ctx;
use fault::Fault;

use crate::app::App;
use crate::app::change_order::Subject;
use crate::domain::order::Order;

impl App {
    /// Says that a booked service was given.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`; Precondition `ORDER_STATE_FORBIDS`; Aborted `ETAG_MISMATCH`.
    pub async fn complete_service(&self, ctx: &Ctx, subject: &Subject) -> Result<wire::Order, Fault> {
        Ok(self.change("order.complete_service", ctx, subject, Arc::new(Order::complete_service)).await?.response)
    }
}
