//! Creating streams.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use bond_core::code::Code;
use bond_core::spec::{MAX_TTL_SEC, StreamSpec};
use bond_core::store::{Claim, DesiredStream, Labels};
use bond_language::Explanation;
use serde::Serialize;
use serde_json::{Map, Value};
#[cfg(test)]
use utoipa::ToSchema;

use super::RestState;
use super::body::JsonObject;
use super::compile::{Compiled, understand};
#[cfg(test)]
use super::described::{BodyTooLarge, KeyRefused, NotJson, NotUnderstood, QuotaReached};
use super::grant::{TokenGrant, grant};
use super::streams::{hint, internal, store_problem};
use crate::auth::Caller;
use crate::problem::Problem;

/// A stream to be created: from a sentence, or from a spec.
#[cfg(test)]
#[derive(ToSchema)]
#[schema(example = json!({"natural_language": "BTC price + tweets every 5s", "ttl_sec": 3600}))]
#[allow(
    dead_code,
    reason = "describes a body that is read field by field, for problems that say what to fix"
)]
pub(super) struct CreateRequest {
    /// The sentence, 1000 characters at most.
    natural_language: Option<String>,
    /// Or the spec.
    #[schema(value_type = Option<Object>)]
    spec: Option<Value>,
    /// How long your claim on the stream holds, in seconds, unless renewed by creating it again. Left out: the
    /// spec's, else until you delete it.
    ttl_sec: Option<u32>,
}

/// A stream that was created, or ran already.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({
    "stream_id": "9f86d081884c7d65",
    "spec": {
        "version": "v1",
        "sources": [{"type": "market", "symbols": ["BTC/USDT"], "channels": ["ticker", "trades"], "market_type": "spot"}],
        "symbols": ["BTC/USDT"],
        "interval_sec": 5,
        "transforms": [],
        "ttl_sec": null
    },
    "ws_url": "ws://localhost:8080/ws/9f86d081884c7d65?token=v1.6017ea4e.1700003600.AIhy_5etyabE",
    "token": "v1.6017ea4e.1700003600.AIhy_5etyabE",
    "expires_in_sec": 3600,
    "created": true,
    "explanation": [{"span": [0, 3], "text": "BTC", "meaning": "the asset BTC", "path": "sources[0].symbols"}],
    "warnings": []
})))]
pub(super) struct Created {
    /// The id: the same for the same spec, whoever creates it.
    stream_id: String,
    /// The normalised spec.
    #[cfg_attr(test, schema(value_type = Object))]
    spec: StreamSpec,
    /// The stream's WebSocket, token included. Works at once.
    ws_url: String,
    /// The token in it.
    token: String,
    /// How long the token is good, in seconds.
    expires_in_sec: u64,
    /// Whether this request created the stream; false if it ran already, for you or for another owner of the same spec.
    created: bool,
    /// What each phrase of the sentence led to; empty for a spec.
    #[cfg_attr(test, schema(value_type = Vec<Object>))]
    explanation: Vec<Explanation>,
    /// What was ignored, rounded or read in one of two ways.
    warnings: Vec<String>,
}

/// Create a stream from a sentence or a spec, or join the one that runs already.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/streams", operation_id = "create_stream", tag = "streams", request_body = CreateRequest,
    responses(
        (status = 200, description = "It runs", body = Created),
        (status = 400, response = NotUnderstood),
        (status = 401, response = KeyRefused),
        (status = 413, response = BodyTooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = QuotaReached),
    ),
))]
pub(super) async fn create(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Json<Created>, Problem> {
    let ttl_sec = read_ttl(&body)?;
    let Compiled { spec, explanation, warnings, .. } = understand(&body, &state.settings)?;
    let (stream, created) = claim(&state, caller.owner.clone(), &spec, ttl_sec.or(spec.ttl_sec())).await?;
    if created {
        hint(&state).await;
    }
    let TokenGrant { token, ws_url, expires_in_sec } = grant(&state, &caller, &headers, &stream.id);
    let stream_id = stream.id.to_string();
    Ok(Json(Created { stream_id, spec, ws_url, token, expires_in_sec, created, explanation, warnings }))
}

fn read_ttl(body: &Map<String, Value>) -> Result<Option<u32>, Problem> {
    let Some(given) = body.get("ttl_sec").filter(|value| !value.is_null()) else { return Ok(None) };
    let ttl = given.as_u64().and_then(|ttl| u32::try_from(ttl).ok());
    match ttl.filter(|ttl| (1..=MAX_TTL_SEC).contains(ttl)) {
        Some(ttl) => Ok(Some(ttl)),
        None => {
            let detail =
                format!("ttl_sec must be a whole number of seconds from 1 to {MAX_TTL_SEC}, or left out");
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
    let labels = spec.labels();
    let spec = spec.clone().with_labels(Labels::default());
    let spec_json = serde_json::to_string(&spec).map_err(internal)?;
    let stream =
        DesiredStream { id: spec.id(), canonical: spec.canonical(), spec: spec_json, created_at: now };
    let expires_at = ttl_sec.map(|ttl| now.plus(Duration::from_secs(ttl.into())));
    let claim = Claim { owner, expires_at, labels };
    state.store.claim(stream, claim, state.settings.max_streams, now).await.map_err(store_problem)
}
