//! What may be sold of a product now (INV-01).

use ctx::Ctx;
use fault::Fault;

use super::no_product;
use crate::commands::Inventory;
use crate::store::{self, StockLevel};

impl Inventory {
    /// Stock by warehouse, the first to be used first; one round trip.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND.
    pub async fn get_stock(&self, ctx: &Ctx, sku: &str) -> Result<Vec<StockLevel>, Fault> {
        store::level_list(&self.pg, ctx.tenant, sku).await?.ok_or_else(|| no_product(sku))
    }
}
