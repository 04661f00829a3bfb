//! Notification: what customers are told about their orders, once each, by e-mail (NOT-01, ORD-33).
//!
//! Stores one message per cause (an order, a parcel, a refund) and what became of each try to send it; neither addresses
//! nor texts. Publishes `NotificationSent` and `NotificationFailed`. Nobody waits for it: events make messages due, in
//! the transaction of the inbox row, and a job sends what is due. Only then it asks order what to write and identity to
//! whom, so that nothing personal lies here.

mod api;
mod channels;
mod engine;
mod events;
mod handlers;
mod letter;
mod model;
mod mount;
mod retry;
mod store;

pub use mount::mount;

/// The service's tables and functions.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/notification");

#[cfg(test)]
mod tests;
