//! The service's methods.

mod grpc;
mod ingest;
mod list;
pub(crate) mod wire;

pub(crate) use grpc::{Shipping, Webhooks};
#[cfg(test)]
pub(crate) use {
    ingest::{Webhook, ingest},
    list::{List, list},
};
