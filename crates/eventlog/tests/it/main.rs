//! Streams and their snapshots against a real PostgreSQL.

mod counter;
mod door;
mod snapshots;
mod streams;
