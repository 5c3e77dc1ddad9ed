//! `@connections`, the callback API ("Use @connections commands in your backend service" and the ApiGatewayManagementApi reference, read
//! 2026-11).
//!
//! Requests must be signed in form; the signature is not verified, but its access key tells which function's process has posted. Two posts
//! that are under way together have no order. A post that is not UTF-8 is refused (400), since only text frames are sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::body::{self, BodyError};
use crate::gateway::Gateway;
use crate::stats::{Counter, PostStats};
use crate::websocket::{Closing, Connection, MESSAGE_BYTES, PushError};
use crate::{id, sigv4};

/// The least time for which posts are held together where they are to be reordered.
const REORDER: Duration = Duration::from_millis(5);

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostRefusal {
    Unsigned(sigv4::Refusal),
    Gone,
    TooLarge,
    NotText,
    /// The account's quota. On the wire it looks like [`PostRefusal::Slow`]: the one documented exception stands for both.
    Quota,
    Slow,
}

impl From<PushError> for PostRefusal {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Gone => Self::Gone,
            PushError::Slow => Self::Slow,
        }
    }
}

impl PostRefusal {
    fn wording(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unsigned(refusal) => (sigv4::Refusal::STATUS, refusal.wording().0, refusal.wording().1),
            Self::Gone => (StatusCode::GONE, "GoneException", "Gone"),
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException", "Payload Too Large")
            }
            Self::NotText => (StatusCode::BAD_REQUEST, "BadRequestException", "Payload is not text"),
            Self::Quota | Self::Slow => {
                (StatusCode::TOO_MANY_REQUESTS, "LimitExceededException", "Limit Exceeded")
            }
        }
    }

    fn counter(self, stats: &PostStats) -> &Counter {
        match self {
            Self::Unsigned(_) => &stats.forbidden,
            Self::Gone => &stats.gone,
            Self::TooLarge => &stats.too_large,
            Self::NotText => &stats.invalid,
            Self::Quota => &stats.quota,
            Self::Slow => &stats.slow,
        }
    }
}

impl IntoResponse for PostRefusal {
    fn into_response(self) -> Response {
        let (status, name, message) = self.wording();
        let headers = [("x-amzn-errortype", name), ("x-amzn-requestid", &id::request_id())];
        (status, headers, axum::Json(json!({"message": message}))).into_response()
    }
}

/// `POST`: sends a message to a client.
pub(crate) async fn post(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = try_post(&gateway, &id, &headers, body).await;
    let posts = &gateway.stats.posts;
    match outcome {
        Ok(()) => {
            posts.accepted.count();
            kill_if_due(&gateway, &headers).await;
            StatusCode::OK.into_response()
        }
        Err(refusal) => {
            refusal.counter(posts).count();
            refusal.into_response()
        }
    }
}

async fn try_post(
    gateway: &Arc<Gateway>,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), PostRefusal> {
    authorize(gateway, headers)?;
    let message = message(body).await?;
    if gateway.faults.strikes(|plan| plan.quota_429) {
        return Err(PostRefusal::Quota);
    }
    tokio::time::sleep(gateway.post_time()).await;
    let connection = gateway.connections.open(id).ok_or(PostRefusal::Gone)?;
    if gateway.faults.strikes(|plan| plan.slow_429) {
        return Err(PostRefusal::Slow);
    }
    if gateway.faults.setting(|plan| plan.reorder) {
        push_reordered(gateway, connection, message).await?;
    } else {
        connection.push(message, gateway.clock.now_ms())?;
    }
    Ok(())
}

async fn message(body: Body) -> Result<Bytes, PostRefusal> {
    let message = body::read(body, MESSAGE_BYTES).await.map_err(|error| match error {
        BodyError::TooLarge => PostRefusal::TooLarge,
        BodyError::Broken => PostRefusal::NotText,
    })?;
    std::str::from_utf8(&message).map_err(|_| PostRefusal::NotText)?;
    Ok(message)
}

async fn push_reordered(
    gateway: &Arc<Gateway>,
    connection: Arc<Connection>,
    message: Bytes,
) -> Result<(), PushError> {
    let (first, outcome) = connection.hold(message);
    if first {
        // In a task of its own: what others wait for must not end with this request.
        tokio::spawn(release_reordered(gateway.clone(), connection));
    }
    outcome.await.unwrap_or(Err(PushError::Gone))
}

async fn release_reordered(gateway: Arc<Gateway>, connection: Arc<Connection>) {
    tokio::time::sleep(gateway.post_time().max(REORDER)).await;
    let mut held = connection.release();
    gateway.faults.shuffle(&mut held);
    for (message, outcome) in held {
        // The one who posted may have gone; the message is delivered all the same.
        let _ = outcome.send(connection.push(message, gateway.clock.now_ms()));
    }
}

/// Kills the process that has posted, where the fault says so, before it gets the answer.
async fn kill_if_due(gateway: &Gateway, headers: &HeaderMap) {
    let key = sigv4::access_key(headers, "execute-api").ok();
    let Some(environment) = key.and_then(|key| gateway.lambda.environment(key)) else { return };
    if gateway.faults.dies(environment.function(), environment.count_post()) {
        environment.kill().await;
    }
}

/// `GET`: what is known of a client.
pub(crate) async fn get(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found =
        authorize(&gateway, &headers).and_then(|()| gateway.connections.open(&id).ok_or(PostRefusal::Gone));
    found.map_or_else(IntoResponse::into_response, |connection| {
        axum::Json(description(&connection)).into_response()
    })
}

/// `DELETE`: disconnects a client.
pub(crate) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found =
        authorize(&gateway, &headers).and_then(|()| gateway.connections.open(&id).ok_or(PostRefusal::Gone));
    found.map_or_else(IntoResponse::into_response, |connection| {
        connection.close(Closing::DELETED);
        StatusCode::NO_CONTENT.into_response()
    })
}

/// Requests count against the quota whatever they ask for.
fn authorize(gateway: &Gateway, headers: &HeaderMap) -> Result<(), PostRefusal> {
    sigv4::access_key(headers, "execute-api").map_err(PostRefusal::Unsigned)?;
    let quota = gateway.quota.as_ref();
    if quota.is_some_and(|bucket| !bucket.lock().take(Instant::now())) {
        Err(PostRefusal::Quota)
    } else {
        Ok(())
    }
}

fn description(connection: &Connection) -> serde_json::Value {
    json!({
        "connectedAt": iso8601(connection.connected_at),
        "identity": {"sourceIp": connection.source_ip, "userAgent": connection.user_agent},
        "lastActiveAt": iso8601(connection.last_active()),
    })
}

fn iso8601(unix_ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    at.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
}
