//! Shipping: parcels, labels and carriers (SHP-01, SHP-08, SHP-09, TRK-04).
//!
//! Stores one shipment per packed fulfillment, its label, and every scan. Publishes `Shipment*` and `LabelPurchased`.
//! Calls payment (capture), inventory (consume, address of the warehouse), fulfillment (release) and the carrier, in the
//! order of the saga in `saga.rs`: a parcel leaves when its label is bought and its money is taken. Carriers push signed
//! scans and are asked when they are silent; a parcel only moves forward.

mod api;
mod carriers;
mod events;
mod handlers;
mod labels;
mod model;
mod mount;
mod polling;
mod saga;
mod scans;
mod store;
mod webhook;

pub use mount::mount;

/// The service's tables and functions.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/shipping");

#[cfg(test)]
mod tests;
