//! Adds a product to the catalog (INV-13).

use contract::inventory::v1 as pb;
use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use pg::Once;

use super::Inventory;
use crate::api::wire_catalog;
use crate::product::NewProduct;
use crate::store;

impl Inventory {
    /// Adds a product.
    ///
    /// # Errors
    /// AlreadyExists SKU_TAKEN.
    pub async fn create_product(&self, ctx: &Ctx, product: NewProduct) -> Result<Once<pb::Product>, Fault> {
        let (context, product) = (ctx.clone(), std::sync::Arc::new(product));
        Ok(self
            .pg
            .once("inventory.create_product", ctx, move |conn| {
                let (ctx, product) = (context.clone(), product.clone());
                async move { Ok(wire_catalog::product(store::add_product(conn, &ctx, &product).await?)) }.boxed()
            })
            .await?)
    }
}
