use std::path::PathBuf;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::files::{self, Renewed};
use crate::{Error, Identity, Protocols, Stream};

/// The certificate of a port, and whom it lets in.
pub struct Server(Renewed<ServerConfig>);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    /// Reads the files; with an authority of clients, nobody gets in without a certificate of it.
    ///
    /// # Errors
    /// [`Error`], which names the file.
    pub fn open(identity: &Identity, client_ca: Option<PathBuf>, protocols: Protocols) -> Result<Self, Error> {
        let mut watched = vec![identity.cert.clone(), identity.key.clone()];
        watched.extend(client_ca.clone());
        let identity = identity.clone();
        Renewed::open(watched, move || config(&identity, client_ca.as_ref(), protocols)).map(Self)
    }

    /// The connection behind its handshake, which is made when it is first read or written.
    pub fn accept(&self, stream: TcpStream) -> Stream {
        Stream::greeting(TlsAcceptor::from(self.0.get()).accept(stream))
    }
}

fn config(identity: &Identity, client_ca: Option<&PathBuf>, protocols: Protocols) -> Result<ServerConfig, Error> {
    let provider = files::provider();
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(files::unfit)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = files::authorities(ca)?.into();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(files::unfit)?)
        }
    };
    let (chain, key) = files::identity(identity)?;
    let mut config = builder.with_single_cert(chain, key).map_err(files::unfit)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}
