//! How a connection is made: as the URL says, and over TLS when it asks for that (PAY-12).

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use futures::FutureExt;
use futures::future::BoxFuture;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

use crate::Conn;

/// What PostgreSQL's clients say they speak.
const POSTGRESQL: tls::Protocols = &[b"postgresql"];

/// Connects as the URL says.
///
/// `sslmode=require` and `sslmode=verify-full` mean the same: TLS, and a certificate for the host by an authority of
/// `sslrootcert`. Without one of these modes the connection is plain.
///
/// # Errors
/// When the database is not there or refuses, or is not who it should be.
pub(crate) async fn connect(url: &str) -> ConnectionResult<Conn> {
    let Some(Sealed { url, root }) = sealed(url)? else { return AsyncPgConnection::establish(url).await };
    // Read for every connection, and so always as it is now.
    let tls = tls::Client::open(root, None, POSTGRESQL).map_err(bad)?;
    let mut config: tokio_postgres::Config = url.parse().map_err(failed)?;
    config.ssl_mode(SslMode::Require);
    let (client, connection) = config.connect(Connector { tls: Arc::new(tls) }).await.map_err(failed)?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// A URL that asks for TLS.
#[derive(Debug, PartialEq, Eq)]
struct Sealed {
    /// Without what only we understand.
    url: String,
    /// Who vouches for the database.
    root: PathBuf,
}

fn sealed(url: &str) -> ConnectionResult<Option<Sealed>> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut root, mut others) = (None, None, Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => root = Some(percent_decode_str(value).decode_utf8_lossy().into_owned()),
            _ => others.push(pair),
        }
    }
    match (mode, root) {
        (Some("require" | "verify-full"), Some(root)) => {
            let url = format!("{place}?{}", others.join("&"));
            Ok(Some(Sealed { url, root: root.into() }))
        }
        (Some(mode @ ("require" | "verify-full")), None) => {
            Err(bad(format!("sslmode={mode} does not say whom to trust; fix: &sslrootcert=FILE")))
        }
        (_, Some(_)) => Err(bad("sslrootcert is looked at with sslmode=require or sslmode=verify-full only")),
        (_, None) => Ok(None),
    }
}

fn bad(error: impl std::fmt::Display) -> ConnectionError {
    ConnectionError::BadConnection(error.to_string())
}

/// The driver's error says what failed, and its source why.
fn failed(error: tokio_postgres::Error) -> ConnectionError {
    let why = std::error::Error::source(&error).map(|source| format!(": {source}"));
    bad(format!("{error}{}", why.unwrap_or_default()))
}

#[derive(Clone)]
struct Connector {
    tls: Arc<tls::Client>,
}

/// The connector for one host.
struct ToHost {
    tls: Arc<tls::Client>,
    host: String,
}

impl<S> MakeTlsConnect<S> for Connector
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type TlsConnect = ToHost;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<ToHost> {
        Ok(ToHost { tls: Arc::clone(&self.tls), host: domain.to_owned() })
    }
}

impl<S> TlsConnect<S> for ToHost
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Stream<S>>>;

    fn connect(self, stream: S) -> Self::Future {
        async move { self.tls.connect(&self.host, stream).await.map(|stream| Stream(Box::new(stream))) }.boxed()
    }
}

struct Stream<S>(Box<tls::ClientStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.as_mut()).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.0.as_mut()).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.as_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.as_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_what_the_url_says_and_never_half_of_it() {
        for plain in
            ["postgresql://a@b/c", "postgresql://a@b/c?sslmode=disable", "postgresql://a@/c?host=/run&sslmode=prefer"]
        {
            assert_eq!(sealed(plain).expect("plain"), None, "{plain}");
        }
        for mode in ["require", "verify-full"] {
            let found =
                sealed(&format!("postgresql://a@b/c?sslmode={mode}&connect_timeout=3&sslrootcert=/a%20b/ca.pem"));
            let url = "postgresql://a@b/c?connect_timeout=3".to_owned();
            assert_eq!(found.expect("TLS"), Some(Sealed { url, root: "/a b/ca.pem".into() }));
            assert!(sealed(&format!("postgresql://a@b/c?sslmode={mode}")).is_err(), "nobody to trust");
        }
        assert!(sealed("postgresql://a@b/c?sslmode=prefer&sslrootcert=/ca.pem").is_err());
    }
}
