//! What opens a feed where an API key should not travel.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;

use super::RestState;
#[cfg(test)]
use super::described::KeyRefused;
use super::grant::{TokenGrant, grant_for_feeds};
use crate::auth::Caller;

/// Get a short-lived token for feeds, so that no API key stands in a URL.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/feeds/token", operation_id = "feed_token", tag = "streams",
    responses(
        (status = 200, description = "It opens feeds until it expires", body = TokenGrant),
        (status = 401, response = KeyRefused),
    ),
))]
pub(super) async fn token(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    headers: HeaderMap,
) -> Json<TokenGrant> {
    Json(grant_for_feeds(&state, &caller, &headers))
}
