//! The only door to PostgreSQL.
//!
//! A service has one schema, one role that its requests use and one narrow role that its workers claim with. Nothing
//! gets a connection except through [`Pg::tx`], [`Pg::read`], [`Pg::call`], [`Pg::share`], [`Pg::once`] and [`Pg::worker`]: each
//! passage has a name, is measured, and (but for the worker's) runs inside one tenant, which row level security holds
//! against whatever the SQL says. What writes runs to its end even when the caller goes away: a dropped future must
//! not leave a commit that nobody knows of.

mod commits;
mod connect;
mod door;
mod error;
mod group;
mod json;
mod migrate;
mod once;
mod parts;
mod set;
mod shared;
mod young;

pub use commits::commits_of;
pub use door::{Pg, Target};
pub use error::{Error, is_unique};
pub use group::GroupCommit;
pub use json::Json;
pub use migrate::{Migrations, Source, migrate};
pub use once::Once;
pub use parts::{Parts, PartsError};
pub use set::{Answers, Ask, Items, Set};
pub use young::Young;

/// A connection inside a passage.
pub type Conn = diesel_async::AsyncPgConnection;
