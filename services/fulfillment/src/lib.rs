//! Fulfillment: what warehouses do for orders (FUL-01..03, FUL-12).
//!
//! Stores one row per order and warehouse with the last word of the warehouse system about it, and a mark per cancelled
//! order. Publishes `Fulfillment*` events. Calls the legacy warehouse system, over SOAP, and hands what
//! it counted to inventory (INV-11). That system cannot be
//! changed, must be polled, and repeats itself late and out of order, so every request carries our own reference and
//! every status is folded forward only.

mod api;
mod commands;
mod events;
mod model;
mod mount;
mod queries;
mod state;
mod store;
mod wms;

pub use mount::mount;

/// The service's tables and functions.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/fulfillment");

#[cfg(test)]
mod tests;
