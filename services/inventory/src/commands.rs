//! What changes something, one use case per file.

mod adjust_stock;
pub(crate) mod allocate_reservation;
mod batch;
mod confirm_reservation;
pub(crate) mod consume_reservation;
mod create_product;
mod create_slot;
mod create_warehouse;
mod reconcile_stock;
mod release_reservation;
mod report_issue;
mod reserve_stock;
mod resize_reservation;
mod restock_units;
mod set_price;
mod transfer_stock;
mod update_product;
mod update_settings;

use fault::Fault;
use ids::{OrderId, TenantId};
use pg::{GroupCommit, Pg};
use serve::page::Pages;

pub use adjust_stock::AdjustStock;
pub use allocate_reservation::AllocateReservation;
pub(crate) use batch::everybodys;
pub(crate) use confirm_reservation::Confirm;
pub use consume_reservation::ConsumeReservation;
pub use create_slot::CreateSlot;
pub use reconcile_stock::{Difference, IngestSnapshot, Reconciliation};
pub(crate) use release_reservation::{ended, give_back};
pub use report_issue::{DecideIssue, ReportIssue};
pub(crate) use reserve_stock::Ask;
pub use reserve_stock::ReserveStock;
pub use resize_reservation::ResizeReservation;
pub use restock_units::RestockUnits;
pub use transfer_stock::TransferStock;
pub use update_product::UpdateProduct;

use crate::reservation::Reservation;

/// The use cases of inventory.
#[derive(Debug, Clone)]
pub struct Inventory {
    pub(crate) pg: Pg,
    pub(crate) pages: Pages,
    // Per tenant, so that a hot SKU's row is locked once per batch and not once per order (data.md H10).
    reserving: GroupCommit<TenantId, Ask, Reservation>,
    confirming: GroupCommit<TenantId, Confirm, Reservation>,
}

impl Inventory {
    /// Over a schema that is up to date.
    pub fn new(pg: Pg, pages: Pages) -> Self {
        let reserving = batch::group("inventory.reserve", pg.clone(), reserve_stock::run);
        let confirming = batch::group("inventory.confirm", pg.clone(), confirm_reservation::run);
        Self { pg, pages, reserving, confirming }
    }
}

pub(crate) fn no_reservation(order: OrderId) -> Fault {
    Fault::not_found("RESERVATION_NOT_FOUND", "nothing is set aside for this order").with("order_id", order)
}
