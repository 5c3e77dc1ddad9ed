//! From an HTTP request to a socket that a worker owns.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bond_api::admission::{Credentials, Grant, Refusal};
use bond_core::code::{CloseCode, Code};
use bond_core::connection::Parameters;
use bond_core::message::MessageError;
use bond_core::position::{Position, Start};
use bond_core::topic::{StreamId, Topic};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::{Follow, Newcomer, Purpose};
use super::mailbox::Note;
use super::shared::Shared;

/// The subprotocol that turns control messages and batches on.
const SUBPROTOCOL: &str = "bond.v1";

/// After this long without a byte the kernel looks whether the client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long a client waits until it is known where its stream stands.
const LOOK: Duration = Duration::from_secs(1);

/// The length of a `Sec-WebSocket-Key`: 16 bytes in base64.
const KEY_LENGTH: usize = 24;

/// What the kernel may hold for one client, so that one that does not read costs no more.
const SEND_BUFFER: usize = 128 * 1024;

/// The path of the forms that have all in the query, as API Gateway wants it.
const BY_QUERY: &str = "/ws";

/// Lets `/` do as [`BY_QUERY`] where a WebSocket is asked for, so that one URL works on every edge. For the outside of a router: within, the
/// request has its route already.
pub(crate) async fn root_by_query(mut request: Request, next: Next) -> Response {
    if request.uri().path() == "/" && has_token(request.headers(), &UPGRADE, "websocket") {
        let query = request.uri().query().unwrap_or_default();
        if let Ok(uri) = format!("{BY_QUERY}?{query}").parse() {
            *request.uri_mut() = uri;
        }
    }
    next.run(request).await
}

/// The WebSocket paths.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/ws/{stream_id}", get(stream))
        .route(BY_QUERY, get(by_query))
        .route("/stream", get(feed))
        .route("/raw", get(raw))
        .with_state(shared)
}

type Pairs = Query<Vec<(String, String)>>;

async fn by_query(State(shared): State<Arc<Shared>>, Query(pairs): Pairs, request: Request) -> Response {
    let parameters = Parameters::new(pairs);
    match (parameters.get("stream").map(str::to_owned), parameters.get("mode")) {
        (Some(id), _) => open_stream(shared, &id, parameters, request).await,
        (None, Some("feed")) => open_feed(shared, parameters, request, false).await,
        _ => (StatusCode::NOT_FOUND, "name a stream with ?stream= or ask for ?mode=feed\n").into_response(),
    }
}

async fn stream(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(pairs): Pairs,
    request: Request,
) -> Response {
    open_stream(shared, &id, Parameters::new(pairs), request).await
}

async fn open_stream(shared: Arc<Shared>, id: &str, parameters: Parameters, request: Request) -> Response {
    let upgrade = match Upgrade::of(&request) {
        Ok(upgrade) => upgrade,
        Err(unfit) => return unfit.into_response(),
    };
    let admitted = admit_stream(&shared, id, &parameters, request.headers()).await;
    let (start, errors) = parameters.start();
    let resumes = matches!(start, Start::After(Position { .. }));
    let plan = match admitted {
        Ok((id, grant)) => {
            // Before the client is answered, so that whatever is appended after that reaches it.
            let ring = shared.hub.follow(&Topic::Stream(id.clone()));
            // A log that does not answer holds up no client for long; it begins by our clock then.
            let _ = timeout(LOOK, ring.begun()).await;
            let follow = Follow::new(ring, start, shared.clock.now());
            Plan { purpose: Purpose::Stream { id, follow }, errors, grant }
        }
        Err(refusal) => Plan::refused(&refusal),
    };
    let control = parameters.control() || resumes;
    upgrade.accept(shared, request, &parameters, plan, control)
}

async fn admit_stream(
    shared: &Shared,
    id: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
) -> Result<(StreamId, Grant), Refusal> {
    let Some(id) = StreamId::parse(id) else {
        return Err(Refusal { code: Code::NotFound, message: "no such stream".into() });
    };
    let credentials = Credentials { token: parameters.get("token"), headers };
    let grant = shared.admission.stream(&id, credentials).await?;
    Ok((id, grant))
}

async fn feed(State(shared): State<Arc<Shared>>, Query(pairs): Pairs, request: Request) -> Response {
    open_feed(shared, Parameters::new(pairs), request, false).await
}

async fn raw(State(shared): State<Arc<Shared>>, Query(pairs): Pairs, request: Request) -> Response {
    open_feed(shared, Parameters::new(pairs), request, true).await
}

/// `begins`: the request says what is wanted, and no message is waited for.
async fn open_feed(shared: Arc<Shared>, parameters: Parameters, request: Request, begins: bool) -> Response {
    let upgrade = match Upgrade::of(&request) {
        Ok(upgrade) => upgrade,
        Err(unfit) => return unfit.into_response(),
    };
    let credentials = Credentials { token: parameters.get("token"), headers: request.headers() };
    let plan = match shared.admission.feed(credentials).await {
        Ok(grant) => {
            // Before the client is answered, so that whatever is appended after that reaches it.
            let since = shared.clock.now();
            let (wish, errors) = if begins { parameters.wish(since) } else { (None, Vec::new()) };
            Plan { purpose: Purpose::Feed { wish }, errors, grant }
        }
        Err(refusal) => Plan::refused(&refusal),
    };
    let control = parameters.control();
    upgrade.accept(shared, request, &parameters, plan, control)
}

/// What a connection will be.
struct Plan {
    purpose: Purpose,
    errors: Vec<MessageError>,
    grant: Grant,
}

impl Plan {
    fn refused(refusal: &Refusal) -> Self {
        let purpose = Purpose::Refused { code: CloseCode::PolicyViolation, reason: refusal.to_string() };
        Self { purpose, errors: Vec::new(), grant: Grant::default() }
    }
}

/// Why a request opens no WebSocket.
#[derive(Clone, Copy, Debug)]
enum Unfit {
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

/// A request to open a WebSocket, held to RFC 6455.
struct Upgrade {
    accept: HeaderValue,
    has_subprotocol: bool,
}

impl Upgrade {
    fn of(request: &Request) -> Result<Self, Unfit> {
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
        Ok(Self { accept, has_subprotocol: has_token(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) })
    }

    /// Answers 101 and hands the socket to a worker as soon as it is free.
    fn accept(
        self,
        shared: Arc<Shared>,
        mut request: Request,
        parameters: &Parameters,
        plan: Plan,
        control: bool,
    ) -> Response {
        let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
            return (StatusCode::INTERNAL_SERVER_ERROR, "this connection cannot be upgraded\n")
                .into_response();
        };
        if !shared.open() {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many connections; try again\n").into_response();
        }
        let batch = parameters.batch(self.has_subprotocol);
        let control = control || self.has_subprotocol;
        let Plan { purpose, errors, grant: Grant { expires_at } } = plan;
        tokio::spawn(async move {
            let Ok((socket, leftover)) = take_socket(upgrade).await else { return shared.closed() };
            let newcomer = Newcomer { socket, leftover, purpose, control, batch, errors, expires_at };
            shared.adopt(Note::Adopt(Box::new(newcomer)));
        });
        self.switching()
    }

    fn switching(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if self.has_subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        response
    }
}

/// Whether a header has `token` in its comma-separated lists.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The TCP socket under an upgraded connection, ready for a worker, and what the client sent already.
async fn take_socket(upgrade: OnUpgrade) -> io::Result<(std::net::TcpStream, bytes::Bytes)> {
    let upgraded = upgrade.await.map_err(io::Error::other)?;
    let Parts { io, read_buf, .. } = upgraded
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| io::Error::other("the connection is not plain TCP"))?;
    let socket = io.into_inner().into_std()?;
    let options = SockRef::from(&socket);
    options.set_send_buffer_size(SEND_BUFFER)?;
    options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4))?;
    Ok((socket, read_buf))
}
