//! The REST/JSON edge: every annotated rpc of the contract under `/api/v1`.
//!
//! A request is routed and turned into wire bytes by [`transcode`], sent as an ordinary gRPC request into a
//! [`Peer`] (a channel, or the routes of this process), and its answer turned back. The bridge decides nothing
//! about identity: it hands the token on and drops every header with which a client could claim to be somebody.
//!
//! [`app`] is the whole edge as an axum router, [`serve`] a hardened listener for it.

mod app;
mod body;
mod call;
mod compress;
mod cors;
mod frame;
mod headers;
mod negotiate;
mod observe;
mod pages;
mod refusal;
mod reply;
mod server;
mod stream;

pub use app::{Config, Peer, app};
pub use server::serve;
