//! One product, with whether it may be bought now (INV-08, INV-13).

use ctx::Ctx;
use fault::Fault;

use super::no_product;
use crate::commands::Inventory;
use crate::store::{self, Shown};

impl Inventory {
    /// A product by SKU, sold out or not.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND.
    pub async fn get_product(&self, ctx: &Ctx, sku: String) -> Result<Shown, Fault> {
        store::shown(&self.pg, ctx.tenant, &sku).await?.ok_or_else(|| no_product(&sku))
    }
}
