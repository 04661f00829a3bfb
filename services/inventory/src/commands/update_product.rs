//! Replaces a product's content (INV-13).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::Inventory;
use crate::product::{NewProduct, Product};
use crate::store;

/// A product as it shall be.
#[derive(Debug, Clone)]
pub struct UpdateProduct {
    /// The whole content.
    pub product: NewProduct,
    /// Version that the change is based on; none = whatever it is.
    pub based_on: Option<i32>,
}

impl Inventory {
    /// Replaces name, prices, tax class and weight.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, Aborted ETAG_MISMATCH.
    pub async fn update_product(&self, ctx: &Ctx, update: UpdateProduct) -> Result<Product, Fault> {
        let (context, update) = (ctx.clone(), std::sync::Arc::new(update));
        Ok(self
            .pg
            .tx("inventory.update_product", ctx.tenant, move |conn| {
                let (ctx, update) = (context.clone(), update.clone());
                async move { store::change_product(conn, &ctx, &update.product, update.based_on).await }.boxed()
            })
            .await?)
    }
}
