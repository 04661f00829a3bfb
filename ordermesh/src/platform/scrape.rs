use axum::Router;
use axum::routing::get;
use telemetry::metrics::Handle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers `GET /metrics` for Prometheus and `GET /healthz` for whoever watches the process.
pub(crate) async fn serve(listener: TcpListener, handle: Handle, stop: CancellationToken) {
    let metrics = get(move || std::future::ready(([("content-type", "text/plain; version=0.0.4")], handle.render())));
    let router = Router::new().route("/metrics", metrics).route("/healthz", get(|| std::future::ready("ok\n")));
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the metrics listener broke");
    }
}
