//! Exact money: whole minor units of one currency, checked arithmetic, no floats (domain rules M1, M4).

mod amount;
mod spread;

pub use amount::{Currency, Money, MoneyError};
pub use spread::{div_round_half_away, spread};
