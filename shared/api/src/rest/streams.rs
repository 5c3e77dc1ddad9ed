//! The caller's streams, and tokens for them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bond_core::code::Code;
use bond_core::control::Command;
use bond_core::spec::StreamSpec;
use bond_core::store::{Claim, DesiredStream, StoreError};
use bond_core::topic::StreamId;
use serde::{Deserialize, Serialize};
#[cfg(test)]
use utoipa::ToSchema;

use super::RestState;
#[cfg(test)]
use super::described::{KeyRefused, UnknownStream};
use super::grant::{TokenGrant, grant};
use crate::auth::Caller;
use crate::problem::Problem;

/// Streams on one page of a list.
const PAGE: usize = 1000;

/// How long ingest may take to accept a hint. It finds out by itself soon, so no client waits for it.
const HINT_PATIENCE: Duration = Duration::from_millis(500);

/// Tells ingest that the registry has changed.
pub(super) async fn hint(state: &RestState) {
    match tokio::time::timeout(HINT_PATIENCE, state.control.send(Command::StreamsChanged)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("{error}; it will find the change by itself"),
        Err(_) => tracing::warn!("ingest is slow to take commands; it will find the change by itself"),
    }
}

/// A stream of the caller.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({
    "stream_id": "9f86d081884c7d65",
    "running": true,
    "spec": {
        "version": "v1",
        "sources": [{"type": "social", "provider": "x", "symbols": ["BTC"]}],
        "symbols": ["BTC/USDT"],
        "interval_sec": 5,
        "transforms": [],
        "ttl_sec": null
    },
    "ws_url": "ws://localhost:8080/ws/9f86d081884c7d65?token=v1.6017ea4e.1700003600.AIhy_5etyabE"
})))]
pub(super) struct Listed {
    /// The id.
    stream_id: String,
    /// Whether ingest serves it now.
    running: bool,
    /// The normalised spec.
    #[cfg_attr(test, schema(value_type = Object))]
    spec: StreamSpec,
    /// The stream's WebSocket, with a new token.
    ws_url: String,
}

fn listed(
    state: &RestState,
    caller: &Caller,
    headers: &HeaderMap,
    (stream, claim): (DesiredStream, Claim),
    running: bool,
) -> Result<Listed, Problem> {
    let ws_url = grant(state, caller, headers, &stream.id).ws_url;
    let spec: StreamSpec = serde_json::from_str(&stream.spec).map_err(internal)?;
    // What the claim says counts alone: a spec that was kept by an earlier version has the labels of whoever came first.
    let spec = spec.with_labels(claim.labels);
    Ok(Listed { stream_id: stream.id.to_string(), running, spec, ws_url })
}

/// Where a page of a list begins.
#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<String>,
}

/// List your streams, by id, in pages of 1000: `Link` with `rel="next"` leads to the next one.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/streams", operation_id = "list_streams", tag = "streams",
    params(("after" = Option<String>, Query, description = "The id that the page begins after; taken from `Link`")),
    responses(
        (status = 200, body = Vec<Listed>, headers(("Link" = String, description = "The next page, if there is one"))),
        (status = 401, response = KeyRefused),
    ),
))]
pub(super) async fn list(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Result<(HeaderMap, Json<Vec<Listed>>), Problem> {
    let after = page.after.as_deref().map(|text| StreamId::parse(text).ok_or_else(bad_page)).transpose()?;
    let found = state.store.list(&caller.owner, after.as_ref(), PAGE + 1, state.clock.now()).await;
    let mut streams = found.map_err(store_problem)?;
    let more = streams.len() > PAGE;
    streams.truncate(PAGE);
    let link = streams.last().filter(|_| more).and_then(|(last, _)| next_link(&last.id));
    let running = state.backing.ingest_runs().await;
    let streams = streams.into_iter().map(|claimed| listed(&state, &caller, &headers, claimed, running));
    // One that cannot be shown is in the log, and hides no other.
    let streams = streams.filter_map(Result::ok).collect();
    Ok((link.map(|link| (header::LINK, link)).into_iter().collect(), Json(streams)))
}

fn next_link(last: &StreamId) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("</v1/streams?after={last}>; rel=\"next\"")).ok()
}

fn bad_page() -> Problem {
    Problem::new(Code::InvalidMessage, "after must be a stream id, as in the `Link` of the page before")
}

/// Get one of your streams.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/streams/{id}", operation_id = "get_stream", tag = "streams",
    params(("id" = String, Path, description = "The stream's id")),
    responses(
        (status = 200, body = Listed),
        (status = 401, response = KeyRefused),
        (status = 404, response = UnknownStream),
    ),
))]
pub(super) async fn get(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Listed>, Problem> {
    let claimed = owned(&state, &caller, &id).await?;
    listed(&state, &caller, &headers, claimed, state.backing.ingest_runs().await).map(Json)
}

/// A stream that is no longer yours.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Deleted {
    /// The id.
    stream_id: String,
    /// True.
    deleted: bool,
    /// `deleted`.
    #[cfg_attr(test, schema(value_type = String, example = "deleted"))]
    status: &'static str,
}

/// Drop your claim on a stream. With the last claim the stream ends, and its connections close with 4510.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/streams/{id}", operation_id = "delete_stream", tag = "streams",
    params(("id" = String, Path, description = "The stream's id")),
    responses(
        (status = 200, body = Deleted),
        (status = 401, response = KeyRefused),
        (status = 404, response = UnknownStream),
    ),
))]
pub(super) async fn delete(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, Problem> {
    let id = StreamId::parse(&id).ok_or_else(|| unknown(&id))?;
    let released = state.store.release(&id, &caller.owner, state.clock.now()).await.map_err(store_problem)?;
    let was_last = released.ok_or_else(|| unknown(id.as_str()))?;
    if was_last {
        if let Some(ended) = state.ended.get() {
            ended(&id);
        }
        hint(&state).await;
    }
    Ok(Json(Deleted { stream_id: id.to_string(), deleted: true, status: "deleted" }))
}

/// Get a new token for one of your streams.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/streams/{id}/token", operation_id = "refresh_token", tag = "streams",
    params(("id" = String, Path, description = "The stream's id")),
    responses(
        (status = 200, body = TokenGrant),
        (status = 401, response = KeyRefused),
        (status = 404, response = UnknownStream),
    ),
))]
pub(super) async fn token(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TokenGrant>, Problem> {
    let (stream, _) = owned(&state, &caller, &id).await?;
    Ok(Json(grant(&state, &caller, &headers, &stream.id)))
}

/// The stream of this id and the caller's claim on it, if there is one.
pub(super) async fn owned(
    state: &RestState,
    caller: &Caller,
    id: &str,
) -> Result<(DesiredStream, Claim), Problem> {
    let parsed = StreamId::parse(id).ok_or_else(|| unknown(id))?;
    let found = state.store.get(&parsed, state.clock.now()).await.map_err(store_problem)?;
    let own = found.and_then(|(stream, claims)| {
        let claim = claims.into_iter().find(|claim| claim.owner == caller.owner)?;
        Some((stream, claim))
    });
    own.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(40).collect();
    Problem::new(Code::NotFound, format!("you have no stream {id}; GET /v1/streams lists those you have"))
}

pub(super) fn store_problem(error: StoreError) -> Problem {
    match error {
        StoreError::Quota { .. } => Problem::new(Code::LimitExceeded, error.to_string()),
        StoreError::Conflict(_) => {
            Problem::with_status(StatusCode::CONFLICT, Code::InvalidMessage, error.to_string())
        }
        StoreError::Unavailable(reason) => {
            tracing::error!(reason, "stream registry unavailable");
            Problem::new(Code::ConnectionError, "the stream registry is unavailable: try again")
        }
    }
}

pub(super) fn internal(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "a stored spec is none");
    Problem::new(Code::InternalError, "the stream's spec cannot be shown: report the request_id")
}
