use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Bytes with which an HTTP/2 client begins (RFC 9113 section 3.4), behind the handshake where there is one.
const PREFACE: u64 = 24;
/// Time for the preface; hyper has none, so a silent connection would stay for ever.
const PREFACE_TIME: Duration = Duration::from_secs(10);
/// Hard end of a connection: after its age (30 min) it is told to go away and has this much left.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60 + 20);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections for ever; a failure to accept is survived.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<Arc<tls::Server>>,
    sever: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    futures::stream::unfold((listener, tls, sever), |(listener, tls, sever)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection::new(stream, tls.as_deref(), &sever);
                    return Some((Ok(connection), (listener, tls, sever)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// A connection that cannot outlive its welcome: silent, too old, or the process is going away.
pub(crate) struct Connection {
    stream: tls::Stream,
    about: TcpConnectInfo,
    read: u64,
    accepted: Instant,
    ends: Pin<Box<Sleep>>,
    severed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    fn new(stream: TcpStream, tls: Option<&tls::Server>, sever: &CancellationToken) -> Self {
        // Small answers must not wait for more to come (Nagle).
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection is gone already");
        }
        let accepted = Instant::now();
        let about = stream.connect_info();
        Self {
            stream: match tls {
                Some(tls) => tls.accept(stream),
                None => tls::Stream::plain(stream),
            },
            about,
            read: 0,
            accepted,
            ends: Box::pin(tokio::time::sleep_until(accepted + PREFACE_TIME)),
            severed: Box::pin(sever.clone().cancelled_owned()),
        }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ends.as_mut().poll(cx).is_ready() || self.severed.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) {
        let before = self.read;
        self.read += bytes as u64;
        if before < PREFACE && self.read >= PREFACE {
            self.ends.as_mut().reset(self.accepted + LONGEST_LIFE);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.count(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.about.clone()
    }
}
