//! Metrics: of one stream, and of the whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bond_core::code::Code;
use bond_core::instrument::Venue;
use bond_core::vitals::Vitals;
use serde::Serialize;
#[cfg(test)]
use utoipa::ToSchema;

use super::RestState;
#[cfg(test)]
use super::described::{KeyRefused, UnknownStream};
use super::streams::owned;
use crate::auth::Caller;
use crate::problem::Problem;

/// The format that Prometheus reads.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters of one stream.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({
    "uptime_sec": 90.5, "created_at": "2026-11-21T10:00:05.000Z", "msgs_in": 4210, "msgs_out": 18, "dropped": 0,
    "latency_p50_ms": 0.4, "latency_p95_ms": 1.2, "latency_samples": 18
})))]
pub(super) struct StreamMetrics {
    /// Since the stream was created, in seconds.
    uptime_sec: f64,
    /// When it was created, RFC 3339 in UTC.
    created_at: String,
    /// Source events taken in.
    msgs_in: u64,
    /// Events written to clients, one for each event and client.
    msgs_out: u64,
    /// Events that slow clients missed.
    dropped: u64,
    /// Median time from the log to the client's socket, in milliseconds.
    latency_p50_ms: f64,
    /// Its 95th percentile, in milliseconds.
    latency_p95_ms: f64,
    /// Over how many events these were taken.
    latency_samples: usize,
}

/// Get a stream's counters.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/streams/{id}/metrics", operation_id = "get_stream_metrics", tag = "streams",
    params(("id" = String, Path, description = "The stream's id")),
    responses(
        (status = 200, body = StreamMetrics),
        (status = 401, response = KeyRefused),
        (status = 404, response = UnknownStream),
    ),
))]
pub(super) async fn stream(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<StreamMetrics>, Problem> {
    let (stream, _) = owned(&state, &caller, &id).await?;
    let figures = vitals(&state).await?.streams.remove(&stream.id).unwrap_or_default();
    let latency = figures.latency();
    Ok(Json(StreamMetrics {
        uptime_sec: seconds(state.clock.now().since(stream.created_at)),
        created_at: stream.created_at.to_string(),
        msgs_in: figures.msgs_in,
        msgs_out: figures.msgs_out,
        dropped: figures.dropped,
        latency_p50_ms: milliseconds(latency.p50),
        latency_p95_ms: milliseconds(latency.p95),
        latency_samples: latency.samples,
    }))
}

/// What the whole server does.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({
    "active_subscriptions": 3, "messages_per_second": 12.5, "uptime": 90.5,
    "exchange_status": {"binance": "connected", "okx": "reconnecting"}
})))]
pub(super) struct ServerMetrics {
    /// Subscriptions that are open.
    active_subscriptions: u64,
    /// Messages written to clients, a second.
    messages_per_second: f64,
    /// Since the server began to serve, in seconds.
    uptime: f64,
    /// The state of each venue that is in use.
    #[cfg_attr(test, schema(value_type = BTreeMap<String, String>))]
    exchange_status: BTreeMap<String, &'static str>,
}

/// Get the server's metrics, with a key where keys are required: for Prometheus where `Accept` names `text/plain` or OpenMetrics, else as JSON.
#[cfg_attr(test, utoipa::path(
    get, path = "/metrics", operation_id = "get_metrics", tag = "health",
    responses(
        (status = 200, content((ServerMetrics = "application/json"), (String = "text/plain"))),
        (status = 401, response = KeyRefused),
    ),
))]
pub(super) async fn all(
    State(state): State<Arc<RestState>>,
    caller: Result<Caller, Problem>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if wants_text(&headers) {
        return scrape(State(state), caller).await;
    }
    if !state.settings.open_metrics {
        caller?;
    }
    let now = state.clock.now();
    let vitals = vitals(&state).await?;
    let metrics = ServerMetrics {
        active_subscriptions: vitals.connections,
        messages_per_second: state.traffic.messages_per_second(vitals.delivered, state.started_at, now),
        uptime: seconds(now.since(state.started_at)),
        exchange_status: exchange_status(vitals),
    };
    Ok(Json(metrics).into_response())
}

/// Tells Prometheus the metrics, by the rule of `/metrics`.
///
/// # Errors
/// Where a key is needed that is not there.
pub async fn scrape(
    State(state): State<Arc<RestState>>,
    caller: Result<Caller, Problem>,
) -> Result<Response, Problem> {
    if !state.settings.open_metrics {
        caller?;
    }
    Ok(([(header::CONTENT_TYPE, PROMETHEUS)], (state.prometheus)()).into_response())
}

async fn vitals(state: &RestState) -> Result<Vitals, Problem> {
    let found = state.vitals.all().await;
    found.map_err(|error| Problem::new(Code::ConnectionError, format!("no figures at the moment: {error}")))
}

fn wants_text(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split([',', ';']));
    types.any(|name| matches!(name.trim(), "text/plain" | "application/openmetrics-text"))
}

fn exchange_status(vitals: Vitals) -> BTreeMap<String, &'static str> {
    let venues = vitals.sources.into_iter().filter(|(name, _)| name.parse::<Venue>().is_ok());
    venues.map(|(name, status)| (name.to_string(), status.state.as_str())).collect()
}

/// Seconds, to the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}

/// Milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
