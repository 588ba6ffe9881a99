//! The controller's own HTTP: `/metrics` on one address, `/healthz` and `/readyz` on another.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
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
pub async fn serve(address: SocketAddr, routes: Router, stop: CancellationToken) -> io::Result<()> {
    let listener = listen(address).await?;
    axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// `[::]` takes IPv4 as well; a machine without IPv6 has only that.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.is_ipv6() && address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};

    use super::*;

    #[tokio::test]
    async fn every_address_is_that_of_either_protocol() {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let listener = listen(every).await.unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
        match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await {
            Ok(_) => drop(TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).unwrap()),
            Err(error) => eprintln!("SKIPPED: IPv6 is not to be had here: {error}"),
        }
        let taken = listen(address).await.err().map(|error| error.kind());
        assert_eq!(taken, Some(io::ErrorKind::AddrInUse));
    }
}
