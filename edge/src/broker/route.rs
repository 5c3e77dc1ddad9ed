//! The broker's paths: who may open a WebSocket, and from where.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bond_api::local;
use bond_api::problem::Problem;
use bond_core::code::{CloseCode, Code};
use bond_core::connection::Parameters;
use bond_core::position::Start;
use hyper::upgrade::OnUpgrade;
use serde_json::json;

use super::Shared;
use super::client::{self, Begin};
use crate::upgrade::Upgrade;

/// The longest stream id, in bytes.
const ID_BYTES: usize = 256;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(async || Json(json!({"status": "ok", "service": "bond-broker"}))))
        .route("/health", get(health))
        .route("/ws/{stream_id}", get(stream))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), refuse_strangers))
        .with_state(shared)
}

/// On loopback refuses what a web page or a proxy could send, as the other edges do without keys.
async fn refuse_strangers(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if shared.config.is_local {
        local::admit(&request)?;
    }
    Ok(next.run(request).await)
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.streams.now_ms().await {
        Ok(_) => Json(json!({"status": "ok"})).into_response(),
        Err(error) => {
            let detail = format!("redis does not answer: {error}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "unavailable", "detail": detail})))
                .into_response()
        }
    }
}

async fn stream(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    mut request: Request,
) -> Response {
    let upgrade = match Upgrade::of(&request) {
        Ok(upgrade) => upgrade,
        Err(unfit) => return unfit.into_response(),
    };
    let Some(upgraded) = request.extensions_mut().remove::<OnUpgrade>() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "this connection cannot be upgraded\n").into_response();
    };
    if shared.clients.len() >= shared.config.connections || shared.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many connections; try again\n").into_response();
    }
    let begin = admit(&shared, &id, &Parameters::new(pairs));
    let tracked = Arc::clone(&shared);
    shared.clients.spawn(client::serve(tracked, upgraded, begin));
    upgrade.switching()
}

/// What a connection begins with: a place in its stream, or a reason to close it.
fn admit(shared: &Shared, id: &str, parameters: &Parameters) -> Begin {
    let refused = |reason: String| Begin::Refused { code: CloseCode::PolicyViolation, reason };
    if id.len() > ID_BYTES {
        return refused(format!("{}: a stream id is at most {ID_BYTES} bytes", Code::NotFound));
    }
    let token = parameters.get("token").unwrap_or_default();
    if let Err(error) = shared.config.tokens.verify_name(token, id, shared.config.clock.now()) {
        return refused(format!("{}: {error}", error.code()));
    }
    match parameters.start() {
        (Start::After(_), _) => refused(format!(
            "{}: entries have no numbers here; from takes now-60s or Unix seconds",
            Code::InvalidMessage
        )),
        (_, errors) if !errors.is_empty() => refused(errors[0].to_string()),
        (start, _) => Begin::Stream { ring: shared.follow(id), start },
    }
}
