//! Identity against a real PostgreSQL.

mod platform;
mod policy;
mod sessions;
mod users;
