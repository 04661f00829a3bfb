//! Reads an order; a customer sees only his own, and an order of somebody else is not there (AIP-131).

use ctx::Ctx;
use fault::Fault;
use ids::OrderId;

use crate::app::App;
use crate::domain::order::Order;
use crate::infra::store::not_found;

impl App {
    /// Reads an order that the caller may see.
    ///
    /// # Errors
    /// NotFound `ORDER_NOT_FOUND`.
    pub async fn get(&self, ctx: &Ctx, id: OrderId) -> Result<Order, Fault> {
        let order = self.store.get(ctx.tenant, id).await?;
        if visible(ctx, &order) { Ok(order) } else { Err(not_found(id)) }
    }
}

/// Whether the caller may know of an order.
pub fn visible(ctx: &Ctx, order: &Order) -> bool {
    let own = ctx.principal.user_id().is_some_and(|user| user.to_string() == order.doc.customer_id);
    own || !ctx.principal.is_customer_only()
}
