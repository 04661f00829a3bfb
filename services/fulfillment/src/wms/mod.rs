//! The legacy warehouse system: SOAP 1.1, polled, never trusted.

mod client;
pub(crate) mod counter;
pub(crate) mod poller;
mod soap;
mod xml;

pub(crate) use client::{Order, Refusal, Wms, WmsError};
