//! A connection to topics where nobody holds its socket: what its client follows, what it may, and what it is still to be told.
//!
//! The answer to `subscribe`, `unsubscribe` and `resume` says where the topic's cursor stands, which the relay alone knows. The answers so wait
//! in the item until the relay learns of this version.

use std::time::Duration;

use super::{
    Carries, Connection, MOST_TOPICS_OF_ITEM, TopicAccess, TopicAck, TopicParameters, TopicRefusal,
    TopicRequest, TopicStart, TopicsState, limit_batch,
};
use crate::code::Code;
use crate::grants::Grants;
use crate::message::{ClientMessage, MessageError};
use crate::time::UnixNanos;
use crate::topic::Family;

/// The most bytes of an item's JSON after a subscription. DynamoDB takes items of 400 KB (DynamoDB quotas, read 2026-11); the answers to one
/// message, and its grants, come on top.
pub const MOST_ITEM_BYTES: usize = 256 * 1024;

/// How many answers to earlier messages an item keeps, for a relay that has missed the versions between.
pub const KEPT_ANSWERS: usize = 64;

/// Whether the connection's user may subscribe once more to a topic of a family, over all connections; if not, in which time it may.
pub type SpendOfUser<'a> = &'a dyn Fn(Family) -> Result<(), Duration>;

/// What a connection to topics is, besides what every connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsItem {
    /// What its client has said.
    pub state: TopicsState,
    /// What its token grants.
    pub grants: Grants,
    /// What the relay is to answer, oldest first.
    pub pending: Vec<PendingAnswer>,
}

/// An answer that the relay gives. Each is given once: by a relay that has not known the version `at` before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingAnswer {
    /// The version of the connection that it belongs to.
    pub at: UnixNanos,
    /// The `type` of the message.
    pub action: &'static str,
    /// What the message came to.
    pub answer: Result<TopicAck, TopicRefusal>,
    /// As the client sent it: a JSON text.
    pub correlation_id: Option<Box<str>>,
}

impl PendingAnswer {
    const fn refused(at: UnixNanos, action: &'static str, refusal: TopicRefusal) -> Self {
        Self { at, action, answer: Err(refusal), correlation_id: None }
    }
}

/// What a token and a user's own limit allow.
struct ItemAccess<'a> {
    grants: &'a Grants,
    spend: SpendOfUser<'a>,
}

impl TopicAccess for ItemAccess<'_> {
    fn may_read(&self, topic: &str) -> bool {
        self.grants.may_read(topic)
    }

    fn spend(&self, family: Family, _: UnixNanos) -> Result<(), Duration> {
        (self.spend)(family)
    }
}

impl TopicsItem {
    /// One whose client follows `state` from the start.
    pub const fn new(state: TopicsState, grants: Grants) -> Self {
        Self { state, grants, pending: Vec::new() }
    }

    /// What a connection begins with that asks for `wanted`, at `now`: the topics that it names, each of which its token has to cover.
    ///
    /// # Errors
    /// [`TopicRefusal`] for the first that is not to be had.
    pub fn opened(wanted: TopicParameters, grants: Grants, now: UnixNanos) -> Result<Self, TopicRefusal> {
        let TopicParameters { names, start, rate, is_background, errors, .. } = wanted;
        let start = match start {
            TopicStart::From(start) => TopicStart::From(start.fixed(now)),
            start => start,
        };
        let request = TopicRequest::new(start, now);
        let mut state = TopicsState { is_background, rate, ..TopicsState::default() };
        let access = ItemAccess { grants: &grants, spend: &|_| Ok(()) };
        for name in names {
            state.follow_from_path(&name, request.clone(), &access, MOST_TOPICS_OF_ITEM)?;
        }
        let pending = errors.into_iter().map(|error| PendingAnswer::refused(now, "connect", error.into()));
        Ok(Self { pending: pending.collect(), ..Self::new(state, grants) })
    }

    /// The answers that a relay has yet to give which knows the version `known`.
    pub fn answers_after(&self, known: UnixNanos) -> impl Iterator<Item = &PendingAnswer> {
        self.pending.iter().filter(move |pending| pending.at > known)
    }

    /// Drops answers to earlier messages beyond the newest [`KEPT_ANSWERS`].
    pub(super) fn forget_old_answers(&mut self) {
        let excess = self.pending.len().saturating_sub(KEPT_ANSWERS);
        self.pending.drain(..excess);
    }

    /// Has the answers of a message wait for the relay, but for the one that is told at once: the first refusal, or the `ack` of what
    /// concerns no topic's cursor.
    fn put_off(
        &mut self,
        answers: Vec<Result<TopicAck, TopicRefusal>>,
        (action, at): (&'static str, UnixNanos),
        correlation_id: Option<&str>,
    ) -> Option<Result<TopicAck, TopicRefusal>> {
        let mut at_once = None;
        for answer in answers {
            let stands = matches!(&answer, Ok(ack) if ack.topic.is_some() || action == "unsubscribe");
            if at_once.is_none() && !stands {
                at_once = Some(answer);
                continue;
            }
            let correlation_id = correlation_id.map(Into::into);
            self.pending.push(PendingAnswer { at, action, answer, correlation_id });
        }
        at_once
    }
}

impl Connection {
    /// What it is, if it follows topics.
    pub fn topics(&self) -> Option<&TopicsItem> {
        match &self.carries {
            Carries::Topics(item) => Some(item),
            Carries::Stream { .. } | Carries::Feed(_) => None,
        }
    }

    /// See [`Connection::topics`].
    pub fn topics_mut(&mut self) -> Option<&mut TopicsItem> {
        match &mut self.carries {
            Carries::Topics(item) => Some(item),
            Carries::Stream { .. } | Carries::Feed(_) => None,
        }
    }

    /// Takes a message about topics, after [`Connection::renew`] has made this a version of its own. Returns what is answered at once, if
    /// anything is: the rest waits for the relay. Messages are taken in the order in which they get here.
    pub fn take_topics(
        &mut self,
        message: &ClientMessage,
        correlation_id: Option<&str>,
        spend: SpendOfUser<'_>,
    ) -> Option<Result<TopicAck, TopicRefusal>> {
        let at = self.asked_at;
        let before = self.topics()?.state.clone();
        let item = self.topics_mut()?;
        let access = ItemAccess { grants: &item.grants, spend };
        let answers = item.state.take(message, &access, MOST_TOPICS_OF_ITEM, at);
        let answer = item.put_off(answers, (message.name(), at), correlation_id);
        if matches!(message, ClientMessage::Subscribe(_)) && self.to_json().len() > MOST_ITEM_BYTES {
            let item = self.topics_mut()?;
            (item.state.topics, item.state.compression) = (before.topics, before.compression);
            item.pending.retain(|pending| pending.at != at);
            return Some(Err(too_large()));
        }
        if let ClientMessage::Subscribe(message) = message {
            limit_batch(&mut self.batch, message);
        }
        if message.places() {
            self.placed_at = at;
        }
        answer
    }

    /// Goes on with what a newer token grants. Topics that it does not cover are followed no more, which the relay tells.
    pub fn grant_topics(&mut self, grants: Grants, correlation_id: Option<&str>) {
        let at = self.asked_at;
        let Some(item) = self.topics_mut() else { return };
        item.grants = grants;
        let access = ItemAccess { grants: &item.grants, spend: &|_| Ok(()) };
        let lost = item.state.keep_granted(&access);
        let answer = |refusal| PendingAnswer {
            correlation_id: correlation_id.map(Into::into),
            ..PendingAnswer::refused(at, "refresh", refusal)
        };
        item.pending.extend(lost.into_iter().map(answer));
        self.expires_at = self.topics().and_then(|item| item.grants.expires_at());
    }
}

fn too_large() -> TopicRefusal {
    let advice = format!(
        "what a connection follows fits {MOST_ITEM_BYTES} bytes here: subscribe to fewer topics, or with fewer subtopics"
    );
    TopicRefusal::from(MessageError::new(Code::LimitExceeded, advice))
}
