//! Messages of clients that follow topics by name. What has to say where a topic's cursor stands is left to the relay; the rest is answered
//! at once, in the envelope.

use std::collections::BTreeMap;
use std::time::Duration;

use bond_api::admission::TopicGrant;
use bond_core::code::Code;
use bond_core::connection::{Allowance, Connection, TopicAck, TopicRefusal, Turn};
use bond_core::message::envelope::{self, AckFields, Place};
use bond_core::message::{ClientMessage, MessageError, Request};
use bond_core::time::UnixNanos;
use bond_core::topic::Family;
use parking_lot::Mutex;

use super::{Messages, TOO_FAST};
use crate::emf::Metric;
use crate::event::Origin;

/// What a message came to.
pub(super) enum Heard {
    /// Nothing is to be kept.
    Unchanged(Option<String>),
    /// The connection has changed, and this is answered once it is kept.
    Changed(Option<String>),
}

/// What the user may still subscribe to with one message.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<BTreeMap<Family, Allowance>>);

impl Allowances {
    fn spend(&self, family: Family) -> Result<(), Duration> {
        match self.0.lock().get_mut(&family) {
            Some(allowance) if allowance.granted == 0 => Err(allowance.wait),
            Some(allowance) => {
                allowance.granted -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Messages {
    /// Applies a request to a connection that follows topics.
    pub(super) async fn say_topics(
        &self,
        connection: &mut Connection,
        origin: &Origin,
        request: &Request,
        allowances: &mut Option<Allowances>,
    ) -> Heard {
        let now = self.clock.now();
        let message = match &request.message {
            Ok(ClientMessage::Ping) => {
                return Heard::Unchanged(Some(text(envelope::pong(now, echo(request)))));
            }
            Ok(message) => Some(message),
            Err(_) => None,
        };
        let is_counted = !message.is_some_and(|message| connection.is_counted_apart(message));
        let turn = if is_counted { connection.admit(origin.at) } else { Turn::Taken };
        connection.renew(origin.at);
        if turn != Turn::Taken {
            return Heard::Changed(too_fast(turn, now, request));
        }
        let answer = match &request.message {
            Err(malformed) => Err(TopicRefusal::from(malformed.clone())),
            Ok(ClientMessage::Refresh { token }) => self.refresh_topics(connection, token, request).await,
            Ok(message) => match self.take_topics(connection, message, request, allowances).await {
                Some(answer) => answer,
                None => return Heard::Changed(None),
            },
        };
        Heard::Changed(self.answer_topics(connection, origin, request, answer))
    }

    async fn take_topics(
        &self,
        connection: &mut Connection,
        message: &ClientMessage,
        request: &Request,
        allowances: &mut Option<Allowances>,
    ) -> Option<Result<TopicAck, TopicRefusal>> {
        if allowances.is_none() {
            *allowances = Some(self.allowances(connection, message).await);
        }
        let allowances = allowances.get_or_insert_default();
        connection.take_topics(message, echo(request), &|family| allowances.spend(family))
    }

    /// What the connection's user may subscribe to, counted with one request for all topics of a message. Where the counts cannot be reached,
    /// the connection's own limit alone holds.
    async fn allowances(&self, connection: &Connection, message: &ClientMessage) -> Allowances {
        let wanted = wanted(connection, message);
        let Some(user) = user(connection).filter(|_| !wanted.is_empty()) else {
            return Allowances::default();
        };
        match self.users.spend(&user, &wanted).await {
            Ok(granted) => Allowances(Mutex::new(granted)),
            Err(error) => {
                tracing::warn!(%error, "the limit of a user does not hold for now");
                self.emf.write(self.clock.now(), &[Metric::count("UserLimitsUnreachable", 1)]);
                Allowances::default()
            }
        }
    }

    async fn refresh_topics(
        &self,
        connection: &mut Connection,
        token: &str,
        request: &Request,
    ) -> Result<TopicAck, TopicRefusal> {
        let checks = self.checks().await?;
        let Some(item) = connection.topics() else { return Ok(OF_CONNECTION) };
        let held = TopicGrant { grants: item.grants.clone(), holder: connection.holder.clone() };
        let granted = checks.refresh_topics(&held, token);
        let TopicGrant { grants, holder } =
            granted.map_err(|refusal| MessageError::new(refusal.code, refusal.message))?;
        connection.holder = holder;
        connection.grant_topics(grants, echo(request));
        Ok(OF_CONNECTION)
    }

    /// What is answered at once. A subscription beyond a limit counts like any other message, so that a flood of them is one.
    fn answer_topics(
        &self,
        connection: &mut Connection,
        origin: &Origin,
        request: &Request,
        answer: Result<TopicAck, TopicRefusal>,
    ) -> Option<String> {
        let now = self.clock.now();
        match answer {
            Ok(_) => {
                let action = request.message.as_ref().map_or("", ClientMessage::name);
                let fields = AckFields { action, head: 0, is_compressed: false };
                Some(text(envelope::ack(Place::CONNECTION, fields, now, echo(request))))
            }
            Err(refusal) => {
                let is_excess = refusal.limit.is_some() && connection.admit(origin.at) == Turn::Unanswered;
                (!is_excess).then(|| text(envelope::error(&refusal, None, now, echo(request))))
            }
        }
    }
}

/// The answer to what concerns no topic.
const OF_CONNECTION: TopicAck = TopicAck { topic: None, has_moved: false };

/// An error about the whole message, in the envelope.
pub(super) fn error(error: MessageError, now: UnixNanos, request: &Request) -> String {
    text(envelope::error(&TopicRefusal::from(error), None, now, echo(request)))
}

fn too_fast(turn: Turn, now: UnixNanos, request: &Request) -> Option<String> {
    let refused = MessageError::new(Code::RateLimitExceeded, TOO_FAST);
    (turn == Turn::Refused).then(|| error(refused, now, request))
}

/// By which name a user's subscriptions are counted; `None` where nobody is known.
fn user(connection: &Connection) -> Option<String> {
    let of_token = connection.topics().and_then(|item| item.grants.user()).map(|user| format!("user:{user}"));
    of_token.or_else(|| connection.holder.as_ref().map(|holder| format!("owner:{}", holder.owner)))
}

/// How many topics of each family a message asks for, of those that it may have by its token and the connection's own limits.
fn wanted(connection: &Connection, message: &ClientMessage) -> BTreeMap<Family, u32> {
    let names: Vec<&str> = match message {
        ClientMessage::Subscribe(message) => {
            message.topic.iter().flat_map(|form| &form.topics).map(String::as_str).collect()
        }
        ClientMessage::Resume { topic, .. } => vec![topic],
        _ => Vec::new(),
    };
    let mut wanted = BTreeMap::new();
    let Some(item) = connection.topics() else { return wanted };
    let mut limits = item.state.limits;
    for name in names.into_iter().filter(|name| item.grants.may_read(name)) {
        let family = Family::of(name);
        if limits.spend(family, connection.asked_at).is_ok() {
            *wanted.entry(family).or_default() += 1;
        }
    }
    wanted
}

fn echo(request: &Request) -> Option<&str> {
    request.correlation_id.as_deref().map(serde_json::value::RawValue::get)
}

fn text(message: Vec<u8>) -> String {
    String::from_utf8(message).unwrap_or_default()
}
