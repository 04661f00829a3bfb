//! The catalog in pages, by SKU (INV-13).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::{Page, cut};
use crate::commands::Inventory;
use crate::product::Product;
use crate::store;

const LIST: &[u8] = b"products";

impl Inventory {
    /// A page of products and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_products(&self, ctx: &Ctx, page: Page) -> Result<(Vec<Product>, String), Fault> {
        let (tenant, size) = (ctx.tenant, page.size);
        let cursor = self.pages.open(tenant, LIST, &page.token)?.unwrap_or_default();
        let after = String::from_utf8(cursor).map_err(Fault::internal)?;
        let (products, more) = cut(
            self.pg
                .read("inventory.list_products", tenant, move |conn| {
                    let after = after.clone();
                    async move { store::product_page(conn, tenant, &after, size + 1).await }.boxed()
                })
                .await?,
            size,
        );
        let last = products.last().filter(|_| more);
        let token = last.map(|last| self.pages.seal(tenant, LIST, last.content.sku.as_bytes()));
        Ok((products, token.unwrap_or_default()))
    }
}
