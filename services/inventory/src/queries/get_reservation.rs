//! What is set aside for an order (INV-04).

use ctx::Ctx;
use fault::Fault;
use ids::OrderId;

use crate::commands::{Inventory, no_reservation};
use crate::reservation::Reservation;
use crate::store;

impl Inventory {
    /// The reservation of an order.
    ///
    /// # Errors
    /// NotFound RESERVATION_NOT_FOUND.
    pub async fn get_reservation(&self, ctx: &Ctx, order: OrderId) -> Result<Reservation, Fault> {
        store::lookup(&self.pg, ctx.tenant, order).await?.ok_or_else(|| no_reservation(order))
    }
}
