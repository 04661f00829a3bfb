//! The contract's side.

mod check;
mod grpc;
mod policy;
pub mod wire;

pub use grpc::routes;
