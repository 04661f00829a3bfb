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
pub mod header;
mod incoming;
mod job;
mod layers;
mod mesh;
pub mod page;
mod passage;
mod reply;
mod server;
mod stack;
mod timeout;
mod watch;

pub use boot::{Boot, Mount, Settings};
pub use client::PeerClient;
pub use front::Front;
pub use job::{Job, Turn};
pub use mesh::{BadUri, Mesh, Peers};
pub use reply::respond;
pub use server::{Drain, Server};
pub use stack::Limits;
pub use watch::{Look, Watched, watch};

/// Anything that answers a gRPC request: routes behind their stack, or a channel to another process.
pub type Peer = tower::util::BoxCloneSyncService<
    http::Request<tonic::body::Body>,
    http::Response<tonic::body::Body>,
    tower::BoxError,
>;
