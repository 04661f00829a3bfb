//! Stand-ins for the outside world: payments, warehouse, carrier and mail, over real sockets.
//!
//! Each simulator listens on its own port and speaks the protocol of the system it replaces, so the
//! platform uses the same clients in tests as in production. Every accepted effect becomes one line of
//! an append-only ledger, which is what proofs of "exactly once" are read from. Common controls live
//! under `/_sim` of every HTTP listener: `ledger`, `calls`, `faults`, `speed`, `webhooks`, `reset`.
//!
//! State is in memory only: a restarted simulator forgets, its ledger files stay.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on must panic"))]

mod carrier;
mod connection;
mod control;
mod payments;
mod run;
mod smtp;
mod webhook;
mod wms;

pub use run::{Config, Ports, Simulators};
pub use webhook::WebhookEndpoint;
