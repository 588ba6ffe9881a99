//! The controller's own HTTP: `/metrics` on one address, `/healthz` and `/readyz` on another.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Says whether the controller is ready, and if not, why.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
/// Renders the metrics.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// The routes for the probes. Alive means that the process answers; ready that its watches are complete.
pub fn health(ready: Ready) -> Router {
    Router::new().route("/healthz", get(|| async { "ok" })).route(
        "/readyz",
        get(move || async move {
            match ready() {
                Ok(()) => (StatusCode::OK, "ok".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            }
        }),
    )
}

/// The route for Prometheus.
pub fn metrics(render: Render) -> Router {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let answer = move || async move { ([(header::CONTENT_TYPE, OPEN_METRICS)], render()).into_response() };
    Router::new().route("/metrics", get(answer))
}

/// Serves until told to stop.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(address: SocketAddr, routes: Router, stop: CancellationToken) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}
