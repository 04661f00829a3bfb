use std::io;
use std::path::PathBuf;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::files::{self, Renewed};
use crate::{ClientStream, Error, Identity, Protocols};

/// Whom this process trusts, and who it is to those who ask.
pub struct Client(Renewed<ClientConfig>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Reads the files: nobody is trusted but servers with a certificate of the authority.
    ///
    /// # Errors
    /// [`Error`], which names the file.
    pub fn open(ca: PathBuf, identity: Option<Identity>, protocols: Protocols) -> Result<Self, Error> {
        let mut watched = vec![ca.clone()];
        watched.extend(identity.iter().flat_map(|identity| [identity.cert.clone(), identity.key.clone()]));
        Renewed::open(watched, move || config(&ca, identity.as_ref(), protocols)).map(Self)
    }

    /// Makes sure who is at the other end, and seals the connection.
    ///
    /// # Errors
    /// When the certificate is not one of the authority's for this host, or the connection breaks.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<ClientStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // An address of IPv6 stands in brackets in a URL, and not in a certificate.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        TlsConnector::from(self.0.get()).connect(name, stream).await
    }
}

fn config(ca: &std::path::Path, identity: Option<&Identity>, protocols: Protocols) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(files::provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(files::unfit)?;
    let builder = builder.with_root_certificates(files::authorities(ca)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = files::identity(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(files::unfit)?
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}
