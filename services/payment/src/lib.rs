//! Payments: the money of orders, held, taken, let go and given back once (PAY-01 to PAY-07, PAY-10, PAY-14).
//!
//! Three layers, each knowing only the one below and the pure state: `presentation` (gRPC) → `logic` (use cases) →
//! `data` (store, provider). Publishes `Payment*` and `RefundSucceeded`; calls nobody but the provider, over HTTPS.
//! A payment is a fold over what is known of it: reports may come twice, late, early or out of order. Every call that
//! moves money is written down before it is made, carries a key of ours and is found again after a crash.

mod data;
mod fraud;
mod logic;
mod mount;
mod presentation;

pub use mount::mount;

/// The service's tables and functions.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("../../migrations/payment");
