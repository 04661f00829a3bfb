//! What one can do with orders, one use case per file.

pub mod batch_create;
pub mod cancel_order;
pub mod cancel_saga;
pub mod care;
pub mod change_order;
pub mod change_saga;
pub mod check_customer;
pub mod complete_service;
pub mod create_order;
pub mod draft_order;
pub mod find_orders;
pub mod freshness;
pub mod get_order;
pub mod get_saga;
mod give_back;
pub mod lapse_saga;
pub mod operate_saga;
pub mod order_change;
pub mod order_history;
mod place_payment;
mod place_risk;
pub mod place_saga;
pub mod quote_order;
pub mod reactions;
pub mod renew_saga;
pub mod renew_subscription;
pub mod retry_payment;
pub mod rounds;
pub mod show;
pub mod subscribe;
pub mod update_order;
pub mod verify_order;
pub mod view_order;
pub mod warehouse_cancelled;
pub mod watch_order;

use fault::Fault;
use pg::Pg;
use serve::Boot;
use serve::page::Pages;

use crate::infra::catalog::Catalog;
use crate::infra::placements::Placements;
use crate::infra::seal::Safe;
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
    /// The saga of a placed order.
    pub place: saga::Definition,
    /// The saga of a later round of paying it.
    pub pay_again: saga::Definition,
    /// The saga of a cancellation.
    pub cancel: saga::Definition,
    /// The saga of a change.
    pub change: saga::Definition,
    /// The saga of a hold that ends too early.
    pub renew: saga::Definition,
    /// The saga of a payment that failed.
    pub lapse: saga::Definition,
    /// The saga of what a warehouse cancelled by itself while other parts went on.
    pub shortfall: saga::Definition,
    /// Page tokens.
    pub pages: Pages,
    /// What seals and opens personal data and tokens.
    pub safe: Safe,
}

impl App {
    /// What the use cases work with in a process.
    ///
    /// # Errors
    /// Internal for master keys that are none.
    pub fn new(boot: &Boot, pg: &Pg) -> Result<Self, Fault> {
        let safe = Safe::new(boot, pg)?;
        let (store, peers) = (Store::new(pg.clone()), boot.peers.clone());
        let catalog = Catalog::new(peers.clone());
        let steps = place_saga::Steps { store: store.clone(), catalog: catalog.clone(), peers, safe: safe.clone() };
        let (place, pay_again) = (place_saga::definition(&steps), rounds::definition(&steps));
        let (cancel, renew) = (cancel_saga::definition(&steps), renew_saga::definition(&steps));
        let (change, shortfall) = (change_saga::definition(&steps), warehouse_cancelled::definition());
        let lapse = lapse_saga::definition(&steps);
        let placements = Placements::new(pg.clone(), place.clone());
        let pages = boot.pages();
        Ok(Self { store, catalog, placements, place, pay_again, cancel, change, renew, lapse, shortfall, pages, safe })
    }
}

/// How often a decision is made when somebody else changes the order at the same moment (ORD-36).
const TURNS: usize = 4;

/// Whether the order moved under a decision, which is then made again on the order as it is now: a caller who named a
/// version hears that it is stale, as if he had come a moment later.
fn overtaken<T>(decided: &Result<T, Fault>) -> bool {
    decided.as_ref().is_err_and(|fault| fault.reason() == "VERSION_CONFLICT")
}
