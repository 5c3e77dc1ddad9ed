//! `$connect`: decides who may open a WebSocket, and stores what it carries.
//!
//! The dedicated edge opens a refused connection and closes it with 1008. API Gateway can only refuse the handshake, with the HTTP status of
//! the refusal's code (401, 403, 404).

use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use bond_api::admission::{Admission, Credentials, Grant, Refusal, TopicGrant};
use bond_api::problem::Problem;
use bond_core::code::Code;
use bond_core::connection::{
    Carries, Connection, ConnectionStore, Parameters, SUBPROTOCOL, TopicsItem, offers_subprotocol,
};
use bond_core::control::{Command, Control};
use bond_core::message::{MessageError, ServerMessage, to_json};
use bond_core::position::Start;
use bond_core::topic::StreamId;
use tracing::Instrument;

use crate::emf::{Emf, Metric};
use crate::event::{Answer, EventError, Origin, WebSocketEvent, parameters};
use crate::secrets::Vault;

/// The header by which a client of topics begins with its screen off.
const BACKGROUND: &str = "x-background-mode";

/// The handler of `$connect`.
pub struct Connect {
    /// Decides who may connect.
    pub admission: Arc<dyn Admission>,
    /// Refreshes the keys that `admission` uses.
    pub vault: Vault,
    /// The store of connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// The port by which commands reach the relay.
    pub control: Arc<dyn Control>,
    /// Metrics.
    pub emf: Emf,
}

/// What an accepted request asks for.
struct Asked {
    carries: Carries,
    grant: Grant,
    resumes: bool,
    errors: Vec<MessageError>,
}

impl Connect {
    /// Handles one event.
    ///
    /// # Errors
    /// [`EventError`].
    pub async fn handle(&self, event: WebSocketEvent) -> Result<Answer, EventError> {
        let begun = Instant::now();
        let origin = Origin::of(&event)?;
        let opened = self.open(&origin, &event).instrument(origin.span("$connect")).await;
        let failed = opened.as_ref().is_err_and(|problem| problem.http_status().is_server_error());
        self.emf.write(
            origin.at,
            &[
                Metric::count("Connects", 1),
                Metric::count("ConnectsRefused", usize::from(opened.is_err() && !failed)),
                Metric::share("ConnectFailurePercent", failed),
                Metric::share("ErrorPercent", failed),
                Metric::time("Duration", begun.elapsed()),
            ],
        );
        Ok(opened.unwrap_or_else(|problem| Answer::problem(problem, &origin.request_id)))
    }

    async fn open(&self, origin: &Origin, event: &WebSocketEvent) -> Result<Answer, Problem> {
        self.vault.keyring().await.map_err(|error| {
            tracing::error!(%error, "keys cannot be read");
            Problem::new(Code::InternalError, "the server's keys cannot be read: try again")
        })?;
        let parameters = parameters(event);
        let asked = self.admit(origin, &parameters, &event.headers).await.inspect_err(|problem| {
            // Not a warning, since anybody can cause refusals without limit. The metric counts them, and the access log has each.
            tracing::debug!(code = problem.code().as_str(), detail = problem.detail(), "refused");
        })?;
        let has_subprotocol = speaks_subprotocol(&event.headers);
        let connection = connection(origin, &parameters, asked, has_subprotocol);
        self.keep(connection).await?;
        let mut answer = Answer::done();
        if has_subprotocol {
            answer.headers.insert("Sec-WebSocket-Protocol", SUBPROTOCOL.to_owned());
        }
        Ok(answer)
    }

    async fn admit(
        &self,
        origin: &Origin,
        parameters: &Parameters,
        headers: &HeaderMap,
    ) -> Result<Asked, Problem> {
        let credentials = Credentials { token: parameters.get("token"), headers };
        match (parameters.get("stream"), parameters.get("mode")) {
            (Some(id), _) => {
                let id = StreamId::parse(id)
                    .ok_or_else(|| Problem::new(Code::NotFound, format!("no such stream: {id:.40}")))?;
                let grant = self.admission.stream(&id, credentials).await.map_err(problem)?;
                let (start, errors) = parameters.start();
                let resumes = matches!(start, Start::After(_));
                let carries = Carries::Stream { id, start: start.fixed(origin.at) };
                Ok(Asked { carries, grant, resumes, errors })
            }
            (None, mode) if mode == Some("topics") || names_topics(parameters) => {
                self.admit_to_topics(origin, parameters, credentials)
            }
            (None, Some("feed")) => {
                let grant = self.admission.feed(credentials).await.map_err(problem)?;
                let carries = Carries::Feed(Box::default());
                Ok(Asked { carries, grant, resumes: false, errors: Vec::new() })
            }
            (None, _) => Err(Problem::new(
                Code::InvalidMessage,
                "nothing to carry: connect with ?stream={id}&token=… as in ws_url, with ?mode=feed, or with ?topic=prices.X&token=…",
            )),
        }
    }

    /// Decides about a connection to topics. All that it names must be covered by the token.
    fn admit_to_topics(
        &self,
        origin: &Origin,
        parameters: &Parameters,
        credentials: Credentials<'_>,
    ) -> Result<Asked, Problem> {
        let TopicGrant { grants, holder } = self.admission.topics(credentials).map_err(problem)?;
        let grant = Grant { expires_at: grants.expires_at(), holder };
        let mut wanted = parameters.topics(0);
        wanted.is_background |= credentials.headers.get(BACKGROUND).is_some_and(|value| value == "true");
        let item = TopicsItem::opened(wanted, grants, origin.at)
            .map_err(|refusal| Problem::new(refusal.error.code, refusal.error.message))?;
        Ok(Asked { carries: Carries::Topics(Box::new(item)), grant, resumes: false, errors: Vec::new() })
    }

    /// Stores the connection, and notifies the relay. If the latter fails, the connection is still good: the relay finds it by
    /// reconciliation.
    async fn keep(&self, connection: Connection) -> Result<(), Problem> {
        self.connections.put(&connection).await.map_err(|error| {
            tracing::error!(%error, "connection not kept");
            Problem::new(Code::InternalError, "the connection cannot be kept: try again")
        })?;
        if let Err(error) = self.control.send(Command::Connected(Box::new(connection))).await {
            tracing::warn!(%error, "relay not told; it finds the connection by itself");
        }
        Ok(())
    }
}

fn connection(origin: &Origin, parameters: &Parameters, asked: Asked, has_subprotocol: bool) -> Connection {
    let Asked { carries, grant, resumes, errors } = asked;
    let follows_topics = matches!(carries, Carries::Topics(_));
    let control = parameters.control() || has_subprotocol || resumes || follows_topics;
    let error = |error: &MessageError| text(&ServerMessage::error(error, None));
    Connection {
        control,
        batch: parameters.batch(has_subprotocol),
        expires_at: grant.expires_at,
        holder: grant.holder,
        notes: if control { errors.iter().map(error).collect() } else { Vec::new() },
        ..Connection::opened(origin.connection.clone(), origin.at, carries)
    }
}

fn names_topics(parameters: &Parameters) -> bool {
    ["topic", "topics"].iter().any(|name| parameters.get(name).is_some())
}

/// A message as text.
pub(crate) fn text(message: &ServerMessage<'_>) -> String {
    String::from_utf8(to_json(message)).unwrap_or_default()
}

fn problem(refusal: Refusal) -> Problem {
    Problem::new(refusal.code, refusal.message)
}

fn speaks_subprotocol(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    offers_subprotocol(lists)
}
