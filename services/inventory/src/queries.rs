//! What only looks, one use case per file.

mod batch_get_products;
mod get_product;
mod get_reservation;
mod get_stock;
mod get_warehouse;
mod list_catalog;
mod list_issues;
mod list_movements;
mod list_products;
mod list_reservations;
mod list_slots;
mod list_warehouses;
mod watch_stock;

use fault::Fault;

pub use get_stock::ListStock;
pub use list_issues::ListIssues;
pub use list_movements::ListMovements;
pub use list_reservations::ListReservations;
pub use list_slots::ListSlots;

/// A page as somebody asks for it.
#[derive(Debug, Clone)]
pub struct Page {
    /// Most rows.
    pub size: i64,
    /// Token of the page before; empty for the first.
    pub token: String,
}

pub(crate) fn no_product(sku: &str) -> Fault {
    Fault::not_found("PRODUCT_NOT_FOUND", "the tenant has no such product").with("sku", sku)
}

pub(crate) fn no_warehouse(code: &str) -> Fault {
    Fault::not_found("WAREHOUSE_NOT_FOUND", "the tenant has no such warehouse").with("code", code)
}

/// Splits one row too many off: whether there is a next page.
fn cut<T>(mut rows: Vec<T>, size: i64) -> (Vec<T>, bool) {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    (rows, more)
}
