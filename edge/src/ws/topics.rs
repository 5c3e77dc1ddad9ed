//! Connections that follow topics by name: their paths, their messages, and the life of their tokens.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bond_api::admission::{Credentials, Grant, Refusal, TopicGrant};
use bond_core::code::{CloseCode, Code};
use bond_core::connection::{
    Batch, Limit, MOST_TOPICS, Parameters, TopicAccess, TopicAck, TopicAnswers, TopicParameters,
    TopicRefusal, TopicRequest, TopicsState, limit_batch,
};
use bond_core::message::envelope;
use bond_core::message::{ClientMessage, MessageError, Request as Message};
use bond_core::time::UnixNanos;
use bond_core::topic::{Family, is_segment};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::connection::{Carried, Connection, CountedConnection, Purpose, TopicSession, TopicsPurpose};
use super::handshake::{Plan, accept};
use super::protocol::TOO_FAST;
use super::shared::Shared;
use super::worker::Worker;
use crate::delivery::feed::{Feed, NamedTopics, Scope, TakenMessage};
use crate::delivery::figures::Told;
use crate::server::Peer;
use crate::upgrade::Upgrade;

/// How long before its end a client is told that its token expires.
const WARNED_BEFORE: Duration = Duration::from_secs(60);

/// How many connections to topics may be refused to one address: 100 at once, and as many in ten seconds. Beyond that they are not even
/// upgraded.
const REFUSED: Limit = Limit { interval: Duration::from_millis(100), burst: 100 };

/// The paths of topics, under both of their roots. A path wants a token in open mode too: it says whose topics these are.
pub(super) fn router() -> Router<Arc<Shared>> {
    let mut router = Router::new().route("/api/v1/ws", get(by_query));
    for root in ["", "/api/v1"] {
        router = router.route(&format!("{root}/ws/{{kind}}/{{id}}"), get(by_path));
    }
    router
}

type Pairs = Query<Vec<(String, String)>>;

async fn by_query(State(shared): State<Arc<Shared>>, Query(pairs): Pairs, request: Request) -> Response {
    open(&shared, Vec::new(), &Parameters::new(pairs), request, false)
}

async fn by_path(
    State(shared): State<Arc<Shared>>,
    Path((kind, id)): Path<(String, String)>,
    Query(pairs): Pairs,
    request: Request,
) -> Response {
    match topics_of(&kind, &id) {
        Some(topics) => open(&shared, topics, &Parameters::new(pairs), request, true),
        None => (StatusCode::NOT_FOUND, "no such path: an id has 1 to 64 letters, digits, _ and -\n")
            .into_response(),
    }
}

/// The topics of a path.
fn topics_of(kind: &str, id: &str) -> Option<Vec<SmolStr>> {
    is_segment(id).then_some(())?;
    let families: &[&str] = match kind {
        "market" => &["prices.*"],
        "auction" => &["auctions.*"],
        "trading" => &["trading.*", "portfolio.*"],
        "risk" => &["risk.*", "risk.*.alerts"],
        "mobile" => &["mobile.*"],
        _ => return None,
    };
    Some(families.iter().map(|family| family.replace('*', id).into()).collect())
}

/// Opens a connection that follows the topics of its path, and those that its query names.
pub(super) fn open(
    shared: &Arc<Shared>,
    of_path: Vec<SmolStr>,
    parameters: &Parameters,
    request: Request,
    is_path: bool,
) -> Response {
    let upgrade = match Upgrade::of(&request) {
        Ok(upgrade) => upgrade,
        Err(unfit) => return unfit.into_response(),
    };
    let now = shared.clock.now();
    let plan = match admit(shared, &of_path, parameters, request.headers(), is_path) {
        Ok(grant) => {
            let purpose = begin(shared, of_path, parameters, request.headers(), grant.clone(), now);
            let TopicGrant { grants, holder } = grant;
            let grant = Grant { expires_at: grants.expires_at(), holder };
            Plan { purpose: Purpose::Topics(Box::new(purpose)), errors: Vec::new(), grant }
        }
        Err(refusal) => {
            if let Some(too_many) = refused_too_often(shared, &request, now) {
                return too_many;
            }
            Plan { purpose: Purpose::RefusedTopics(refusal), errors: Vec::new(), grant: Grant::default() }
        }
    };
    accept(upgrade, Arc::clone(shared), request, parameters, plan, true)
}

fn refused_too_often(shared: &Shared, request: &Request, now: UnixNanos) -> Option<Response> {
    let peer: IpAddr = request.extensions().get::<Peer>().map(|Peer(peer)| *peer)?;
    let wait = shared.refusals.spend(peer, REFUSED, now).err()?;
    let seconds = wait.as_secs().max(1).to_string();
    let advice = "too many refused connections: mend the token first\n";
    Some((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds)], advice).into_response())
}

fn admit(
    shared: &Shared,
    of_path: &[SmolStr],
    parameters: &Parameters,
    headers: &HeaderMap,
    is_path: bool,
) -> Result<TopicGrant, Refusal> {
    let credentials = Credentials { token: parameters.get("token"), headers };
    let grant = shared.admission.topics(credentials)?;
    if is_path && grant.grants.is_open() {
        return Err(Refusal::token_required());
    }
    match of_path.iter().find(|topic| !grant.grants.may_read(topic)) {
        None => Ok(grant),
        Some(topic) => {
            let message = format!("the token does not cover this topic: {topic}");
            Err(Refusal { code: Code::Forbidden, message })
        }
    }
}

fn begin(
    shared: &Shared,
    of_path: Vec<SmolStr>,
    parameters: &Parameters,
    headers: &HeaderMap,
    grant: TopicGrant,
    now: UnixNanos,
) -> TopicsPurpose {
    let TopicParameters { names, start, rate, is_background, compression, errors } =
        parameters.topics(of_path.len());
    let is_mobile = of_path.first().is_some_and(|topic| topic.starts_with("mobile."));
    let in_background = headers.get("x-background-mode").is_some_and(|value| value == "true");
    let mut asked = TopicsState {
        rate,
        is_background: is_background || in_background,
        compression: compression || is_mobile,
        ..TopicsState::default()
    };
    let mut refusals: TopicAnswers = errors.into_iter().map(|error| Err(error.into())).collect();
    let access = Access { grant: &grant, shared };
    for name in of_path.into_iter().map(String::from).chain(names) {
        match asked.follow_from_path(&name, TopicRequest::new(start.clone(), now), &access, MOST_TOPICS) {
            Ok(()) => {}
            Err(refusal) => refusals.push(Err(refusal)),
        }
    }
    TopicsPurpose { asked, grant, admitted_at: now, refusals }
}

/// What the holder of a grant may do here.
struct Access<'a> {
    grant: &'a TopicGrant,
    shared: &'a Shared,
}

impl TopicAccess for Access<'_> {
    fn may_read(&self, topic: &str) -> bool {
        self.grant.grants.may_read(topic)
    }

    fn spend(&self, family: Family, now: UnixNanos) -> Result<(), Duration> {
        let Some(user) = self.grant.grants.user() else { return Ok(()) };
        self.shared.users.spend(user, family, now)
    }
}

impl Worker {
    pub(super) fn begin_topics(&mut self, id: usize, topics: TopicsPurpose, batch: Option<Batch>) {
        let TopicsPurpose { asked, grant, admitted_at, refusals } = topics;
        let named = NamedTopics::new(self.shared.name_feed(), self.shared.limits.queue);
        let heartbeat_at = self.now + self.shared.limits.heartbeat;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let counted = CountedConnection::new(&self.shared.hub.figures);
        connection.topics = Some(Box::new(TopicSession { grant, is_warned: false, _counted: counted }));
        connection.carried = Carried::Feed(Box::new(Feed::new(Scope::Topics(Box::new(named)), batch)));
        connection.heartbeat_at = Some(heartbeat_at);
        let taken = TakenMessage { action: "subscribe", correlation_id: None };
        self.serve_topics(id, &asked, &refusals, Some(taken));
        self.disconnect_if_revoked(id, admitted_at);
    }

    /// Sends away who may not connect: an error with the old code, and the true reason in its details.
    pub(super) fn refuse_topics(&mut self, id: usize, refusal: &Refusal) {
        let told = MessageError::new(Code::AuthRequired, refusal.message.clone());
        let error = envelope::error(&told.into(), Some(refusal.code), self.shared.clock.now(), None);
        self.say_json(id, &error);
        self.shared.hub.figures.refuse_connection(refusal.code);
        self.close(id, CloseCode::PolicyViolation, &refusal.to_string());
    }

    /// Says what is wrong, and counts it.
    fn say_error(&mut self, id: usize, error: MessageError, echo: Option<&str>) {
        self.shared.hub.figures.refuse(None, error.code);
        let now = self.shared.clock.now();
        self.say_json(id, &envelope::error(&error.into(), None, now, echo));
    }

    fn say_json(&mut self, id: usize, json: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.say(json);
        }
    }

    /// Takes a text whose frame was within the budget. Pings are free, and subscriptions count by their families instead.
    pub(super) fn on_topics_text(&mut self, id: usize, text: &str) {
        let begun = Instant::now();
        let request = Message::parse(text);
        let message = request.message.as_ref().ok();
        let (family, name) = (message.and_then(family_of), message.map(ClientMessage::name));
        self.take_topics_request(id, request);
        self.shared.hub.figures.receive(family, name, begun.elapsed());
    }

    fn take_topics_request(&mut self, id: usize, request: Message) {
        let moment = self.moment();
        let echo = request.correlation_id.as_deref().map(RawValue::get);
        let is_counted = !matches!(
            request.message,
            Ok(ClientMessage::Ping | ClientMessage::Subscribe(_) | ClientMessage::Resume { .. })
        );
        let Some(connection) = self.connections.get_mut(id) else { return };
        if is_counted && !connection.budget.admit_message(moment) {
            if self.refuse(id) {
                self.say_error(id, MessageError::new(Code::RateLimitExceeded, TOO_FAST), echo);
            }
            return;
        }
        match request.message {
            Ok(ClientMessage::Ping) => {
                self.shared.hub.figures.tell(Told::Pong);
                self.say_json(id, &envelope::pong(self.shared.clock.now(), echo));
            }
            Ok(ClientMessage::Refresh { token }) => self.refresh_topics(id, &token, echo),
            Ok(message) => self.change_topics(id, &message, echo),
            Err(error) => self.say_error(id, error, echo),
        }
    }

    fn change_topics(&mut self, id: usize, message: &ClientMessage, echo: Option<&str>) {
        let now = self.shared.clock.now();
        let Some(connection) = self.connections.get(id) else { return };
        let (Some(session), Some(mut asked)) = (&connection.topics, asked_of(&connection.carried)) else {
            return;
        };
        let access = Access { grant: &session.grant, shared: &self.shared };
        let answers = asked.take(message, &access, MOST_TOPICS, now);
        let taken = TakenMessage { action: message.name(), correlation_id: echo };
        self.serve_topics(id, &asked, &answers, Some(taken));
        if let (ClientMessage::Subscribe(message), Some(Carried::Feed(feed))) = (message, self.carried(id)) {
            limit_batch(&mut feed.batch, message);
        }
        if answers.iter().any(is_rate_limited) && !self.refuse(id) {
            // Told often enough, and sent away if it goes on.
            self.ready.push(id);
        }
    }

    /// Serves a connection as it asks now, and answers.
    fn serve_topics(
        &mut self,
        id: usize,
        asked: &TopicsState,
        answers: &TopicAnswers,
        taken: Option<TakenMessage<'_>>,
    ) {
        let mut told = Vec::new();
        if let Some((feed, subscriber)) = self.subscriber(id) {
            feed.serve_topics(asked, answers, taken, subscriber, &mut told);
        }
        let figures = &self.shared.hub.figures;
        let refusals = answers.iter().filter_map(|answer| answer.as_ref().err());
        let refused = refusals.map(|refusal| figures.refuse(family_of_refusal(refusal), refusal.error.code));
        figures.tell_many(Told::Ack, told.len().saturating_sub(refused.count()) as u64);
        told.iter().for_each(|json| self.say_json(id, json));
        self.ready.push(id);
    }

    /// Takes a newer token. What it covers no more is followed no more.
    fn refresh_topics(&mut self, id: usize, token: &str, echo: Option<&str>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let (Some(session), Some(mut asked)) = (&mut connection.topics, asked_of(&connection.carried)) else {
            return;
        };
        let refreshed = match self.shared.admission.refresh_topics(&session.grant, token) {
            Ok(refreshed) => refreshed,
            Err(refusal) => {
                return self.say_error(id, MessageError::new(refusal.code, refusal.message), echo);
            }
        };
        connection.expires_at = refreshed.grants.expires_at();
        connection.holder.clone_from(&refreshed.holder);
        (session.grant, session.is_warned) = (refreshed.clone(), false);
        let gone = asked.keep_granted(&Access { grant: &refreshed, shared: &self.shared });
        let answers: TopicAnswers = std::iter::once(Ok(TopicAck { topic: None, has_moved: false }))
            .chain(gone.into_iter().map(Err))
            .collect();
        self.serve_topics(
            id,
            &asked,
            &answers,
            Some(TakenMessage { action: "refresh", correlation_id: echo }),
        );
    }

    /// Tells a client of topics that its token is about to expire.
    pub(super) fn warn_of_expiry(&mut self, id: usize, clock: UnixNanos) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.is_about_to_expire(clock) {
            return;
        }
        if let Some(session) = &mut connection.topics {
            session.is_warned = true;
        }
        connection.say(&envelope::reconnect("token_expires", 0, clock));
    }

    /// Tells a client of topics that its token has expired, before it is closed.
    pub(super) fn tell_expiry(&mut self, id: usize, clock: UnixNanos) {
        if self.connections.get(id).is_some_and(|connection| connection.topics.is_some()) {
            let error =
                MessageError::new(Code::AuthExpired, "the token has expired: connect again with a new one");
            self.shared.hub.figures.refuse_connection(error.code);
            self.say_json(id, &envelope::error(&error.into(), None, clock, None));
        }
    }
}

/// By which family a message counts.
fn family_of(message: &ClientMessage) -> Option<Family> {
    let topic = match message {
        ClientMessage::Subscribe(subscribe) => subscribe.topic.as_ref()?.topics.first(),
        ClientMessage::Unsubscribe(unsubscribe) => unsubscribe.topic.as_ref(),
        ClientMessage::Resume { topic, .. } => Some(topic),
        ClientMessage::Frequency { topic, .. } => topic.as_ref(),
        ClientMessage::Ping | ClientMessage::BackgroundMode(_) | ClientMessage::Refresh { .. } => None,
    };
    topic.map(|topic| Family::of(topic))
}

fn family_of_refusal(refusal: &TopicRefusal) -> Option<Family> {
    refusal.topic.as_deref().map(Family::of)
}

fn is_rate_limited(answer: &Result<TopicAck, TopicRefusal>) -> bool {
    answer.as_ref().is_err_and(|refusal| refusal.error.code == Code::RateLimitExceeded)
}

fn asked_of(carried: &Carried) -> Option<TopicsState> {
    let Carried::Feed(feed) = carried else { return None };
    feed.named().map(|named| named.asked.clone())
}

impl Connection {
    /// Whether it is time to tell its client that its token expires.
    pub(super) fn is_about_to_expire(&self, clock: UnixNanos) -> bool {
        let is_untold = self.topics.as_ref().is_some_and(|session| !session.is_warned);
        is_untold && self.expires_at.is_some_and(|at| at.minus(WARNED_BEFORE) <= clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_topics_and_an_id_is_kept_in_its_case() {
        let topics = |kind: &str, id: &str| topics_of(kind, id);
        assert_eq!(topics("market", "IN12_-x"), Some(vec!["prices.IN12_-x".into()]));
        assert_eq!(topics("risk", "u1"), Some(vec!["risk.u1".into(), "risk.u1.alerts".into()]));
        for (kind, id) in [("market", "a.b"), ("market", ""), ("market", "ä"), ("sports", "x")] {
            assert_eq!(topics(kind, id), None, "{kind}/{id}");
        }
        assert!(topics_of("market", &"x".repeat(65)).is_none());
    }
}
