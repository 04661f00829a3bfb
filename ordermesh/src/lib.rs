//! The only executable, and the only place that knows every service.
//!
//! [`platform`] assembles what one process runs from the list in [`services`]; `dev`, `demo`, `serve` and the tests all
//! start it the same way with another configuration.

pub mod cli;
pub mod command;
pub mod defaults;
pub mod demo;
pub mod platform;
pub mod rest;
pub mod seed;
pub mod services;
mod table;
