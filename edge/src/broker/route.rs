//! The broker's routes, and who may open a WebSocket.

use std::fmt::Display;
use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bond_api::local;
use bond_api::problem::Problem;
use bond_core::code::Code;
use bond_core::connection::Parameters;
use bond_core::position::Start;
use hyper::upgrade::OnUpgrade;
use serde_json::json;

use super::BrokerShared;
use super::client::{self, Begin};
use crate::server::Peer;
use crate::upgrade::Upgrade;

/// The longest stream id, in bytes.
const ID_BYTES: usize = 256;

pub(super) fn router(shared: Arc<BrokerShared>) -> Router {
    Router::new()
        .route("/", get(async || Json(json!({"status": "ok", "service": "bond-broker"}))))
        .route("/health", get(health))
        .route("/ws/{stream_id}", get(stream))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), refuse_strangers))
        .with_state(shared)
}

/// On loopback, refuses requests that a web page or a proxy could send, as the other edges do without keys.
async fn refuse_strangers(
    State(shared): State<Arc<BrokerShared>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if shared.config.is_local {
        local::admit(&request)?;
    }
    Ok(next.run(request).await)
}

async fn health(State(shared): State<Arc<BrokerShared>>) -> Response {
    let detail = match (shared.supervisor.death(), shared.streams.now_ms().await) {
        (None, Ok(_)) => return Json(json!({"status": "ok"})).into_response(),
        (Some(death), _) => death.to_string(),
        (None, Err(error)) => format!("redis does not answer: {error}"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "unavailable", "detail": detail})))
        .into_response()
}

async fn stream(
    State(shared): State<Arc<BrokerShared>>,
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
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| *peer);
    // Seats are limited by address only. The producer decides how many clients get tokens of a stream.
    let seat = match shared.seats.take(peer, None) {
        Ok(seat) => seat,
        Err(none) => return none.into_response(),
    };
    let begin = admit(&shared, &id, &Parameters::new(pairs));
    let tracked = Arc::clone(&shared);
    shared.clients.spawn(client::serve(tracked, upgraded, begin, seat));
    upgrade.switching()
}

/// How a connection begins: with a stream, or with a reason to close it.
fn admit(shared: &BrokerShared, id: &str, parameters: &Parameters) -> Begin {
    let refused = |code: Code, reason: &dyn Display| Begin::Refused {
        code: code.close_code(),
        reason: format!("{code}: {reason}"),
    };
    if id.len() > ID_BYTES {
        return refused(Code::NotFound, &format_args!("a stream id is at most {ID_BYTES} bytes"));
    }
    let token = parameters.get("token").unwrap_or_default();
    if let Err(error) = shared.config.tokens.verify_name(token, id, shared.config.clock.now()) {
        return refused(error.code(), &error);
    }
    match parameters.start() {
        (Start::After(_), _) => {
            refused(Code::InvalidMessage, &"entries have no numbers here; from takes now-60s or Unix seconds")
        }
        (_, errors) if !errors.is_empty() => refused(errors[0].code, &errors[0].message),
        (start, _) => match shared.follow(id) {
            Some(ring) => Begin::Stream { ring, start },
            None => refused(Code::ConnectionError, &"too many streams are followed: connect again later"),
        },
    }
}
