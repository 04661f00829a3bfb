use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tls::{Client, GRPC, HTTP, Identity, Server};

use crate::cli;

/// What encrypts between this process and others; by default something before it does, such as a mesh (PAY-12).
#[derive(Debug, Clone, Default)]
pub struct Transit {
    /// With it the ports of gRPC and REST speak TLS only, and peers over `https` see who calls.
    pub identity: Option<Identity>,
    /// Whose clients gRPC lets in; none is anybody's.
    pub client_ca: Option<PathBuf>,
    /// Who vouches for peers over `https`.
    pub ca: Option<PathBuf>,
}

impl From<cli::Tls> for Transit {
    fn from(args: cli::Tls) -> Self {
        let identity = args.tls_cert.zip(args.tls_key).map(|(cert, key)| Identity { cert, key });
        Self { identity, client_ca: args.tls_client_ca, ca: args.tls_ca }
    }
}

/// What the files were read into.
#[derive(Debug, Default)]
pub(super) struct Seals {
    pub(super) grpc: Option<Arc<Server>>,
    pub(super) rest: Option<Arc<Server>>,
    pub(super) peers: Option<Arc<Client>>,
}

impl Transit {
    /// Reads the files, so that one that cannot be used is known before anything was started.
    pub(super) fn open(self) -> Result<Seals> {
        let Self { identity, client_ca, ca } = self;
        let grpc = identity.as_ref().map(|own| Server::open(own, client_ca, GRPC)).transpose();
        // People have no certificates; their tokens say who they are.
        let rest = identity.as_ref().map(|own| Server::open(own, None, HTTP)).transpose();
        let peers = ca.map(|ca| Client::open(ca, identity.clone(), GRPC)).transpose();
        Ok(Seals {
            grpc: grpc.context("TLS of the gRPC port")?.map(Arc::new),
            rest: rest.context("TLS of the REST port")?.map(Arc::new),
            peers: peers.context("TLS towards peers")?.map(Arc::new),
        })
    }
}
