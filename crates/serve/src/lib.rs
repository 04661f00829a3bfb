//! What stands between a socket and a handler, the same for every service.
//!
//! A service gives a [`Mount`]; the executable attaches it to a [`Mesh`], which puts the tower stack (`stack.rs`) in
//! front of its routes and lets every service reach every other by [`Peers`], in this process or another. A
//! [`Server`] offers what is attached on a port. A rule is written once: in-process calls, gRPC and REST pass the
//! same layers.

pub mod auth;
mod boot;
mod breaker;
pub mod card;
mod client;
mod front;
mod incoming;
mod layers;
mod mesh;
pub mod page;
mod passage;
mod reply;
mod server;
mod stack;
mod timeout;

pub use boot::{Boot, Job, Mount, Settings};
pub use client::PeerClient;
pub use front::Front;
pub use mesh::{BadUri, Mesh, Peers};
pub use reply::respond;
pub use server::{Drain, Server};
pub use stack::Limits;

/// Anything that answers a gRPC request: routes behind their stack, or a channel to another process.
pub type Peer = tower::util::BoxCloneSyncService<
    http::Request<tonic::body::Body>,
    http::Response<tonic::body::Body>,
    tower::BoxError,
>;

/// Names of the headers that calls carry as gRPC metadata.
pub mod header {
    /// `Bearer <token>` of a person or a service.
    pub const AUTHORIZATION: &str = "authorization";
    /// Tenant of the call: `tnt_…`.
    pub const TENANT: &str = "x-tenant-id";
    /// Ties everything that one request caused together (GW-07).
    pub const CORRELATION: &str = "x-correlation-id";
    /// The event or call that caused this one.
    pub const CAUSATION: &str = "x-causation-id";
    /// W3C trace context.
    pub const TRACEPARENT: &str = "traceparent";
    /// Recognises a repeated call (IETF idempotency-key draft 07).
    pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
    /// `true` on an answer that was stored by an earlier call with the same key.
    pub const REPLAYED: &str = "idempotent-replayed";
    /// `HIT` or `MISS` on an answer of which copies are kept (ORD-41).
    pub const CACHE: &str = "x-cache";
    /// Time that the caller waits (gRPC over HTTP/2).
    pub const TIMEOUT: &str = "grpc-timeout";
}
