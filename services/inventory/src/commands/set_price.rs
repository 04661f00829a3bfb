//! Single changes of a product: its price in one currency, its end (INV-13).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use money::Money;

use super::Inventory;
use crate::product::Product;
use crate::store;

impl Inventory {
    /// Sets the price of one currency and leaves the others.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, Aborted ETAG_MISMATCH.
    pub async fn set_price(
        &self,
        ctx: &Ctx,
        sku: String,
        price: Money,
        based_on: Option<i32>,
    ) -> Result<Product, Fault> {
        let context = ctx.clone();
        Ok(self
            .pg
            .tx("inventory.set_price", ctx.tenant, move |conn| {
                let (ctx, sku) = (context.clone(), sku.clone());
                async move { store::set_price(conn, &ctx, &sku, price, based_on).await }.boxed()
            })
            .await?)
    }

    /// Takes a product out of sale; what is there, promised and written of it stays.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND, Aborted ETAG_MISMATCH.
    pub async fn delete_product(&self, ctx: &Ctx, sku: String, based_on: Option<i32>) -> Result<Product, Fault> {
        let context = ctx.clone();
        Ok(self
            .pg
            .tx("inventory.delete_product", ctx.tenant, move |conn| {
                let (ctx, sku) = (context.clone(), sku.clone());
                async move { store::retire_product(conn, &ctx, &sku, based_on).await }.boxed()
            })
            .await?)
    }
}
