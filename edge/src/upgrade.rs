//! The opening handshake of a WebSocket (RFC 6455), up to the TCP socket under it.

mod offers;

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bond_core::connection::{SUBPROTOCOL, offers_subprotocol};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::server::HttpConnection;

/// After this long without a byte the kernel checks whether the client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The length of a `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// The size of the kernel's send buffer for one client. It bounds the memory that a client costs which does not read.
const SEND_BUFFER: usize = 128 * 1024;

/// Why a request cannot open a WebSocket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unfit {
    NoWebSocket,
    NoKey,
}

impl IntoResponse for Unfit {
    fn into_response(self) -> Response {
        match self {
            Self::NoWebSocket => {
                let wanted = [(UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")];
                (StatusCode::UPGRADE_REQUIRED, wanted, "connect with a WebSocket client\n").into_response()
            }
            Self::NoKey => (StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key\n").into_response(),
        }
    }
}

/// A request to open a WebSocket, checked by RFC 6455.
pub(crate) struct Upgrade {
    accept: HeaderValue,
    pub(crate) has_subprotocol: bool,
    /// What would be answered to the client's offers of permessage-deflate, if one of them can be taken.
    deflate_answer: Option<&'static str>,
    has_deflate: bool,
}

impl Upgrade {
    /// Reads a request's headers.
    pub(crate) fn of(request: &Request) -> Result<Self, Unfit> {
        let headers = request.headers();
        let asks = request.method() == Method::GET
            && has_token(headers, &CONNECTION, "upgrade")
            && has_token(headers, &UPGRADE, "websocket")
            && has_token(headers, &SEC_WEBSOCKET_VERSION, "13");
        if !asks {
            return Err(Unfit::NoWebSocket);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == KEY_LENGTH).ok_or(Unfit::NoKey)?;
        let accept = derive_accept_key(key.as_bytes()).parse().map_err(|_| Unfit::NoKey)?;
        Ok(Self {
            accept,
            has_subprotocol: offers_subprotocol(lists(headers, &SEC_WEBSOCKET_PROTOCOL)),
            deflate_answer: offers::negotiate(lists(headers, &SEC_WEBSOCKET_EXTENSIONS)),
            has_deflate: false,
        })
    }

    /// Takes the client's offer of permessage-deflate, if it `is_wanted` and there is one that can be taken. Returns whether that is agreed.
    pub(crate) fn agree_on_deflate(&mut self, is_wanted: bool) -> bool {
        self.has_deflate = is_wanted && self.deflate_answer.is_some();
        self.has_deflate
    }

    /// The response that turns the connection into a WebSocket.
    pub(crate) fn switching(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if self.has_subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        if let Some(answer) = self.deflate_answer.filter(|_| self.has_deflate) {
            headers.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(answer));
        }
        response
    }
}

/// Whether a header has `token` in its comma-separated lists.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    lists(headers, name).flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

fn lists<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// The TCP socket of an upgraded connection, and the bytes that the client has sent already.
pub(crate) async fn take_socket(upgrade: OnUpgrade) -> io::Result<(TcpStream, bytes::Bytes)> {
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let Parts { io, read_buf, .. } = upgraded
        .downcast::<TokioIo<HttpConnection>>()
        .map_err(|_| io::Error::other("the connection is not plain TCP"))?;
    let socket = io.into_inner().into_inner();
    let options = SockRef::from(&socket);
    options.set_send_buffer_size(SEND_BUFFER)?;
    options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
    Ok((socket, read_buf))
}
