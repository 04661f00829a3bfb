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

use fault::Fault;
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

/// How often a decision is made when somebody else changes the order at the same moment (ORD-36).
const TURNS: usize = 4;

/// Whether the order moved under a decision, which is then made again on the order as it is now: a caller who named a
/// version hears that it is stale, as if he had come a moment later.
fn overtaken<T>(decided: &Result<T, Fault>) -> bool {
    decided.as_ref().is_err_and(|fault| fault.reason() == "VERSION_CONFLICT")
}
