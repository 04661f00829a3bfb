//! The simulators over real sockets, as the platform's clients meet them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

mod carrier;
mod payments;
mod process;
mod smtp;
mod support;
mod webhooks;
mod wms;
