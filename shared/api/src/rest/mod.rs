//! The REST interface: streams, tokens, metrics and health. One router, usable on any port.

mod asyncapi;
mod body;
mod compile;
mod create;
#[cfg(test)]
mod described;
mod feeds;
mod grant;
mod health;
mod metrics;
mod openapi;
mod streams;
mod topics;
mod traffic;
mod users;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};
use bond_core::code::Code;
use bond_core::control::Control;
use bond_core::instrument::Venue;
use bond_core::log::EventLog;
use bond_core::publish::Publisher;
use bond_core::store::StreamStore;
use bond_core::time::{Clock, UnixNanos};
use bond_core::topic::StreamId;
use bond_core::vitals::VitalsBoard;

use crate::auth::{Access, Caller};
use crate::paces::Paces;
use crate::problem::{self, Problem};
use crate::refusals::{Known, Refusals};
use crate::tokens::Tokens;

pub use self::compile::Compiled;
pub use self::compile::compile_sentence;
pub use self::health::{Backing, LocalBacking, Probed, Readiness};
pub use self::metrics::{PROMETHEUS, scrape};
pub use self::topics::NoPublisher;
pub use self::traffic::Traffic;

/// Is told of a stream that has ended.
pub type Ended = Box<dyn Fn(&StreamId) + Send + Sync>;

/// Renders metrics as text.
pub type Render = Box<dyn Fn() -> String + Send + Sync>;

/// How the URL of a stream's WebSocket names the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrlForm {
    /// `/ws/{stream_id}?token=…`: the dedicated edge.
    #[default]
    Path,
    /// `?stream={stream_id}&token=…`: all that API Gateway can carry.
    Query,
}

/// What the handlers work with.
pub struct RestState {
    /// The registry.
    pub store: Arc<dyn StreamStore>,
    /// The way to ingest.
    pub control: Arc<dyn Control>,
    /// Where topics are read.
    pub log: Arc<dyn EventLog>,
    /// The way to the writer of topics.
    pub publisher: Arc<dyn Publisher>,
    /// What it works with, asked whether it is there.
    pub backing: Arc<dyn Backing>,
    /// The figures of streams, the statuses of sources, and what all connections together get.
    pub vitals: Arc<dyn VitalsBoard>,
    /// The rate at which messages are written.
    pub traffic: Traffic,
    /// Tells what serves the WebSockets, once it runs, of streams that have ended.
    pub ended: OnceLock<Ended>,
    /// Who may call.
    pub access: Arc<Access>,
    /// What signs tokens.
    pub tokens: Arc<Tokens>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// When this process began to serve.
    pub started_at: UnixNanos,
    /// What `/metrics` answers to Prometheus.
    pub prometheus: Render,
    /// How often each owner has called.
    pub paces: Paces,
    /// What `/ready` found last.
    pub probed: Probed,
    /// The settings that concern REST.
    pub settings: RestSettings,
}

/// The settings that concern REST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestSettings {
    /// Streams that one owner may have.
    pub max_streams: usize,
    /// Requests a second that one owner may make, four times as many at once.
    pub per_second: u32,
    /// Whether `/metrics` needs no key where others do.
    pub open_metrics: bool,
    /// How long a token is good.
    pub token_ttl: Duration,
    /// The host in `ws_url` where it is not the request's: a name, `name:port`, or a whole base such as
    /// `wss://bond.example`.
    pub ws_host: Option<String>,
    /// The port in `ws_url` where `ws_host` names none.
    pub ws_port: u16,
    /// How `ws_url` names the stream.
    pub url_form: UrlForm,
    /// Whether custom sources may be on private addresses.
    pub allow_private_sources: bool,
    /// The configured venues, which a sentence may exclude some of.
    pub venues: BTreeSet<Venue>,
}

/// The REST routes with `others` beside them (WebSocket paths and the like), all behind the same admission,
/// request ids and problem details.
pub fn router(state: Arc<RestState>, others: Router) -> Router {
    let refusals = Refusals::new(Arc::clone(&state.clock));
    routes()
        .with_state(Arc::clone(&state))
        .merge(others)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state, admit))
        .layer(middleware::from_fn_with_state(refusals, problem::answer))
}

fn routes() -> Router<Arc<RestState>> {
    Router::new()
        .route("/", get(health::root))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/metrics", get(metrics::all))
        .route("/openapi.json", get(openapi::serve))
        .route("/asyncapi.json", get(asyncapi::serve))
        .route("/v1/compile", post(compile::compile))
        .route("/v1/streams", get(streams::list).post(create::create))
        .route("/v1/streams/{id}", get(streams::get).delete(streams::delete))
        .route("/v1/streams/{id}/token", post(streams::token))
        .route("/v1/feeds/token", post(feeds::token))
        .route("/v1/topics", get(topics::list))
        .route("/v1/topics/{topic}", delete(topics::end))
        .route("/v1/topics/{topic}/events", get(topics::events).post(topics::publish))
        .route("/v1/topics/{topic}/snapshot", get(topics::snapshot))
        .route("/v1/users/{user}/disconnect", post(users::disconnect))
        .route("/v1/publish", post(topics::publish_to_many))
        .route("/v1/streams/{id}/metrics", get(metrics::stream))
}

async fn admit(
    State(state): State<Arc<RestState>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    state.access.admit(&request)?;
    Ok(next.run(request).await)
}

async fn not_found(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::new(Code::NotFound, format!("there is no {path}; /openapi.json lists what there is"))
}

async fn method_not_allowed(method: Method, request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    let detail = format!("{path} does not take {method}; the `Allow` header says what it takes");
    Problem::with_status(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidMessage, detail)
}

impl FromRequestParts<Arc<RestState>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<RestState>) -> Result<Self, Problem> {
        let caller = state.access.caller(&parts.headers)?;
        note_known(parts);
        if state.paces.admit(&caller.owner, state.clock.now()) { Ok(caller) } else { Err(too_fast(state)) }
    }
}

/// Has it known that whoever asks is no stranger.
fn note_known(parts: &Parts) {
    if let Some(known) = parts.extensions.get::<Known>() {
        known.set();
    }
}

fn too_fast(state: &RestState) -> Problem {
    let detail =
        format!("{} requests a second are taken of one owner: wait a second", state.settings.per_second);
    Problem::new(Code::RateLimitExceeded, detail).with_retry_after(1)
}

#[cfg(test)]
mod tests;
