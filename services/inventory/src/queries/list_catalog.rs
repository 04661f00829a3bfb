//! What may be bought now, in pages by SKU (INV-08).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::{Page, cut};
use crate::commands::Inventory;
use crate::store::{self, Shown};

const LIST: &[u8] = b"catalog";

impl Inventory {
    /// A page of the storefront and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_catalog(&self, ctx: &Ctx, page: Page) -> Result<(Vec<Shown>, String), Fault> {
        let (tenant, size) = (ctx.tenant, page.size);
        let cursor = self.pages.open(tenant, LIST, &page.token)?.unwrap_or_default();
        let after = String::from_utf8(cursor).map_err(Fault::internal)?;
        let page = self
            .pg
            .read("inventory.list_catalog", tenant, move |conn| {
                let after = after.clone();
                async move { store::catalog_page(conn, tenant, &after, size + 1).await }.boxed()
            })
            .await?;
        let (shown, more) = cut(page, size);
        let last = shown.last().filter(|_| more);
        let token = last.map(|last| self.pages.seal(tenant, LIST, last.product.content.sku.as_bytes()));
        Ok((shown, token.unwrap_or_default()))
    }
}
