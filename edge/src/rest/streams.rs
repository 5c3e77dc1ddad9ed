//! Streams and their tokens.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bond_core::code::Code;
use bond_core::control::Command;
use bond_core::language::Explanation;
use bond_core::spec::{MAX_TTL_SEC, StreamSpec};
use bond_core::store::{Claim, DesiredStream, StoreError};
use bond_core::topic::StreamId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::RestState;
use super::body::JsonObject;
use super::compile::{Compiled, understand};
use super::ws_url::ws_url;
use crate::auth::Caller;
use crate::problem::Problem;

/// Streams on one page of a list.
const PAGE: usize = 1000;

/// How long ingest may take to accept a hint. It finds out by itself soon, so no client waits for it.
const HINT_PATIENCE: Duration = Duration::from_millis(500);

/// A stream to be created: from a sentence, or from a spec.
#[derive(ToSchema)]
#[schema(example = json!({"natural_language": "BTC price + tweets every 5s", "ttl_sec": 3600}))]
#[allow(dead_code, reason = "describes a body that is read field by field, for problems that say what to fix")]
pub(super) struct CreateRequest {
    /// The sentence, 1000 characters at most.
    natural_language: Option<String>,
    /// Or the spec.
    #[schema(value_type = Option<Object>)]
    spec: Option<Value>,
    /// How long your claim on the stream holds, in seconds, unless renewed by creating it again. Left out: the spec's, else until
    /// you delete it.
    ttl_sec: Option<u32>,
}

/// A stream that was created, or ran already.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "stream_id": "9f86d081884c7d65",
    "spec": {"version": "v1", "sources": [], "symbols": ["BTC/USDT"], "interval_sec": 5, "transforms": [], "ttl_sec": null},
    "ws_url": "ws://localhost:8080/ws/9f86d081884c7d65?token=v1.6017ea4e.1700003600.AIhy_5etyabEoU2WcP9Jm3PiM23ru7y2qyKtxcSaZvA",
    "token": "v1.6017ea4e.1700003600.AIhy_5etyabEoU2WcP9Jm3PiM23ru7y2qyKtxcSaZvA",
    "expires_in_sec": 3600,
    "created": true,
    "explanation": [{"span": [0, 3], "text": "BTC", "meaning": "the asset BTC", "path": "sources[0].symbols"}],
    "warnings": []
}))]
pub(super) struct Created {
    /// The id: the same for the same spec, whoever creates it.
    stream_id: String,
    /// The normalised spec.
    #[schema(value_type = Object)]
    spec: StreamSpec,
    /// The stream's WebSocket, token included. Works at once.
    ws_url: String,
    /// The token in it.
    token: String,
    /// How long the token is good, in seconds.
    expires_in_sec: u64,
    /// Whether this request created the stream; false if it ran already.
    created: bool,
    /// What each phrase of the sentence led to; empty for a spec.
    #[schema(value_type = Vec<Object>)]
    explanation: Vec<Explanation>,
    /// What was ignored, rounded or read in one of two ways.
    warnings: Vec<String>,
}

/// Create a stream from a sentence or a spec, or join the one that runs already.
#[utoipa::path(
    post, path = "/v1/streams", tag = "streams", request_body = CreateRequest,
    responses(
        (status = 200, description = "It runs", body = Created),
        (status = 400, description = "Not understood: `suggestions` or `errors` say more", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No key, or not a good one", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Over 64 KB", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Your quota of streams is used up", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn create(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Json<Created>, Problem> {
    let ttl_sec = read_ttl(&body)?;
    let Compiled { spec, explanation, warnings, .. } = understand(&body, &state.settings)?;
    let (stream, created) = claim(&state, caller.owner, &spec, ttl_sec.or(spec.ttl_sec())).await?;
    if created {
        hint(&state).await;
    }
    let TokenGrant { token, ws_url, expires_in_sec } = grant(&state, &headers, &stream.id);
    let stream_id = stream.id.to_string();
    Ok(Json(Created { stream_id, spec, ws_url, token, expires_in_sec, created, explanation, warnings }))
}

fn read_ttl(body: &Map<String, Value>) -> Result<Option<u32>, Problem> {
    let Some(given) = body.get("ttl_sec").filter(|value| !value.is_null()) else { return Ok(None) };
    let ttl = given.as_u64().and_then(|ttl| u32::try_from(ttl).ok());
    match ttl.filter(|ttl| (1..=MAX_TTL_SEC).contains(ttl)) {
        Some(ttl) => Ok(Some(ttl)),
        None => {
            let detail = format!("ttl_sec must be a whole number of seconds from 1 to {MAX_TTL_SEC}, or left out");
            Err(Problem::new(Code::InvalidMessage, detail))
        }
    }
}

async fn claim(
    state: &RestState,
    owner: String,
    spec: &StreamSpec,
    ttl_sec: Option<u32>,
) -> Result<(DesiredStream, bool), Problem> {
    let now = state.clock.now();
    let spec_json = serde_json::to_string(spec).map_err(|error| internal(&error))?;
    let stream = DesiredStream { id: spec.id(), canonical: spec.canonical(), spec: spec_json, created_at: now };
    let expires_at = ttl_sec.map(|ttl| now.plus(Duration::from_secs(ttl.into())));
    let claim = Claim { owner, expires_at };
    state.store.claim(stream, claim, state.settings.max_streams, now).await.map_err(store_problem)
}

/// Tells ingest that the registry has changed.
async fn hint(state: &RestState) {
    match tokio::time::timeout(HINT_PATIENCE, state.control.send(Command::StreamsChanged)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("{error}; it will find the change by itself"),
        Err(_) => tracing::warn!("ingest is slow to take commands; it will find the change by itself"),
    }
}

/// What opens a stream.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenGrant {
    /// A new token; earlier ones stay good until they expire.
    token: String,
    /// The stream's WebSocket, token included.
    ws_url: String,
    /// How long the token is good, in seconds.
    expires_in_sec: u64,
}

fn grant(state: &RestState, headers: &HeaderMap, id: &StreamId) -> TokenGrant {
    let token = state.tokens.issue(id, state.clock.now(), state.settings.token_ttl);
    let ws_url = ws_url(&state.settings, headers, id, &token);
    TokenGrant { token, ws_url, expires_in_sec: state.settings.token_ttl.as_secs() }
}

/// A stream of the caller.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// The id.
    stream_id: String,
    /// Whether ingest serves it now.
    running: bool,
    /// The normalised spec.
    #[schema(value_type = Object)]
    spec: Box<RawValue>,
    /// The stream's WebSocket, with a new token.
    ws_url: String,
}

fn listed(state: &RestState, headers: &HeaderMap, stream: DesiredStream) -> Result<Listed, Problem> {
    let ws_url = grant(state, headers, &stream.id).ws_url;
    let spec = RawValue::from_string(stream.spec).map_err(|error| internal(&error))?;
    Ok(Listed { stream_id: stream.id.to_string(), running: state.readiness.get(), spec, ws_url })
}

/// Where a page of a list begins.
#[derive(Deserialize)]
pub(super) struct Page {
    after: Option<String>,
}

/// List your streams, by id, in pages of 1000: `Link` with `rel="next"` leads to the next one.
#[utoipa::path(
    get, path = "/v1/streams", tag = "streams",
    params(("after" = Option<String>, Query, description = "The id that the page begins after; taken from `Link`")),
    responses(
        (status = 200, body = Vec<Listed>, headers(("Link" = String, description = "The next page, if there is one"))),
        (status = 401, description = "No key, or not a good one", body = Problem, content_type = "application/problem+json"),
    ),
)]
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
    let link = streams.last().filter(|_| more).and_then(|last| next_link(&last.id));
    let streams = streams.into_iter().map(|stream| listed(&state, &headers, stream)).collect::<Result<_, _>>()?;
    Ok((link.map(|link| (header::LINK, link)).into_iter().collect(), Json(streams)))
}

fn next_link(last: &StreamId) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("</v1/streams?after={last}>; rel=\"next\"")).ok()
}

fn bad_page() -> Problem {
    Problem::new(Code::InvalidMessage, "after must be a stream id, as in the `Link` of the page before")
}

/// Get one of your streams.
#[utoipa::path(
    get, path = "/v1/streams/{id}", tag = "streams", params(("id" = String, Path, description = "The stream's id")),
    responses(
        (status = 200, body = Listed),
        (status = 404, description = "You have no such stream", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn get(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Listed>, Problem> {
    let stream = owned(&state, &caller, &id).await?;
    listed(&state, &headers, stream).map(Json)
}

/// A stream that is no longer yours.
#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    /// The id.
    stream_id: String,
    /// True.
    deleted: bool,
    /// `deleted`.
    #[schema(value_type = String, example = "deleted")]
    status: &'static str,
}

/// Drop your claim on a stream. With the last claim the stream ends, and its connections close with 4510.
#[utoipa::path(
    delete, path = "/v1/streams/{id}", tag = "streams", params(("id" = String, Path, description = "The stream's id")),
    responses(
        (status = 200, body = Deleted),
        (status = 404, description = "You have no such stream", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn delete(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, Problem> {
    let id = StreamId::parse(&id).ok_or_else(|| unknown(&id))?;
    let released = state.store.release(&id, &caller.owner, state.clock.now()).await.map_err(store_problem)?;
    let was_last = released.ok_or_else(|| unknown(id.as_str()))?;
    if was_last {
        state.meters.remove(&id);
        hint(&state).await;
    }
    Ok(Json(Deleted { stream_id: id.to_string(), deleted: true, status: "deleted" }))
}

/// Get a new token for one of your streams.
#[utoipa::path(
    post, path = "/v1/streams/{id}/token", tag = "streams", params(("id" = String, Path, description = "The stream's id")),
    responses(
        (status = 200, body = TokenGrant),
        (status = 404, description = "You have no such stream", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn token(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<TokenGrant>, Problem> {
    let stream = owned(&state, &caller, &id).await?;
    Ok(Json(grant(&state, &headers, &stream.id)))
}

/// The stream of this id, if the caller has a claim on it.
pub(super) async fn owned(state: &RestState, caller: &Caller, id: &str) -> Result<DesiredStream, Problem> {
    let parsed = StreamId::parse(id).ok_or_else(|| unknown(id))?;
    let found = state.store.get(&parsed, state.clock.now()).await.map_err(store_problem)?;
    let own = found.filter(|(_, claims)| claims.iter().any(|claim| claim.owner == caller.owner));
    own.map(|(stream, _)| stream).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    let id: String = id.chars().take(40).collect();
    Problem::new(Code::NotFound, format!("you have no stream {id}; GET /v1/streams lists those you have"))
}

fn store_problem(error: StoreError) -> Problem {
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

fn internal(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "a stored spec is not JSON");
    Problem::new(Code::InternalError, "the stream's spec cannot be shown: report the request_id")
}
