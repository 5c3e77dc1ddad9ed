//! The handshake: `$connect` decides before the client is upgraded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::Client;
use super::event::{self, Occasion};
use super::proxy::ProxyResponse;
use super::{Connection, route, session};
use crate::gateway::Gateway;
use crate::{http_api, id};

/// Answers a request to the stage: a WebSocket handshake, or else the HTTP API's.
pub(crate) async fn handle(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    let Some(accept) = accept_key(request.headers()) else {
        return http_api::handle(State(gateway), ConnectInfo(peer), request).await;
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let (connection, messages) = connecting(&gateway, peer, request.headers());
    let (request, _) = request.into_parts();
    // In a task of its own: the function's answer counts also where the client is gone by then.
    let handshake = tokio::spawn(async move {
        match admit(&gateway, &connection, &request).await {
            Ok(response) => {
                begin(gateway, connection, upgrade, messages);
                switching(&accept, &response)
            }
            Err(status) => refuse(&gateway, &connection, status),
        }
    });
    handshake.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The answer to the client's key, if the request is a handshake (RFC 6455, 4.2.1).
fn accept_key(headers: &HeaderMap) -> Option<String> {
    let has = |name, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    let is_handshake = has(header::CONNECTION, "upgrade")
        && has(header::UPGRADE, "websocket")
        && has(header::SEC_WEBSOCKET_VERSION, "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_handshake)?;
    Some(derive_accept_key(key.as_bytes()))
}

fn connecting(
    gateway: &Gateway,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> (Arc<Connection>, mpsc::Receiver<Bytes>) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let host = text(header::HOST);
    let client = Client {
        source_ip: peer.ip().to_string(),
        user_agent: text(header::USER_AGENT),
        domain_name: host.rsplit_once(':').map_or(host.clone(), |(name, _)| name.to_owned()),
    };
    let (connection, messages) = Connection::connecting(id::connection_id(), client, gateway.clock.now_ms());
    let connection = Arc::new(connection);
    gateway.connections.add(connection.clone());
    (connection, messages)
}

/// Asks `$connect`. An integration that fails refuses with 502, as users report; the documentation says only that the connection is not
/// established then.
async fn admit(
    gateway: &Gateway,
    connection: &Connection,
    request: &Parts,
) -> Result<Option<ProxyResponse>, StatusCode> {
    if !gateway.admits(&gateway.web_socket_throttle, "$connect") {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    let Some(name) = gateway.config.routes.get("$connect") else { return Ok(None) };
    let occasion = Occasion { connection, stage: &gateway.config.stage, now_ms: connection.connected_at };
    let event = event::connect(occasion, &with_forwarded(&request.headers, connection), request.uri.query());
    let response = route::invoke(gateway, name, &event).await.ok_or(StatusCode::BAD_GATEWAY)?;
    if !response.status_code.is_success() {
        return Err(response.status_code);
    }
    tokio::time::sleep(Duration::from_millis(gateway.faults.setting(|plan| plan.connect_delay_ms))).await;
    Ok(Some(response))
}

fn with_forwarded(headers: &HeaderMap, connection: &Connection) -> HeaderMap {
    let mut headers = headers.clone();
    if let Ok(address) = connection.source_ip.parse() {
        headers.insert("x-forwarded-for", address);
    }
    headers.insert("x-forwarded-proto", header::HeaderValue::from_static("https"));
    headers.insert("x-forwarded-port", header::HeaderValue::from_static("443"));
    headers
}

fn begin(
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
    upgrade: OnUpgrade,
    messages: mpsc::Receiver<Bytes>,
) {
    connection.open();
    gateway.stats.connections.opened.count();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => session::run(gateway, connection, upgraded, messages).await,
            Err(_) => session::never_began(&gateway, &connection).await,
        }
    });
}

/// The upgrade. The subprotocol is the function's to choose, nothing else of its response reaches the client ("Set up routes for
/// WebSocket APIs", "$connect routes that require a WebSocket subprotocol", read 2026-11).
fn switching(accept: &str, response: &Option<ProxyResponse>) -> Response {
    let protocol = response.as_ref().and_then(|response| response.header("sec-websocket-protocol"));
    let mut upgrade = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        upgrade = upgrade.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    upgrade.body(Body::empty()).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

fn refuse(gateway: &Gateway, connection: &Connection, status: StatusCode) -> Response {
    gateway.connections.remove(&connection.id);
    gateway.stats.connections.refused.count();
    status.into_response()
}
