//! Lambda's Invoke action ("Invoke", Lambda API reference, read 2026-11).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::json;

use super::Function;
use super::outcome::{EVENT_BYTES, InvokeError, REQUEST_BYTES};
use crate::body::{self, BodyError};
use crate::gateway::Gateway;
use crate::id;
use crate::sigv4;

/// Answers `POST /2015-03-31/functions/{name}/invocations`.
pub(crate) async fn handle(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Err(refusal) = sigv4::access_key(&headers, "lambda") {
        let (name, message) = refusal.wording();
        return exception(sigv4::Refusal::STATUS, name, message);
    }
    let Some(function) = gateway.lambda.function(&name) else {
        return exception(
            StatusCode::NOT_FOUND,
            "ResourceNotFoundException",
            &format!("Function not found: {name}"),
        );
    };
    match headers.get("x-amz-invocation-type").map_or("RequestResponse", |kind| kind.to_str().unwrap_or("")) {
        "RequestResponse" => synchronous(&function, body).await,
        "Event" => asynchronous(&gateway, &function, body).await,
        "DryRun" => StatusCode::NO_CONTENT.into_response(),
        _ => exception(StatusCode::BAD_REQUEST, "InvalidParameterValueException", "unknown invocation type"),
    }
}

async fn synchronous(function: &Arc<Function>, body: Body) -> Response {
    let payload = match payload(body, REQUEST_BYTES).await {
        Ok(payload) => payload,
        Err(refusal) => return refusal,
    };
    let version = [("x-amz-executed-version", "$LATEST")];
    match function.invoke(payload).await {
        Ok(response) => (version, response).into_response(),
        Err(InvokeError::Function(error)) => {
            (version, [("x-amz-function-error", "Unhandled")], error).into_response()
        }
        Err(InvokeError::TooLarge(_)) => too_large(REQUEST_BYTES),
        Err(InvokeError::Throttled) => throttled(),
    }
}

async fn asynchronous(gateway: &Gateway, function: &Arc<Function>, body: Body) -> Response {
    let payload = match payload(body, EVENT_BYTES).await {
        Ok(payload) => payload,
        Err(refusal) => return refusal,
    };
    match function.enqueue(&payload, gateway.times_invoked(function)) {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(_) => throttled(),
    }
}

async fn payload(body: Body, limit: usize) -> Result<Bytes, Response> {
    let invalid = || {
        exception(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            "Could not parse request body into json",
        )
    };
    let payload = body::read(body, limit).await.map_err(|error| match error {
        BodyError::TooLarge => too_large(limit),
        BodyError::Broken => invalid(),
    })?;
    if payload.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    serde_json::from_slice::<IgnoredAny>(&payload).map_err(|_| invalid())?;
    Ok(payload)
}

fn too_large(limit: usize) -> Response {
    let message = format!("Request must be smaller than {limit} bytes for the InvokeFunction operation");
    exception(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", &message)
}

fn throttled() -> Response {
    let body = json!({"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded."});
    let headers = [("x-amzn-errortype", "TooManyRequestsException"), ("x-amzn-requestid", &id::request_id())];
    (StatusCode::TOO_MANY_REQUESTS, headers, axum::Json(body)).into_response()
}

fn exception(status: StatusCode, name: &str, message: &str) -> Response {
    let headers = [("x-amzn-errortype", name), ("x-amzn-requestid", &id::request_id())];
    (status, headers, axum::Json(json!({"Type": "User", "message": message}))).into_response()
}
