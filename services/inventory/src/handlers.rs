//! What runs without anybody calling.

mod expire_reservations;

pub use expire_reservations::sweeper;
