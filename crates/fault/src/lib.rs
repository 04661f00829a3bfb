//! One error model: what went wrong, in words a caller can branch on (AIP-193).
//!
//! A [`Fault`] says its [`Kind`] (the gRPC code), a stable reason, every wrong field at once, and when to try again.
//! It becomes a `google.rpc.Status` at the edge and is read back from one by callers; nothing else crosses a service.

mod fault;
mod status;
mod violations;

pub use fault::{Fault, Kind, Violation};
pub use violations::Violations;

/// Domain of every reason (AIP-193 ErrorInfo).
pub const DOMAIN: &str = "ordermesh";
