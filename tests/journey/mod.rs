//! Orders on their way through the whole system: REST in front, PostgreSQL below, simulators all around.

pub mod books;
mod cancel;
mod change;
mod delivered;
mod draft;
mod kept;
mod kinds;
mod lists;
mod money;
mod outages;
mod payment;
mod promotion;
mod queries;
mod races;
mod retry;
mod risk;
mod sagas;
mod sealed;
mod split;
mod stock;
mod told;
mod trace;
mod watch;
pub mod world;
