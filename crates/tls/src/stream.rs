use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

/// A connection of a client, sealed or plain.
///
/// Its handshake is made by whoever reads or writes first, on the connection's own task and within the time that it
/// has: a client that is slow to greet holds up nobody else.
pub struct Stream(State);

enum State {
    Plain(TcpStream),
    Greeting(Box<Accept<TcpStream>>),
    Sealed(Box<TlsStream<TcpStream>>),
    Broken,
}

impl Stream {
    /// A connection as it is: something else encrypts it, or it stays within the machine.
    pub fn plain(stream: TcpStream) -> Self {
        Self(State::Plain(stream))
    }

    pub(crate) fn greeting(accept: Accept<TcpStream>) -> Self {
        Self(State::Greeting(Box::new(accept)))
    }

    fn greeted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Greeting(accept) = &mut self.0 {
            self.0 = match ready!(Pin::new(accept.as_mut()).poll(cx)) {
                Ok(stream) => State::Sealed(Box::new(stream)),
                Err(error) => {
                    self.0 = State::Broken;
                    return Poll::Ready(Err(error));
                }
            };
        }
        Poll::Ready(Ok(()))
    }
}

fn broken() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.greeted(cx))?;
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            State::Sealed(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
            State::Greeting(_) | State::Broken => Poll::Ready(Err(broken())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.greeted(cx))?;
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            State::Sealed(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
            State::Greeting(_) | State::Broken => Poll::Ready(Err(broken())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.greeted(cx))?;
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            State::Sealed(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
            State::Greeting(_) | State::Broken => Poll::Ready(Err(broken())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            State::Plain(stream) => stream.is_write_vectored(),
            State::Sealed(stream) => stream.is_write_vectored(),
            State::Greeting(_) | State::Broken => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_flush(cx),
            State::Sealed(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            // Nothing was written yet.
            State::Greeting(_) | State::Broken => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Sealed(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            State::Greeting(_) | State::Broken => Poll::Ready(Ok(())),
        }
    }
}
