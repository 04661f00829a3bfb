//! The edge against services of this process that answer from a script.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod compress;
mod errors;
mod headers;
mod input;
mod oversize;
mod serving;
mod streams;
mod upstream;
