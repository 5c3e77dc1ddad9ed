//! The simulator's own controls, under `/_admin`. AWS has nothing like them.
//!
//! | request | does |
//! |---|---|
//! | `GET`, `PUT /faults` | shows, replaces the whole fault plan |
//! | `GET /stats` | what happened, counted |
//! | `POST /clock {"advance_ms": n}` | advances the virtual clock, and ends the connections that reach a limit |
//! | `GET /connections` | the open connections |
//! | `DELETE /connections/{id}?silent=true` | ends one; silent: by dropping its socket, without `$disconnect` |
//! | `PUT /functions/{name}` | deploys a function anew: its configuration, as in the file |
//! | `GET /logs?function=name` | the last lines that functions wrote |

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::FunctionConfig;
use crate::faults::FaultPlan;
use crate::gateway::Gateway;
use crate::websocket::Closing;

/// The routes.
pub(crate) fn router() -> Router<Arc<Gateway>> {
    Router::new()
        .route("/faults", get(faults).put(replace_faults))
        .route("/stats", get(stats))
        .route("/clock", post(advance))
        .route("/connections", get(connections))
        .route("/connections/{id}", delete(disconnect))
        .route("/functions/{name}", put(deploy))
        .route("/logs", get(logs))
}

async fn faults(State(gateway): State<Arc<Gateway>>) -> Json<FaultPlan> {
    Json(gateway.faults.plan())
}

async fn replace_faults(State(gateway): State<Arc<Gateway>>, Json(plan): Json<FaultPlan>) -> Response {
    if let Some(problem) = plan.problem() {
        return (StatusCode::BAD_REQUEST, problem).into_response();
    }
    gateway.faults.replace(plan);
    StatusCode::NO_CONTENT.into_response()
}

async fn stats(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let mut stats = serde_json::to_value(&gateway.stats).unwrap_or_default();
    stats["connections"]["open"] = gateway.connections.all().len().into();
    stats["functions"] = gateway.lambda.stats();
    Json(stats)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

async fn advance(State(gateway): State<Arc<Gateway>>, Json(advance): Json<Advance>) -> Json<Value> {
    gateway.clock.advance(advance.advance_ms);
    let now_ms = gateway.clock.now_ms();
    gateway.connections.sweep(now_ms);
    Json(json!({"now_ms": now_ms}))
}

async fn connections(State(gateway): State<Arc<Gateway>>) -> Json<Value> {
    let all = gateway.connections.all();
    let describe = |connection: &Arc<crate::websocket::Connection>| json!({"id": connection.id, "connected_at": connection.connected_at, "last_active": connection.last_active()});
    Json(all.iter().map(describe).collect())
}

#[derive(Debug, Deserialize)]
struct Disconnect {
    #[serde(default)]
    silent: bool,
}

async fn disconnect(
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    Query(how): Query<Disconnect>,
) -> StatusCode {
    let Some(connection) = gateway.connections.open(&id) else { return StatusCode::NOT_FOUND };
    connection.close(if how.silent { Closing::Silent } else { Closing::DELETED });
    StatusCode::NO_CONTENT
}

async fn deploy(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
    Json(config): Json<FunctionConfig>,
) -> Response {
    let problems = config.problems(&name);
    if !problems.is_empty() {
        return (StatusCode::BAD_REQUEST, problems.join("\n")).into_response();
    }
    let known = gateway.lambda.deploy(&name, config, &gateway.base_url);
    if known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }.into_response()
}

#[derive(Debug, Deserialize)]
struct Logs {
    function: Option<String>,
}

async fn logs(State(gateway): State<Arc<Gateway>>, Query(which): Query<Logs>) -> String {
    gateway.lambda.log().lines(which.function.as_deref()).join("\n")
}
