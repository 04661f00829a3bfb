//! The service as callers see it: gRPC in, messages out, no decisions.

mod grpc;
mod reconciliation;
pub(crate) mod wire;

pub use grpc::Grpc;
