//! The contract's side.

mod check;
mod grpc;
mod grpc_desk;
#[cfg(test)]
mod refusal_tests;
pub mod wire;
pub mod wire_catalog;
pub mod wire_control;
pub mod wire_desk;

pub use grpc::routes;
