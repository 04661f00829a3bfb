//! Products, warehouses, stock and reservations.
//!
//! **What do we store?** The catalog with prices, warehouses, the stock of each SKU per warehouse with the ledger it is
//! the sum of, and what is set aside for orders. **What do we publish?** `ProductChanged`, `StockReserved`,
//! `StockReservationConfirmed`, `StockReservationReleased`, `StockConsumed`, `StockAdjusted`. **Whom do we call?** Nobody.
//!
//! Every change of stock goes through its row under lock and leaves a line in the ledger in the same transaction; what
//! is decided between lock and write is pure (`stock.rs`, `reservation.rs`).

mod api;
mod commands;
mod handlers;
mod product;
mod queries;
mod reservation;
pub mod seed;
mod stock;
mod store;

use fault::Fault;
use futures::FutureExt;
use outbox::Relay;
use pg::{Pg, Target};
use serve::{Boot, Job, Mount};

pub use commands::{AdjustStock, ConsumeReservation, Inventory, ReserveStock, UpdateProduct};
pub use product::{Address, NewProduct, Product, Warehouse};
pub use queries::{ListMovements, Page};
pub use reservation::{Allocation, Reservation, State};
pub use stock::{Demand, TooMany, sum};
pub use store::{Movement, StockLevel};

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
    let relay = Job::new("inventory.relay", move |cancel| Relay::new(pg.clone()).run(cancel).boxed());
    let jobs = vec![relay, handlers::sweeper(inventory.clone())];
    Ok(Mount { name: "inventory", routes: api::routes(inventory), jobs })
}
