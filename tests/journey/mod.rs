//! Orders on their way through the whole system: REST in front, PostgreSQL below, simulators all around.

pub mod books;
mod cancel;
mod change;
mod delivered;
mod draft;
mod kinds;
mod lists;
mod money;
mod outages;
mod payment;
mod queries;
mod races;
mod risk;
mod sagas;
mod split;
mod stock;
mod trace;
mod watch;
pub mod world;
