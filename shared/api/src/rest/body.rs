//! Reading request bodies.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bond_core::code::Code;
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::RestState;
use crate::problem::Problem;

/// The most bytes of a body.
const MAX_BYTES: usize = 64 * 1024;

/// How many bytes of a body that is too long are read and dropped.
const DISCARDED_BYTES: usize = 4 * 1024 * 1024;

/// How long that may take.
const DISCARD_PATIENCE: Duration = Duration::from_secs(2);

/// A request's body: a JSON object.
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl FromRequest<Arc<RestState>> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<RestState>) -> Result<Self, Problem> {
        match serde_json::from_slice(&json(request).await?) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Problem::new(
                Code::InvalidMessage,
                "the body must be a JSON object, such as {\"natural_language\": \"BTC price\"}",
            )),
            Err(error) => Err(Problem::new(Code::InvalidMessage, format!("the body is not JSON: {error}"))),
        }
    }
}

/// The text of a request's body whose content type is JSON. The handler parses it.
pub(super) struct JsonText(pub(super) String);

impl FromRequest<Arc<RestState>> for JsonText {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<RestState>) -> Result<Self, Problem> {
        let not_text = |_| Problem::new(Code::InvalidMessage, "the body is not JSON: it is no UTF-8");
        String::from_utf8(json(request).await?.into()).map(Self).map_err(not_text)
    }
}

/// Reads a body whose content type is JSON.
async fn json(request: Request) -> Result<axum::body::Bytes, Problem> {
    check_content_type(request.headers())?;
    read(request.headers().clone(), request.into_body()).await
}

/// Accepts any JSON content type, or none.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence.ends_with("+json") {
        return Ok(());
    }
    let detail = format!("the body must be JSON: send `Content-Type: application/json`, not {given}");
    Err(Problem::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidMessage, detail))
}

async fn read(headers: HeaderMap, body: Body) -> Result<axum::body::Bytes, Problem> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BYTES as u64) {
        discard(body).await;
        return Err(too_large());
    }
    to_bytes(body, MAX_BYTES).await.map_err(|error| {
        let over_limit = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        if over_limit { too_large() } else { Problem::new(Code::InvalidMessage, "the body broke off") }
    })
}

/// Reads and drops what a client is still sending, within bounds. If the connection were closed with unread bytes, it would be reset, and
/// the client could not read the answer that says why.
async fn discard(mut body: Body) {
    let reading = async {
        let mut left = DISCARDED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len()));
            if left == 0 {
                break;
            }
        }
    };
    // A client that is slower than this may miss the answer.
    let _ = tokio::time::timeout(DISCARD_PATIENCE, reading).await;
}

fn too_large() -> Problem {
    Problem::new(
        Code::TooLarge,
        format!("the body is over {MAX_BYTES} bytes: send a shorter sentence or spec, or fewer events"),
    )
}
