//! The contract's side.

mod check;
mod grpc;
pub mod wire;

pub use grpc::routes;
