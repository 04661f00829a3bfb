//! The layers of the stack, one file each; their order is in `stack.rs`.

pub(crate) mod codec;
pub(crate) mod deadline;
pub(crate) mod gate;
pub(crate) mod idempotency;
pub(crate) mod people;
pub(crate) mod rescue;
pub(crate) mod stream;
pub(crate) mod trace;

/// What every layer takes.
pub(crate) type Request = http::Request<tonic::body::Body>;
/// What every layer gives back.
pub(crate) type Response = http::Response<tonic::body::Body>;
