//! The service as callers see it: gRPC in, messages out, no decisions.

mod grpc;
mod reconciliation;
mod wire;

pub use grpc::Grpc;
