//! Products for the pricing of an order (INV-13).

use ctx::Ctx;
use fault::Fault;

use crate::commands::Inventory;
use crate::product::Product;
use crate::store;

impl Inventory {
    /// Those products that exist, by SKU.
    ///
    /// # Errors
    /// Of the database.
    pub async fn batch_get_products(&self, ctx: &Ctx, skus: Vec<String>) -> Result<Vec<Product>, Fault> {
        Ok(store::products(&self.pg, ctx.tenant, skus).await?)
    }
}
