//! The service's methods.

mod grpc;
pub(crate) mod wire;

pub(crate) use grpc::{Commands, Queries};
