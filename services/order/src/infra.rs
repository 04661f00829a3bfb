//! The outside of the onion: rows, other services, copies of their data.

pub mod catalog;
pub mod placements;
pub mod replay;
pub mod store;
