//! Streams and their snapshots against a real PostgreSQL.

mod counter;
mod door;
mod months;
mod snapshots;
mod streams;
