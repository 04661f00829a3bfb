//! The ledger of a product in pages, oldest line first (INV-09).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::{Page, cut};
use crate::commands::Inventory;
use crate::store::{self, Movement};

/// A page of a product's ledger as somebody asks for it.
#[derive(Debug, Clone)]
pub struct ListMovements {
    /// The product.
    pub sku: String,
    /// The page.
    pub page: Page,
}

impl Inventory {
    /// A page of lines and the token of the next, empty at the end.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND; Invalid PAGE_TOKEN_INVALID.
    pub async fn list_movements(&self, ctx: &Ctx, list: ListMovements) -> Result<(Vec<Movement>, String), Fault> {
        let (tenant, size) = (ctx.tenant, list.page.size);
        let filter = format!("movements:{}", list.sku);
        let after = match self.pages.open(tenant, filter.as_bytes(), &list.page.token)? {
            None => 0,
            Some(cursor) => i64::from_be_bytes(cursor.as_slice().try_into().map_err(Fault::internal)?),
        };
        let (lines, more) = cut(
            self.pg
                .read("inventory.list_movements", tenant, move |conn| {
                    let sku = list.sku.clone();
                    async move { store::movement_page(conn, tenant, &sku, after, size + 1).await }.boxed()
                })
                .await?,
            size,
        );
        let last = lines.last().filter(|_| more);
        let token = last.map(|last| self.pages.seal(tenant, filter.as_bytes(), &last.seq.to_be_bytes()));
        Ok((lines, token.unwrap_or_default()))
    }
}
