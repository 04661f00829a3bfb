//! Identity against a real PostgreSQL.

mod platform;
mod policy;
mod sealed;
mod sessions;
mod users;
