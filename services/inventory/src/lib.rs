//! Products, warehouses, stock and reservations.
//!
//! **What do we store?** The catalog with prices, warehouses, the stock of each SKU per warehouse with the ledger it is
//! the sum of, slots of resources, what is set aside for orders, reports of issues, and what warehouses counted.
//! **What do we publish?** The events of `inventory_events.proto`. **Whom do we call?** Nobody.
//!
//! Every change of stock goes through its row under lock and leaves a line in the ledger in the same transaction; what
//! is decided between lock and write is pure (`stock.rs`, `reservation.rs`).

mod api;
mod commands;
mod counting;
mod handlers;
#[cfg(test)]
mod history;
mod news;
mod product;
mod queries;
mod reservation;
pub mod seed;
mod stock;
mod store;

use fault::Fault;
use futures::FutureExt;
use outbox::{Consumer, Retention};
use pg::{Pg, Target};
use serve::{Boot, Job, Mount};

pub use commands::*;
pub use counting::{Accuracy, Count, IssueKind, IssueState};
pub use news::{Availability, Settings};
pub use product::{Address, NewProduct, Product, ProductKind, Restrictions, Warehouse};
pub use queries::{ListIssues, ListMovements, ListReservations, ListSlots, ListStock, Page};
pub use reservation::{Allocation, Reservation, State};
pub use stock::{Demand, TooMany, slot_key, sum};
pub use store::{Issue, Movement, Shown, Slot, Stock, StockLevel};

/// Tables and functions of the schema `om_inventory`.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/inventory");

/// All that inventory offers and does.
///
/// # Errors
/// When the database's address cannot be used.
pub fn mount(boot: &Boot) -> Result<Mount, Fault> {
    let pg = Pg::connect("inventory", &Target::new(boot.database.clone()), boot.pool_size)?;
    let inventory = Inventory::new(pg.clone(), boot.pages());
    let (log, bus) = (pg.clone(), pg);
    let jobs = vec![
        Job::new("inventory.retention", move |cancel| Retention::new(log.clone()).run(cancel).boxed()),
        Job::new("inventory.consumer", move |cancel| {
            Consumer::new(bus.clone(), handlers::subscription()).run(cancel).boxed()
        }),
        handlers::sweeper(inventory.clone()),
        handlers::teller(inventory.clone()),
    ];
    Ok(Mount { name: "inventory", routes: api::routes(inventory), jobs })
}
