//! Slots of a resource in pages, by start (INV-17).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use jiff::Timestamp;

use super::{Page, cut, no_product};
use crate::commands::Inventory;
use crate::store::{self, Slot};

/// A page of slots as somebody asks for it.
#[derive(Debug, Clone)]
pub struct ListSlots {
    /// The product, a resource.
    pub sku: String,
    /// The page.
    pub page: Page,
    /// Only those with a place left.
    pub free: bool,
}

impl Inventory {
    /// A page of slots that have not begun and the token of the next, empty at the end.
    ///
    /// # Errors
    /// NotFound PRODUCT_NOT_FOUND; Invalid PAGE_TOKEN_INVALID.
    pub async fn list_slots(&self, ctx: &Ctx, list: ListSlots) -> Result<(Vec<Slot>, String), Fault> {
        let ListSlots { sku, page: Page { size, token }, free } = list;
        let tenant = ctx.tenant;
        let filter = format!("slots:{sku}:{free}");
        let after: Option<(Timestamp, String)> = match self.pages.open(tenant, filter.as_bytes(), &token)? {
            Some(cursor) => Some(serde_json::from_slice(&cursor).map_err(Fault::internal)?),
            None => {
                store::shown(&self.pg, tenant, &sku).await?.ok_or_else(|| no_product(&sku))?;
                None
            }
        };
        let page = self
            .pg
            .read("inventory.list_slots", tenant, move |conn| {
                let (sku, after) = (sku.clone(), after.clone());
                async move { store::slot_page(conn, tenant, &sku, after.as_ref(), free, size + 1).await }.boxed()
            })
            .await?;
        let (slots, more) = cut(page, size);
        let last = slots.last().filter(|_| more).map(|last| (last.starts_at, last.slot_id.clone()));
        let cursor = last.map(|last| serde_json::to_vec(&last)).transpose().map_err(Fault::internal)?;
        let token = cursor.map(|cursor| self.pages.seal(tenant, filter.as_bytes(), &cursor));
        Ok((slots, token.unwrap_or_default()))
    }
}
