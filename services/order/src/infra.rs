//! The outside of the onion: rows, other services, copies of their data.

pub mod cache;
pub mod catalog;
pub mod finder;
pub mod id_time;
pub mod placements;
pub mod replay;
pub mod seal;
pub mod store;
pub mod subscriptions;
