//! HTTP: REST answers and WebSocket upgrades on one port.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SERVER,
    UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use crate::fault::Moment;
use crate::hub::Hub;
use crate::journal::Entry;
use crate::rest::{self, Answer};
use crate::session;
use crate::venue::Opening;

/// What every answer calls itself, so that nobody takes it for the venue.
const SERVER_NAME: HeaderValue = HeaderValue::from_static("bond-sim");

/// Serves one TCP connection until it ends or `stop` is cancelled.
pub(crate) async fn serve(hub: Arc<Hub>, stream: TcpStream, stop: CancellationToken) {
    let service = service_fn(|request| {
        let (hub, stop) = (hub.clone(), stop.clone());
        async move { Ok::<_, Infallible>(respond(hub, request, stop).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::select! {
        _ = connection => {}
        () = stop.cancelled() => {}
    }
}

async fn respond(
    hub: Arc<Hub>,
    request: Request<Incoming>,
    stop: CancellationToken,
) -> Response<Full<Bytes>> {
    let path = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let answer = if hub.turns_away(Moment::Http, request.uri().path()) {
        Answer::new(503, r#"{"msg":"Service unavailable"}"#)
    } else if is_upgrade(&request) {
        match hub.opening(request.uri().path(), request.uri().query().unwrap_or_default()) {
            Some(opening) => return upgrade(hub, request, opening, path, stop),
            None => Answer::new(404, r#"{"msg":"Not Found"}"#),
        }
    } else {
        rest(&hub, request.uri()).await
    };
    hub.journal.write(Entry::Served { path, status: answer.status });
    write(answer)
}

async fn rest(hub: &Hub, uri: &Uri) -> Answer {
    let request = rest::Request::new(uri.path(), uri.query().unwrap_or_default());
    let answer = hub.answer(&request);
    tokio::time::sleep(answer.wait).await;
    answer
}

fn is_upgrade(request: &Request<Incoming>) -> bool {
    let upgrade = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

fn write(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(SERVER, SERVER_NAME);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(after) = answer.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs()));
    }
    response
}

fn upgrade(
    hub: Arc<Hub>,
    mut request: Request<Incoming>,
    opening: Opening,
    path: String,
    stop: CancellationToken,
) -> Response<Full<Bytes>> {
    let Some(accept) = request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()))
    else {
        return write(Answer::new(400, r#"{"msg":"Sec-WebSocket-Key is missing"}"#));
    };
    let websocket = websocket(hub, hyper::upgrade::on(&mut request), opening, path);
    tokio::spawn(stop.run_until_cancelled_owned(websocket));
    switch_protocols(&accept)
}

/// Takes the TCP stream back from hyper, so that a reset can be a reset.
async fn websocket(hub: Arc<Hub>, upgraded: OnUpgrade, opening: Opening, path: String) {
    let Ok(upgraded) = upgraded.await else { return };
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        return;
    };
    let (stream, read) = (parts.io.into_inner(), parts.read_buf.into());
    let socket = WebSocketStream::from_partially_read(stream, read, Role::Server, None).await;
    let ticket = hub.connect(opening, path);
    session::run(hub, ticket, socket).await;
}

fn switch_protocols(accept: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(SERVER, SERVER_NAME);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}
