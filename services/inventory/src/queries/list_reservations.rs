//! Reservations in pages, by order (INV-04).

use ctx::Ctx;
use fault::Fault;
use futures::FutureExt;
use ids::OrderId;
use uuid::Uuid;

use super::{Page, cut};
use crate::commands::Inventory;
use crate::reservation::{Reservation, State};
use crate::store;

/// A page of reservations as somebody asks for it.
#[derive(Debug, Clone)]
pub struct ListReservations {
    /// The page.
    pub page: Page,
    /// Only those in this state.
    pub state: Option<State>,
    /// Only those with units of this product; empty = all.
    pub sku: String,
}

impl Inventory {
    /// A page of reservations and the token of the next, empty at the end.
    ///
    /// # Errors
    /// Invalid PAGE_TOKEN_INVALID.
    pub async fn list_reservations(
        &self,
        ctx: &Ctx,
        list: ListReservations,
    ) -> Result<(Vec<Reservation>, String), Fault> {
        let ListReservations { page: Page { size, token }, state, sku } = list;
        let tenant = ctx.tenant;
        let filter = format!("reservations:{}:{sku}", state.map_or("", State::as_str));
        let cursor = self.pages.open(tenant, filter.as_bytes(), &token)?;
        let after = cursor.map(|cursor| Uuid::from_slice(&cursor)).transpose().map_err(Fault::internal)?;
        let page = self
            .pg
            .read("inventory.list_reservations", tenant, move |conn| {
                let sku = sku.clone();
                let after = after.map(OrderId::from_uuid);
                async move { store::reservation_page(conn, tenant, after, (state, &sku), size + 1).await }.boxed()
            })
            .await?;
        let (found, more) = cut(page, size);
        let last = found.last().filter(|_| more);
        let token = last.map(|last| self.pages.seal(tenant, filter.as_bytes(), last.order.uuid().as_bytes()));
        Ok((found, token.unwrap_or_default()))
    }
}
