use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::front::Front;
use crate::incoming;

/// How a server goes away.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Time between "not ready" and the end of accepting, for load balancers to notice.
    pub lame_duck: Duration,
    /// Time for calls at work after that; then connections are cut.
    pub limit: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { lame_duck: Duration::from_secs(5), limit: Duration::from_secs(20) }
    }
}

/// A port that speaks gRPC, health and reflection.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<tls::Server>>,
    drain: Drain,
}

impl Server {
    /// Takes a port; 0 takes any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn bind(address: SocketAddr, drain: Drain) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, tls: None, drain })
    }

    /// Speaks TLS only, when there is a certificate to speak it with (PAY-12).
    #[must_use]
    pub fn over(self, tls: Option<Arc<tls::Server>>) -> Self {
        Self { tls, ..self }
    }

    /// The address that was taken.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then drains: not ready, a pause, no new calls, and in any case an end.
    ///
    /// Returns at the latest `lame_duck + limit` after `shutdown`, whatever clients do.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn run(self, front: Front, shutdown: CancellationToken) -> Result<(), tonic::transport::Error> {
        let Self { listener, tls, drain } = self;
        let (stop, sever) = (CancellationToken::new(), CancellationToken::new());
        // Connections live on tasks of their own: whichever way this ends, they must not stay.
        let cut = sever.clone().drop_guard();
        front.report_all(true).await;
        let connections = incoming::accept(listener, tls, sever);
        let stopped = stop.clone().cancelled_owned();
        let serving = hardened().serve_with_incoming_shutdown(front.clone(), connections, stopped);
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return ended,
            () = shutdown.cancelled() => {}
        }
        front.report_all(false).await;
        tokio::select! {
            ended = &mut serving => return ended,
            () = tokio::time::sleep(drain.lame_duck) => {}
        }
        front.closing.cancel();
        stop.cancel();
        let ended = tokio::time::timeout(drain.limit, &mut serving).await;
        drop(cut);
        ended.unwrap_or_else(|_| {
            tracing::warn!(limit = ?drain.limit, "connections that did not end were cut");
            Ok(())
        })
    }
}

/// Limits against floods and silence; tonic's own defaults take hyper's away (RUSTSEC-2024-0003).
fn hardened() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(128)
        .http2_max_local_error_reset_streams(Some(1024))
        .http2_max_pending_accept_reset_streams(Some(20))
        .http2_max_header_list_size(16 * 1024)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        // With a grace tonic cuts old connections without a GOAWAY; without one it asks them to go, and
        // `incoming` cuts those that stay.
        .max_connection_age(Duration::from_secs(30 * 60))
        .concurrency_limit_per_connection(64)
        .load_shed(true)
        // A net under the policies' own budgets, which are all shorter.
        .timeout(Duration::from_secs(60))
}
