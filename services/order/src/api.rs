//! The service's methods: messages in, use case, messages out.

pub mod grpc;
mod wire;
