//! What an order is and may become; no async, no clock, no I/O.

pub mod event;
pub mod order;
pub mod parcels;
pub mod pricing;
pub mod rules;
pub mod state;
