//! Streams and their snapshots against a real PostgreSQL.

mod counter;
mod snapshots;
mod streams;
