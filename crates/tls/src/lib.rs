//! TLS of our own sockets (PAY-12): ports, calls to peers, the database.
//!
//! Certificates are files that somebody else renews. They are looked at again while the process runs, so that a renewed
//! one is used by the next connection; one that cannot be used is reported and the last good one stays.

mod client;
mod files;
mod server;
mod stream;

use std::path::PathBuf;

pub use client::Client;
pub use files::Error;
pub use server::Server;
pub use stream::Stream;
pub use tokio_rustls::client::TlsStream as ClientStream;

/// Names of protocols that are agreed on in the handshake, the preferred one first (ALPN, RFC 7301).
pub type Protocols = &'static [&'static [u8]];

/// What gRPC speaks.
pub const GRPC: Protocols = &[b"h2"];
/// What REST speaks.
pub const HTTP: Protocols = &[b"h2", b"http/1.1"];

/// Who this process is to others.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Certificate and those between it and the authority, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}
