//! The service's methods.

mod grpc;
mod list;
pub(crate) mod wire;

pub(crate) use grpc::Notifications;
#[cfg(test)]
pub(crate) use list::{List, list};
