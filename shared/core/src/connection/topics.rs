//! What a client's message makes of a connection that follows topics by name.
//!
//! A feed follows what a filter takes. Here each topic is asked for, has a start, a filter and a rate of its own, and is answered by an `ack` of
//! its own. What a message does is decided here for every host; where a topic's cursor stands, which the `ack` tells, is known to the host
//! alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smol_str::SmolStr;

use super::RateState;
use crate::code::Code;
use crate::message::{ClientMessage, MessageError, Rate, Subscribe, TopicForm};
use crate::position::{Epoch, Start};
use crate::time::UnixNanos;
use crate::topic::{Family, Topic};

/// The most topics of one connection on a dedicated edge.
pub const MOST_TOPICS: usize = 1000;

/// The most topics of one connection behind API Gateway, where they are written as one item.
pub const MOST_TOPICS_OF_ITEM: usize = 200;

/// From where a topic is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicStart {
    /// From its state now, which comes as a `snapshot` where there is one.
    State,
    /// From after this number, of the current epoch where none is named.
    After(Option<Epoch>, u64),
    /// From so many events before the newest.
    Rewind(u16),
    /// From a time.
    From(Start),
}

/// One topic that a client follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRequest {
    /// From where.
    pub start: TopicStart,
    /// When the client said so: the same start said again is to be gone back to again.
    pub asked_at: UnixNanos,
    /// The values of `meta.subtopic` that are wanted; empty: all.
    pub subtopics: BTreeSet<SmolStr>,
    /// What was set for this topic alone.
    pub rate: Option<Rate>,
}

impl TopicRequest {
    /// One that was asked for at `asked_at`, from there, without a filter.
    pub const fn new(start: TopicStart, asked_at: UnixNanos) -> Self {
        Self { start, asked_at, subtopics: BTreeSet::new(), rate: None }
    }

    /// Whether an event of this `meta.subtopic` is wanted. One without passes always.
    pub fn takes(&self, subtopic: Option<&str>) -> bool {
        self.subtopics.is_empty() || subtopic.is_none_or(|name| self.subtopics.contains(name))
    }
}

/// What the client of a connection that follows topics has said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicsState {
    /// What it follows, by name.
    pub topics: BTreeMap<SmolStr, TopicRequest>,
    /// Whether its screen is off.
    pub is_background: bool,
    /// What it set for all topics.
    pub rate: Option<Rate>,
    /// Whether it wants frames to be compressed.
    pub compression: bool,
    /// How much of each family's limit is used up.
    pub limits: FamilyLimits,
}

/// How much is used up of the limits of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyLimits([RateState; Family::ALL.len()]);

impl FamilyLimits {
    /// The states, in the order of [`Family::ALL`].
    pub const fn states(&self) -> &[RateState; Family::ALL.len()] {
        &self.0
    }

    /// Those of these states.
    pub const fn of(states: [RateState; Family::ALL.len()]) -> Self {
        Self(states)
    }

    /// Whether a subscription to a topic of `family` at `now` is within the limit of one connection; if not, in which time one is.
    ///
    /// # Errors
    /// The time after which it may be tried again. Nothing is counted then.
    pub fn spend(&mut self, family: Family, now: UnixNanos) -> Result<(), Duration> {
        let state = &mut self.0[family as usize];
        if state.keep(family.limit(), now) {
            return Ok(());
        }
        Err(state.opens_at(family.limit()).since(now))
    }
}

/// Who may do what: given by the host, which knows the token and the user.
pub trait TopicAccess {
    /// Whether the topic of this name may be read.
    fn may_read(&self, topic: &str) -> bool;

    /// Whether the user may subscribe once more to a topic of this family at `now`, over all connections.
    ///
    /// # Errors
    /// The time after which it may be tried again.
    fn spend(&self, family: Family, now: UnixNanos) -> Result<(), Duration>;
}

/// A message that was taken, for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAck {
    /// The topic; `None` for what concerns the connection.
    pub topic: Option<SmolStr>,
    /// Whether the topic goes on from elsewhere than it did, or is new.
    pub has_moved: bool,
}

/// A message that was refused, or what of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRefusal {
    /// What to tell.
    pub error: MessageError,
    /// The topic that it is about.
    pub topic: Option<SmolStr>,
    /// The limit that was reached, and the time after which it may be tried again.
    pub limit: Option<(Family, Duration)>,
}

impl TopicRefusal {
    fn of(topic: Option<&str>, code: Code, message: impl Into<String>) -> Self {
        Self { error: MessageError::new(code, message), topic: topic.map(SmolStr::new), limit: None }
    }
}

impl From<MessageError> for TopicRefusal {
    fn from(error: MessageError) -> Self {
        Self { error, topic: None, limit: None }
    }
}

/// What a message comes to: an answer for each topic that it names.
pub type TopicAnswers = Vec<Result<TopicAck, TopicRefusal>>;

impl TopicsState {
    /// Takes a message that was made at `now`. `ping` and `refresh` are for the host.
    pub fn take(
        &mut self,
        message: &ClientMessage,
        access: &dyn TopicAccess,
        most: usize,
        now: UnixNanos,
    ) -> TopicAnswers {
        match message {
            ClientMessage::Subscribe(message) => self.subscribe(message, access, most, now),
            ClientMessage::Unsubscribe(message) => self.unsubscribe(message.topic.as_deref()),
            ClientMessage::Resume { topic, position } => {
                let start = TopicStart::After(Some(position.epoch.clone()), position.seq);
                vec![self.resume(topic, start, access, now)]
            }
            ClientMessage::BackgroundMode(enabled) => {
                self.is_background = *enabled;
                vec![Ok(TopicAck { topic: None, has_moved: false })]
            }
            ClientMessage::Frequency { topic, rate } => vec![self.frequency(topic.as_deref(), *rate)],
            ClientMessage::Ping | ClientMessage::Refresh { .. } => Vec::new(),
        }
    }

    fn subscribe(
        &mut self,
        message: &Subscribe,
        access: &dyn TopicAccess,
        most: usize,
        now: UnixNanos,
    ) -> TopicAnswers {
        let Some(form) = &message.topic else {
            let advice = "name a topic: {\"type\":\"subscribe\",\"topic\":\"prices.X\"}";
            return vec![Err(TopicRefusal::of(None, Code::InvalidMessage, advice))];
        };
        if let Some(compression) = form.compression {
            self.compression = compression;
        }
        // A name given twice is one topic, and one answer is enough to more names than there may be.
        let names: BTreeSet<&str> = form.topics.iter().map(String::as_str).take(most + 1).collect();
        names.into_iter().map(|name| self.subscribe_to(name, form, access, most, now)).collect()
    }

    fn subscribe_to(
        &mut self,
        name: &str,
        form: &TopicForm,
        access: &dyn TopicAccess,
        most: usize,
        now: UnixNanos,
    ) -> Result<TopicAck, TopicRefusal> {
        let topic = readable(name, access)?;
        let name = SmolStr::from(topic.to_string());
        self.check_room(&name, most)?;
        self.spend(&name, access, now)?;
        let start = form.start();
        let has_moved = start.is_some() || !self.topics.contains_key(&name);
        let new = || TopicRequest::new(TopicStart::State, now);
        let request = self.topics.entry(name.clone()).or_insert_with(new);
        request.subtopics.clone_from(&form.subtopics);
        if let Some(start) = start {
            (request.start, request.asked_at) = (start, now);
        }
        Ok(TopicAck { topic: Some(name), has_moved })
    }

    /// Follows a topic that the request for the connection names. That costs nothing of the limits.
    ///
    /// # Errors
    /// [`TopicRefusal`].
    pub fn follow_from_path(
        &mut self,
        name: &str,
        request: TopicRequest,
        access: &dyn TopicAccess,
        most: usize,
    ) -> Result<(), TopicRefusal> {
        let name = SmolStr::from(readable(name, access)?.to_string());
        self.check_room(&name, most)?;
        self.topics.insert(name, request);
        Ok(())
    }

    fn check_room(&self, name: &SmolStr, most: usize) -> Result<(), TopicRefusal> {
        if self.topics.contains_key(name) || self.topics.len() < most {
            return Ok(());
        }
        let advice =
            format!("a connection follows at most {most} topics: unsubscribe some, or connect again");
        Err(TopicRefusal::of(Some(name), Code::LimitExceeded, advice))
    }

    /// Counts a subscription, of this connection and of its user.
    fn spend(&mut self, name: &str, access: &dyn TopicAccess, now: UnixNanos) -> Result<(), TopicRefusal> {
        let family = Family::of(name);
        let mut limits = self.limits;
        let spent = limits.spend(family, now).and_then(|()| access.spend(family, now));
        let Err(wait) = spent else {
            self.limits = limits;
            return Ok(());
        };
        let (sustained, burst) = (family.sustained(), family.burst());
        let advice =
            format!("{}: {sustained} subscriptions a minute after a burst of {burst}", family.name());
        let refusal = TopicRefusal::of(Some(name), Code::RateLimitExceeded, advice);
        Err(TopicRefusal { limit: Some((family, wait)), ..refusal })
    }

    fn resume(
        &mut self,
        name: &str,
        start: TopicStart,
        access: &dyn TopicAccess,
        now: UnixNanos,
    ) -> Result<TopicAck, TopicRefusal> {
        let name = self.followed(name)?;
        self.spend(&name, access, now)?;
        if let Some(request) = self.topics.get_mut(&name) {
            (request.start, request.asked_at) = (start, now);
        }
        Ok(TopicAck { topic: Some(name), has_moved: true })
    }

    fn frequency(&mut self, topic: Option<&str>, rate: Rate) -> Result<TopicAck, TopicRefusal> {
        let topic = topic.map(|name| self.followed(name)).transpose()?;
        match topic.as_ref().and_then(|name| self.topics.get_mut(name)) {
            Some(request) => request.rate = Some(rate),
            None => self.rate = Some(rate),
        }
        Ok(TopicAck { topic, has_moved: false })
    }

    /// Stops following one topic, or all of them.
    fn unsubscribe(&mut self, topic: Option<&str>) -> TopicAnswers {
        let Some(name) = topic else {
            self.topics.clear();
            return vec![Ok(TopicAck { topic: None, has_moved: false })];
        };
        let name = match self.followed(name) {
            Ok(name) => name,
            Err(refusal) => return vec![Err(refusal)],
        };
        self.topics.remove(&name);
        vec![Ok(TopicAck { topic: Some(name), has_moved: false })]
    }

    /// Stops following what may no longer be read, and tells which topics these were.
    pub fn keep_granted(&mut self, access: &dyn TopicAccess) -> Vec<TopicRefusal> {
        let gone = self.topics.extract_if(.., |name, _| !access.may_read(name));
        gone.map(|(name, _)| forbidden(&name)).collect()
    }

    /// The name of a topic that is followed, as it is written here.
    fn followed(&self, name: &str) -> Result<SmolStr, TopicRefusal> {
        let written =
            name.parse().map_or_else(|_| SmolStr::new(name), |topic: Topic| topic.to_string().into());
        if self.topics.contains_key(&written) {
            return Ok(written);
        }
        Err(TopicRefusal::of(Some(&cut(name)), Code::NotFound, format!("not followed here: {name:.80}")))
    }

    /// The rate of a topic: the slowest of what was set for it, for all, and for the background.
    pub fn interval(&self, request: &TopicRequest) -> Duration {
        let background = self.is_background.then_some(Rate::Background);
        let rates = [request.rate.or(self.rate), background];
        rates.into_iter().flatten().map(Rate::interval).max().unwrap_or_default()
    }
}

impl TopicForm {
    /// From where the topic is asked for; `None` where that is not said.
    fn start(&self) -> Option<TopicStart> {
        match (self.resume_from_seq, self.rewind) {
            (Some(seq), _) => Some(TopicStart::After(self.epoch.clone(), seq)),
            (None, Some(count)) if count > 0 => Some(TopicStart::Rewind(count)),
            _ => None,
        }
    }
}

/// The topic of this name, if it may be read.
fn readable(name: &str, access: &dyn TopicAccess) -> Result<Topic, TopicRefusal> {
    let topic: Topic = name.parse().map_err(|error: crate::topic::TopicError| {
        TopicRefusal::of(None, Code::InvalidTopic, error.to_string())
    })?;
    if access.may_read(&topic.to_string()) { Ok(topic) } else { Err(forbidden(&topic.to_string())) }
}

fn forbidden(name: &str) -> TopicRefusal {
    TopicRefusal::of(Some(name), Code::Forbidden, format!("the token does not cover this topic: {name}"))
}

/// A name that may be repeated in an answer.
fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Request;

    const NOW: UnixNanos = UnixNanos::from_secs(100);

    struct Reads(&'static str);

    impl TopicAccess for Reads {
        fn may_read(&self, topic: &str) -> bool {
            topic.starts_with(self.0)
        }

        fn spend(&self, _: Family, _: UnixNanos) -> Result<(), Duration> {
            Ok(())
        }
    }

    fn say(state: &mut TopicsState, text: &str) -> TopicAnswers {
        let message = Request::parse(text).message.expect("a message");
        state.take(&message, &Reads(""), MOST_TOPICS, NOW)
    }

    fn ack(topic: &str, has_moved: bool) -> Result<TopicAck, TopicRefusal> {
        Ok(TopicAck { topic: Some(topic.into()), has_moved })
    }

    fn code(answers: &TopicAnswers) -> Option<Code> {
        answers.first()?.as_ref().err().map(|refusal| refusal.error.code)
    }

    #[test]
    fn subscribing_again_changes_the_filter_and_not_the_place() {
        let mut state = TopicsState::default();
        let first = r#"{"type":"subscribe","topic":"prices.X","resume_from_seq":7}"#;
        assert_eq!(say(&mut state, first), [ack("prices.X", true)]);
        let again = r#"{"type":"subscribe","topic":"prices.X","subtopics":["L1"]}"#;
        assert_eq!(say(&mut state, again), [ack("prices.X", false)]);
        let request = &state.topics["prices.X"];
        assert_eq!(request.start, TopicStart::After(None, 7));
        assert!(request.takes(Some("L1")) && !request.takes(Some("L2")) && request.takes(None));
    }

    #[test]
    fn a_list_is_as_many_subscriptions_each_answered() {
        let mut state = TopicsState::default();
        let list = r#"{"type":"subscribe","topics":["prices.X","prices.Y","prices.X","no topic"]}"#;
        let answers = say(&mut state, list);
        assert_eq!(answers.len(), 3);
        assert_eq!(code(&answers), Some(Code::InvalidTopic));
        assert_eq!(answers[1..], [ack("prices.X", true), ack("prices.Y", true)]);
    }

    #[test]
    fn what_the_token_does_not_cover_is_forbidden_and_what_it_covers_no_more_is_dropped() {
        let mut state = TopicsState::default();
        say(&mut state, r#"{"type":"subscribe","topics":["prices.X","trading.u1"]}"#);
        let other =
            Request::parse(r#"{"type":"subscribe","topic":"trading.other"}"#).message.expect("a message");
        assert_eq!(code(&state.take(&other, &Reads("prices."), MOST_TOPICS, NOW)), Some(Code::Forbidden));
        let gone = state.keep_granted(&Reads("prices."));
        assert_eq!(
            gone.iter().map(|refusal| refusal.topic.as_deref()).collect::<Vec<_>>(),
            [Some("trading.u1")]
        );
        assert_eq!(state.topics.len(), 1);
    }

    #[test]
    fn a_family_has_a_burst_and_says_when_the_next_is_taken() {
        let mut state = TopicsState::default();
        let subscribe = r#"{"type":"subscribe","topic":"risk.u1"}"#;
        assert!((0..100).all(|_| say(&mut state, subscribe)[0].is_ok()));
        let answers = say(&mut state, subscribe);
        let Err(refusal) = &answers[0] else { panic!("taken") };
        assert_eq!(refusal.error.code, Code::RateLimitExceeded);
        let (family, wait) = refusal.limit.expect("a limit");
        assert_eq!((family, wait), (Family::Risk, Duration::from_secs(6)));
        assert!(say(&mut state, r#"{"type":"subscribe","topic":"prices.X"}"#)[0].is_ok(), "another family");
        let later = Request::parse(subscribe).message.expect("a message");
        assert!(state.take(&later, &Reads(""), MOST_TOPICS, NOW.plus(wait))[0].is_ok());
    }

    #[test]
    fn what_is_not_followed_is_not_found_and_topics_are_bounded() {
        let mut state = TopicsState::default();
        for text in [
            r#"{"type":"unsubscribe","topic":"prices.X"}"#,
            r#"{"type":"resume","topic":"prices.X","epoch":"e","seq":1}"#,
            r#"{"type":"frequency","topic":"prices.X","rate":"low"}"#,
        ] {
            assert_eq!(code(&say(&mut state, text)), Some(Code::NotFound), "{text}");
        }
        let message = |n: usize| {
            Request::parse(&format!(r#"{{"type":"subscribe","topic":"prices.{n}"}}"#))
                .message
                .expect("a message")
        };
        assert!((0..2).all(|n| state.take(&message(n), &Reads(""), 2, NOW)[0].is_ok()));
        assert_eq!(code(&state.take(&message(2), &Reads(""), 2, NOW)), Some(Code::LimitExceeded));
        assert!(state.take(&message(1), &Reads(""), 2, NOW)[0].is_ok(), "one that is followed");
        say(&mut state, r#"{"type":"unsubscribe"}"#);
        assert!(state.topics.is_empty());
    }

    #[test]
    fn the_background_slows_everything_and_gives_back_what_was_set() {
        let mut state = TopicsState::default();
        say(&mut state, r#"{"type":"subscribe","topic":"prices.X"}"#);
        say(&mut state, r#"{"type":"frequency","topic":"prices.X","rate":"low"}"#);
        say(&mut state, r#"{"type":"background_mode","enabled":true}"#);
        let interval = |state: &TopicsState| state.interval(&state.topics["prices.X"]);
        assert_eq!(interval(&state), Duration::from_secs(5));
        say(&mut state, r#"{"type":"background_mode","enabled":false}"#);
        assert_eq!(interval(&state), Duration::from_secs(1));
    }
}
