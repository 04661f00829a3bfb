//! What runs without anybody calling.

mod allocate;
mod call_off;
mod expire_reservations;
mod tell_stock;
mod use_up;

pub use allocate::subscription;
pub use expire_reservations::sweeper;
pub use tell_stock::teller;
