//! The HTTP API with one `$default` route and a Lambda proxy integration.

mod event;
mod response;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
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
    if !gateway.admits(&gateway.rest_throttle, &route(&gateway, &parts)) {
        return failure(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
    }
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

/// The key of a request's route. All go to one function; what is limited by itself has a route of its own.
fn route(gateway: &Gateway, parts: &Parts) -> String {
    let own = format!("{} {}", parts.method, parts.uri.path());
    if gateway.rest_throttle.names(&own) { own } else { "$default".to_owned() }
}

fn internal_error() -> Response {
    failure(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

fn failure(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({"message": message}))).into_response()
}
