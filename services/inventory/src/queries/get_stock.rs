//! What may be sold of products now (INV-01).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;

use super::{Page, cut, no_product};
use crate::commands::Inventory;
use crate::news::Settings;
use crate::store::{self, Stock};

/// A page of stock as somebody asks for it.
#[derive(Debug, Clone)]
pub struct ListStock {
    /// The page.
    pub page: Page,
    /// Only what is below the threshold.
    pub low: bool,
}

impl Inventory {
    /// Stock of a product; one round trip.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND.
    pub async fn get_stock(&self, ctx: &Ctx, sku: &str) -> Result<Stock, Fault> {
        let found = store::stocks(&self.pg, ctx.tenant, vec![sku.to_owned()]).await?;
        found.into_iter().next().ok_or_else(|| no_product(sku))
    }

    /// Stock of those products that exist, by SKU; one round trip.
    ///
    /// # Errors
    /// Of the database.
    pub async fn batch_get_stock(&self, ctx: &Ctx, skus: Vec<String>) -> Result<Vec<Stock>, Fault> {
        Ok(store::stocks(&self.pg, ctx.tenant, skus).await?)
    }

    /// A page of goods and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_stock(&self, ctx: &Ctx, list: ListStock) -> Result<(Vec<Stock>, String), Fault> {
        let ListStock { page: Page { size, token }, low } = list;
        let tenant = ctx.tenant;
        let filter = format!("stock:{low}");
        let cursor = self.pages.open(tenant, filter.as_bytes(), &token)?.unwrap_or_default();
        let after = String::from_utf8(cursor).map_err(Fault::internal)?;
        let page = self
            .pg
            .read("inventory.list_stock", tenant, move |conn| {
                let after = after.clone();
                async move { store::stock_page(conn, tenant, &after, low, size + 1).await }.boxed()
            })
            .await?;
        let (stocks, more) = cut(page, size);
        let last = stocks.last().filter(|_| more);
        let token = last.map(|last| self.pages.seal(tenant, filter.as_bytes(), last.sku.as_bytes()));
        Ok((stocks, token.unwrap_or_default()))
    }

    /// When stock of the tenant is low (INV-07).
    ///
    /// # Errors
    /// Of the database.
    pub async fn settings(&self, ctx: &Ctx) -> Result<Settings, Fault> {
        let tenant = ctx.tenant;
        Ok(self.pg.read("inventory.settings", tenant, move |conn| store::settings(conn, tenant).boxed()).await?)
    }
}
