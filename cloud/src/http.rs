//! The port of a process that serves no clients: whether it is well, and its metrics.

use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use bond_api::rest::Readiness;
use bond_edge::host::leading::Leading;
use bond_edge::prometheus::Prometheus;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What is told.
#[derive(Clone)]
struct HttpState {
    readiness: Readiness,
    leading: Leading,
    prometheus: Prometheus,
}

/// `/health`: the process lives. `/ready`: log and registry answer and some process leads. `/metrics`: Prometheus text, with
/// `bond_leading` 1 in the process that leads.
pub(crate) fn router(readiness: Readiness, leading: Leading, prometheus: Prometheus) -> Router {
    Router::new()
        .route("/health", get(|| async { r#"{"status": "ok"}"# }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(HttpState { readiness, leading, prometheus })
}

async fn ready(State(told): State<HttpState>) -> StatusCode {
    if told.readiness.get() && told.readiness.death().is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn metrics(State(told): State<HttpState>) -> String {
    metrics::gauge!("bond_leading").set(u8::from(told.leading.get()));
    told.prometheus.render()
}

/// Serves until `cancel`.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    cancel: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await
}
