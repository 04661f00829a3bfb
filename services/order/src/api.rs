//! The service's methods: messages in, use case, messages out.

pub mod changes;
pub mod commands;
pub mod criteria;
pub mod grpc;
pub mod sagas;
pub mod subscriptions;
mod wire;
mod wire_commands;
