//! What a client's message makes of its connection.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::code::Code;
use crate::feed::FeedFilter;
use crate::message::{ClientMessage, MessageError, Subscribe};
use crate::position::Start;
use crate::time::UnixNanos;
use crate::topic::{StreamId, Topic};

use super::{Batch, Carries, Connection, FeedRequest, FeedState, Resume};

/// The most topics for which one feed may set a rate, and the most for which it may say from where they go on. Behind API Gateway they are
/// written with the connection, each time it changes.
pub const TOPIC_LIMIT: usize = 100;

impl Connection {
    /// Turns control messages on where a client has shown, by any message but `ping`, that it reads answers; a feed's client has to
    /// speak in any case, and chooses when it connects.
    pub fn hear(&mut self) {
        self.control |= matches!(self.carries, Carries::Stream { .. });
    }

    /// Takes a message that was made at `now`, and returns what in it is unknown; the rest of it is served. `ping` changes nothing here,
    /// `refresh` no more than that the client was heard. Messages may be taken in another order than they were made in: of those that say
    /// where to go on, the one that was made last stands.
    ///
    /// # Errors
    /// [`MessageError`] where the message makes no sense on this connection, which then is as it was, but for control messages.
    pub fn take(
        &mut self,
        message: &ClientMessage,
        now: UnixNanos,
    ) -> Result<Vec<MessageError>, MessageError> {
        if matches!(message, ClientMessage::Ping) {
            return Ok(Vec::new());
        }
        self.hear();
        let is_overtaken = now < self.placed_at;
        let errors = match (message, &mut self.carries) {
            (message, Carries::Stream { id, start }) => {
                if let Some(new) = start_of_stream(id, message)?.filter(|_| !is_overtaken) {
                    *start = new;
                }
                Vec::new()
            }
            (message, Carries::Feed(feed)) => feed.take(message, &mut self.batch, now, is_overtaken)?,
            (message, Carries::Topics(_)) => {
                let answer = self.take_topics(message, None, &|_| Ok(()));
                answer.transpose().map_err(|refusal| refusal.error)?;
                return Ok(Vec::new());
            }
        };
        if message.places() {
            self.placed_at = self.placed_at.max(now);
        }
        Ok(errors)
    }

    /// Makes it a newer version of itself, by a request that was made at `now`. The notes of the one before go.
    pub fn renew(&mut self, now: UnixNanos) {
        self.asked_at = now.max(self.asked_at.plus(Duration::from_nanos(1)));
        self.notes.clear();
        if let Some(item) = self.topics_mut() {
            item.forget_old_answers();
        }
    }

    /// What must run for its feed.
    pub fn filter(&self) -> Option<&FeedFilter> {
        match &self.carries {
            Carries::Feed(feed) => feed.filter(),
            Carries::Stream { .. } | Carries::Topics(_) => None,
        }
    }

    /// The stream it carries, if it carries one.
    pub const fn stream(&self) -> Option<&StreamId> {
        match &self.carries {
            Carries::Stream { id, .. } => Some(id),
            Carries::Feed(_) | Carries::Topics(_) => None,
        }
    }
}

/// From where a connection that carries the stream `id` goes on, if a message says so.
///
/// # Errors
/// [`MessageError`] where the message is about another topic, or about feeds.
pub fn start_of_stream(id: &StreamId, message: &ClientMessage) -> Result<Option<Start>, MessageError> {
    match message {
        ClientMessage::Ping | ClientMessage::Refresh { .. } => Ok(None),
        ClientMessage::Resume { topic, position } if *topic == Topic::Stream(id.clone()).to_string() => {
            Ok(Some(Start::After(position.clone())))
        }
        ClientMessage::Resume { topic, .. } => Err(unknown(topic)),
        other => Err(out_of_place(other)),
    }
}

/// Lowers the size of batches to what a `subscribe` asks for. It is never raised.
pub fn limit_batch(batch: &mut Option<Batch>, message: &Subscribe) {
    if let (Some(batch), Some(size)) = (batch, message.batch_size) {
        batch.size = size.clamp(1, batch.size);
    }
}

impl FeedState {
    /// What it wants, if its client has said so.
    pub fn filter(&self) -> Option<&FeedFilter> {
        self.wish.as_ref().map(|wish| &wish.filter)
    }

    /// Takes a message that was made at `now`, and returns what in it is unknown; the rest of it is served. `is_overtaken`: what the client
    /// said later was taken before, and stands.
    ///
    /// # Errors
    /// [`MessageError`] where the message makes no sense here; nothing has changed then.
    pub fn take(
        &mut self,
        message: &ClientMessage,
        batch: &mut Option<Batch>,
        now: UnixNanos,
        is_overtaken: bool,
    ) -> Result<Vec<MessageError>, MessageError> {
        match message {
            ClientMessage::Subscribe(message) => {
                let errors = self.subscribe(message, now, is_overtaken)?;
                limit_batch(batch, message);
                return Ok(errors);
            }
            ClientMessage::Unsubscribe(_) if is_overtaken => {}
            ClientMessage::Unsubscribe(message) => self.unsubscribe(message.topic.as_deref())?,
            ClientMessage::BackgroundMode(enabled) => self.is_background = *enabled,
            ClientMessage::Resume { topic, position } => {
                self.check(topic, &self.resumes)?;
                let resume = Resume { position: position.clone(), asked_at: now };
                self.resumes.insert(topic.clone(), resume);
            }
            ClientMessage::Frequency { topic: Some(topic), rate } => {
                self.check(topic, &self.rates)?;
                self.rates.insert(topic.clone(), *rate);
            }
            ClientMessage::Frequency { topic: None, rate } => {
                if let Some(wish) = &mut self.wish {
                    wish.speed = rate.interval();
                }
            }
            ClientMessage::Ping | ClientMessage::Refresh { .. } => {}
        }
        Ok(Vec::new())
    }

    /// The new filter takes the place of the one before. Of topics that it takes as well, the rates stay; positions go, since everything
    /// begins anew at `now`.
    fn subscribe(
        &mut self,
        message: &Subscribe,
        now: UnixNanos,
        is_overtaken: bool,
    ) -> Result<Vec<MessageError>, MessageError> {
        if message.topic.is_some() {
            let advice = "subscribe with channels, symbols and exchanges here";
            return Err(MessageError::new(Code::InvalidMessage, advice));
        }
        let (filter, errors) = message.filter()?;
        if is_overtaken {
            return Ok(errors);
        }
        self.wish = filter.map(|filter| FeedRequest::of(filter, message, now));
        self.keep_rates();
        self.resumes.clear();
        Ok(errors)
    }

    fn keep_rates(&mut self) {
        let wish = self.wish.as_ref();
        let is_wanted = |topic: &Topic| wish.is_some_and(|wish| wish.filter.matches(topic));
        self.rates.retain(|name, _| name.parse().is_ok_and(|topic| is_wanted(&topic)));
    }

    /// Whether its filter takes the topic of this name, running or not, and there is room to note something about it among what is `noted`.
    fn check<T>(&self, name: &str, noted: &BTreeMap<String, T>) -> Result<(), MessageError> {
        let topic: Topic = name.parse().map_err(|_| unknown(name))?;
        if !self.filter().is_some_and(|filter| filter.matches(&topic)) {
            return Err(unknown(name));
        }
        if noted.len() < TOPIC_LIMIT || noted.contains_key(name) {
            return Ok(());
        }
        let advice =
            format!("of one feed, {TOPIC_LIMIT} topics have a rate of their own, and as many a position");
        Err(MessageError::new(Code::LimitExceeded, advice))
    }

    fn unsubscribe(&mut self, topic: Option<&str>) -> Result<(), MessageError> {
        match topic {
            None => {
                self.wish = None;
                self.rates.clear();
                self.resumes.clear();
                Ok(())
            }
            Some(name) => {
                let advice = format!(
                    "not a topic of its own here: {name:.80}; subscribe again with a narrower filter"
                );
                Err(MessageError::new(Code::InvalidMessage, advice))
            }
        }
    }
}

/// What is said of a message that a connection to one stream does not take.
fn out_of_place(message: &ClientMessage) -> MessageError {
    let advice = format!("{} makes no sense on a connection to one stream; use a feed", message.name());
    MessageError::new(Code::InvalidMessage, advice)
}

/// What is said of a topic that a connection does not follow.
fn unknown(topic: &str) -> MessageError {
    MessageError::new(Code::NotFound, format!("not followed here: {topic:.80}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ConnectionId;
    use crate::message::{Rate, Request};

    const NOW: UnixNanos = UnixNanos::from_secs(100);

    fn connection(carries: Carries) -> Connection {
        let batch = Some(Batch { size: 100, wait: Duration::ZERO });
        Connection { batch, ..Connection::opened(ConnectionId::new("c"), UnixNanos::EPOCH, carries) }
    }

    fn stream() -> Connection {
        let id = StreamId::parse("00000000000000aa").expect("id");
        connection(Carries::Stream { id, start: Start::Live })
    }

    fn feed() -> Connection {
        connection(Carries::Feed(Box::default()))
    }

    fn say(connection: &mut Connection, text: &str) -> Result<Vec<MessageError>, MessageError> {
        let message = Request::parse(text).message.expect("a message");
        connection.take(&message, NOW)
    }

    #[test]
    fn any_message_but_ping_turns_control_on_where_one_stream_is_carried() {
        let mut quiet = stream();
        say(&mut quiet, r#"{"type":"ping"}"#).expect("taken");
        assert!(!quiet.control);
        let refused = say(&mut quiet, r#"{"type":"subscribe"}"#);
        assert_eq!((refused.map_err(|error| error.code), quiet.control), (Err(Code::InvalidMessage), true));
        let mut feed = feed();
        say(&mut feed, r#"{"type":"subscribe","channels":["trades"]}"#).expect("taken");
        assert!(!feed.control, "a feed's client has to speak, and chooses when it connects");
    }

    #[test]
    fn a_resume_moves_the_start_of_the_stream_that_is_carried_alone() {
        let mut connection = stream();
        say(&mut connection, r#"{"type":"resume","topic":"streams.00000000000000aa","epoch":"e","seq":7}"#)
            .expect("taken");
        let position =
            crate::position::Position { epoch: crate::position::Epoch::new("e").expect("epoch"), seq: 7 };
        assert!(
            matches!(&connection.carries, Carries::Stream { start: Start::After(at), .. } if *at == position)
        );
        let other = say(
            &mut connection,
            r#"{"type":"resume","topic":"streams.00000000000000bb","epoch":"e","seq":7}"#,
        );
        assert_eq!(other.map_err(|error| error.code), Err(Code::NotFound));
    }

    #[test]
    fn a_subscription_replaces_the_one_before_and_what_was_said_about_its_topics() {
        let mut connection = feed();
        say(&mut connection, r#"{"type":"subscribe","channels":["ticker"],"batch_size":5}"#).expect("taken");
        say(&mut connection, r#"{"type":"frequency","topic":"ticker.okx.BTC-USDT","rate":"low"}"#)
            .expect("taken");
        let Carries::Feed(state) = &connection.carries else { panic!("a feed") };
        assert_eq!(state.rates.values().collect::<Vec<_>>(), [&Rate::Low]);
        let outside =
            say(&mut connection, r#"{"type":"frequency","topic":"trades.okx.BTC-USDT","rate":"low"}"#);
        assert_eq!(outside.map_err(|error| error.code), Err(Code::NotFound));
        let unknown =
            say(&mut connection, r#"{"type":"subscribe","channels":["trades","candles"]}"#).expect("taken");
        assert_eq!(unknown.len(), 1);
        let Carries::Feed(state) = &connection.carries else { panic!("a feed") };
        assert!(state.rates.is_empty(), "the new filter takes no tickers");
        assert!(state.wish.as_ref().is_some_and(|wish| wish.since == NOW));
        assert_eq!(connection.batch.map(|batch| batch.size), Some(5), "a maximum is not raised again");
        say(&mut connection, r#"{"type":"unsubscribe"}"#).expect("taken");
        assert_eq!(connection.filter(), None);
    }

    #[test]
    fn a_rate_stays_while_a_new_subscription_takes_its_topic_and_a_position_goes() {
        let (mut feed, topic) = (feed(), "ticker.okx.BTC-USDT");
        say(&mut feed, r#"{"type":"subscribe","channels":["ticker"]}"#).expect("taken");
        say(&mut feed, &format!(r#"{{"type":"frequency","topic":"{topic}","rate":"low"}}"#)).expect("taken");
        say(&mut feed, &format!(r#"{{"type":"resume","topic":"{topic}","epoch":"e","seq":7}}"#))
            .expect("taken");
        say(&mut feed, r#"{"type":"subscribe","channels":["ticker","trades"],"symbols":["BTC/USDT"]}"#)
            .expect("taken");
        let Carries::Feed(state) = &feed.carries else { panic!("a feed") };
        assert_eq!((state.rates.get(topic), state.resumes.len()), (Some(&Rate::Low), 0));
        say(&mut feed, r#"{"type":"unsubscribe"}"#).expect("taken");
        let Carries::Feed(state) = &feed.carries else { panic!("a feed") };
        assert!(state.rates.is_empty());
    }

    #[test]
    fn a_hundred_topics_have_a_rate_and_as_many_a_position() {
        let mut feed = feed();
        say(&mut feed, r#"{"type":"subscribe"}"#).expect("taken");
        let rate =
            |n: usize| format!(r#"{{"type":"frequency","topic":"ticker.okx.A{n}-USDT","rate":"low"}}"#);
        let resume =
            |n: usize| format!(r#"{{"type":"resume","topic":"ticker.okx.A{n}-USDT","epoch":"e","seq":1}}"#);
        for n in 0..TOPIC_LIMIT {
            say(&mut feed, &rate(n)).expect("taken");
            say(&mut feed, &resume(n)).expect("taken");
        }
        for text in [rate(TOPIC_LIMIT), resume(TOPIC_LIMIT)] {
            let refused = say(&mut feed, &text);
            assert_eq!(refused.map_err(|error| error.code), Err(Code::LimitExceeded));
        }
        say(&mut feed, &rate(0)).expect("one that has a rate may get another");
        say(&mut feed, &resume(0)).expect("and may go back again");
    }

    #[test]
    fn a_subscription_beyond_the_bound_leaves_the_one_before() {
        let mut connection = feed();
        say(&mut connection, r#"{"type":"subscribe","channels":["ticker"]}"#).expect("taken");
        let before = connection.clone();
        let names: Vec<String> = (0..=crate::spec::MAX_SYMBOLS).map(|n| format!("\"A{n}/USDT\"")).collect();
        let text = format!(r#"{{"type":"subscribe","symbols":[{}]}}"#, names.join(","));
        let refused = say(&mut connection, &text);
        assert_eq!(refused.map_err(|error| error.code), Err(Code::LimitExceeded));
        assert_eq!(connection, before);
    }

    #[test]
    fn of_two_wishes_the_one_made_last_stands_whichever_is_taken_first() {
        let mut connection = feed();
        say(&mut connection, r#"{"type":"subscribe","channels":["ticker"]}"#).expect("taken");
        let late =
            Request::parse(r#"{"type":"subscribe","channels":["trades"]}"#).message.expect("a message");
        connection.take(&late, NOW.minus(Duration::from_millis(1))).expect("taken");
        let filter = connection.filter().expect("a filter");
        assert!(filter.matches(&"ticker.okx.BTC-USDT".parse().expect("topic")));
    }

    #[test]
    fn every_version_is_later_than_the_one_before_and_has_notes_of_its_own() {
        let mut connection = feed();
        connection.renew(NOW);
        connection.notes.push("{}".to_owned());
        connection.renew(NOW);
        assert_eq!((connection.asked_at, connection.notes.len()), (NOW.plus(Duration::from_nanos(1)), 0));
    }
}
