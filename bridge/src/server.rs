//! A listener that survives slow, silent and hostile connections, and ends in bounded time.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Time for the head of a request, and for the first request of a connection.
const HEAD: Duration = Duration::from_secs(10);
/// Time that open requests get when the process ends.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// Says on every request whether the process is about to end.
#[derive(Debug, Clone)]
pub(crate) struct Draining(pub(crate) CancellationToken);

/// Serves the app until `shutdown`, then lets open requests end within 10 s.
///
/// Idle connections are closed at once and streams are told to come back. With a certificate it speaks TLS only (PAY-12).
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<tls::Server>>,
    app: axum::Router,
    shutdown: CancellationToken,
) {
    let builder = Arc::new(builder());
    let connections = TaskTracker::new();
    // Cancelled when the time for draining is over.
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small answers must not wait for more to send; a socket that refuses this is about to fail anyway.
                let _ = stream.set_nodelay(true);
                let stream = match &tls {
                    Some(tls) => tls.accept(stream),
                    None => tls::Stream::plain(stream),
                };
                let run = connection(Arc::clone(&builder), stream, app.clone(), shutdown.clone());
                let abort = abort.clone();
                connections.spawn(async move { abort.run_until_cancelled(run).await });
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests were cut off at the end of the drain");
        abort.cancel();
        connections.wait().await;
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(16 * 1024)
        .max_local_error_reset_streams(1024)
        .max_pending_accept_reset_streams(20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(HEAD);
    builder
}

async fn connection(
    builder: Arc<auto::Builder<TokioExecutor>>,
    stream: tls::Stream,
    app: axum::Router,
    shutdown: CancellationToken,
) {
    let has_asked = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Draining(shutdown.clone()));
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let mut running = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // While hyper guesses the protocol it has no timeout of its own.
    let is_silent = async {
        tokio::time::sleep(HEAD).await;
        if has_asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = running.as_mut() => return closed(ended),
        () = is_silent => return,
        // Nothing is lost with a connection that has not asked for anything.
        () = shutdown.cancelled() => if !has_asked.load(Ordering::Relaxed) { return },
    }
    running.as_mut().graceful_shutdown();
    closed(running.await);
}

fn closed(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        // Clients that leave in the middle are ordinary.
        tracing::debug!(error = %error, "a connection ended early");
    }
}
