//! The HTTP API with one `$default` route and a Lambda proxy integration.

mod event;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;

use crate::body::{self, BodyError};
use crate::gateway::Gateway;

/// The largest request: 10 MB (API Gateway quotas, HTTP APIs, read 2026-11).
const PAYLOAD_BYTES: usize = 10 * 1024 * 1024;
/// How long the integration may take: 30 s (API Gateway quotas, HTTP APIs, read 2026-11).
const INTEGRATION: Duration = Duration::from_secs(30);

/// Answers what no other part of the simulator does.
pub(crate) async fn handle(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let Some(function) = gateway.config.http.as_deref().and_then(|name| gateway.lambda.function(name)) else {
        return failure(StatusCode::NOT_FOUND, "Not Found");
    };
    let (parts, body) = request.into_parts();
    let body = match body::read(body, PAYLOAD_BYTES).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => {
            return failure(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
        }
        Err(BodyError::Broken) => return failure(StatusCode::BAD_REQUEST, "Bad Request"),
    };
    let event = event::request(&parts, &body, &peer.ip().to_string(), gateway.clock.now_ms());
    let invocation = function.invoke(Bytes::from(event.to_string()));
    match tokio::time::timeout(INTEGRATION, invocation).await {
        Ok(Ok(payload)) => response::from_payload(payload).unwrap_or_else(internal_error),
        Ok(Err(_)) => internal_error(),
        Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
    }
}

fn internal_error() -> Response {
    failure(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

fn failure(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({"message": message}))).into_response()
}
