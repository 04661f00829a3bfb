//! What one can do with orders, one use case per file.

pub mod cancel_order;
pub mod create_order;
pub mod get_order;
pub mod get_saga;
pub mod list_orders;
pub mod order_history;
pub mod place_saga;
pub mod quote_order;
pub mod reactions;
pub mod update_order;
pub mod verify_order;
pub mod watch_order;

use serve::page::Pages;

use crate::infra::catalog::Catalog;
use crate::infra::placements::Placements;
use crate::infra::store::Store;

/// What the use cases work with.
#[derive(Clone, Debug)]
pub struct App {
    /// Orders in the database.
    pub store: Store,
    /// Copies of products and policy.
    pub catalog: Catalog,
    /// The way into the database for new orders.
    pub placements: Placements,
    /// Page tokens.
    pub pages: Pages,
}
