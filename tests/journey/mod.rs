//! Orders on their way through the whole system: REST in front, PostgreSQL below, simulators all around.

pub mod books;
mod cancel;
mod change;
mod delivered;
mod lists;
mod outages;
mod payment;
mod races;
mod split;
mod trace;
mod watch;
pub mod world;
