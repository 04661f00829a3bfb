//! One product (INV-13).

use ctx::Ctx;
use fault::Fault;

use super::no_product;
use crate::commands::Inventory;
use crate::product::Product;
use crate::store;

impl Inventory {
    /// A product by SKU.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND.
    pub async fn get_product(&self, ctx: &Ctx, sku: String) -> Result<Product, Fault> {
        let found = store::products(&self.pg, ctx.tenant, vec![sku.clone()]).await?;
        found.into_iter().next().ok_or_else(|| no_product(&sku))
    }
}
