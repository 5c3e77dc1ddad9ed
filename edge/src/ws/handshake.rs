//! From an HTTP request to a socket that a worker owns.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::UPGRADE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bond_api::admission::{Credentials, Grant, Refusal};
use bond_core::code::Code;
use bond_core::connection::Parameters;
use bond_core::message::MessageError;
use bond_core::position::{Position, Start};
use bond_core::topic::{StreamId, Topic};
use hyper::upgrade::OnUpgrade;
use smol_str::SmolStr;
use tokio::time::timeout;

use super::connection::{Purpose, UpgradedSocket};
use super::shared::Shared;
use super::{health, topics};
use crate::delivery::follow::Follow;
use crate::server::Peer;
use crate::upgrade::{Upgrade, has_token, take_socket};

/// How long a client waits until it is known where its stream stands.
const LOOK: Duration = Duration::from_secs(1);

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
        .merge(topics::router())
        .merge(health::router())
        .with_state(shared)
}

type Pairs = Query<Vec<(String, String)>>;

async fn by_query(State(shared): State<Arc<Shared>>, Query(pairs): Pairs, request: Request) -> Response {
    let parameters = Parameters::new(pairs);
    match (parameters.get("stream").map(str::to_owned), parameters.get("mode")) {
        (Some(id), _) => open_stream(shared, &id, parameters, request).await,
        (None, Some("feed")) => open_feed(shared, parameters, request, false).await,
        (None, None) => topics::open(&shared, Vec::new(), &parameters, request, false),
        _ => (
            StatusCode::NOT_FOUND,
            "name a stream with ?stream=, topics with ?topic=, or ask for ?mode=feed\n",
        )
            .into_response(),
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
    accept(upgrade, shared, request, &parameters, plan, control)
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
    accept(upgrade, shared, request, &parameters, plan, control)
}

/// What a connection will be.
pub(super) struct Plan {
    pub(super) purpose: Purpose,
    pub(super) errors: Vec<MessageError>,
    pub(super) grant: Grant,
}

impl Plan {
    /// The key whose share of the seats it takes. A stream's clients are those whom its owner gave tokens, however many.
    fn counted_key(&self) -> Option<SmolStr> {
        let is_feed = matches!(self.purpose, Purpose::Feed { .. } | Purpose::Topics(_));
        self.grant.holder.as_ref().filter(|_| is_feed).map(|holder| holder.key.clone())
    }

    fn refused(refusal: &Refusal) -> Self {
        let purpose = Purpose::Refused { code: refusal.code.close_code(), reason: refusal.to_string() };
        Self { purpose, errors: Vec::new(), grant: Grant::default() }
    }
}

/// Answers 101 and hands the socket to a worker as soon as it is free.
pub(super) fn accept(
    mut upgrade: Upgrade,
    shared: Arc<Shared>,
    mut request: Request,
    parameters: &Parameters,
    plan: Plan,
    control: bool,
) -> Response {
    let Some(upgraded) = request.extensions_mut().remove::<OnUpgrade>() else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "this connection cannot be upgraded\n").into_response();
    };
    let peer = request.extensions().get::<Peer>().map(|Peer(peer)| *peer);
    let seat = match shared.seats.take(peer, plan.counted_key()) {
        Ok(seat) => seat,
        Err(none) => {
            if matches!(plan.purpose, Purpose::Topics(_)) {
                shared.hub.figures.fail();
            }
            return none.into_response();
        }
    };
    let batch = parameters.batch(upgrade.has_subprotocol);
    let control = control || upgrade.has_subprotocol;
    // Clients of topics say in their messages whether they want it; older clients elsewhere see no change.
    let may_deflate = parameters.compression() || matches!(plan.purpose, Purpose::Topics(_));
    let has_deflate = upgrade.agree_on_deflate(may_deflate);
    let Plan { purpose, errors, grant } = plan;
    #[expect(clippy::disallowed_methods, reason = "one client's, whose seat is given back by its end")]
    tokio::spawn(async move {
        let Ok((socket, leftover)) = hand_over(upgraded).await else { return };
        let newcomer =
            UpgradedSocket { socket, leftover, purpose, control, batch, has_deflate, errors, grant, seat };
        shared.adopt(newcomer);
    });
    upgrade.switching()
}

/// The socket, out of the runtime's hands.
async fn hand_over(upgraded: OnUpgrade) -> io::Result<(std::net::TcpStream, bytes::Bytes)> {
    let (socket, leftover) = take_socket(upgraded).await?;
    Ok((socket.into_std()?, leftover))
}
