//! What clients say.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use smol_str::SmolStr;

use crate::code::Code;
use crate::position::{Epoch, Position};

/// The longest that a feed may be held to be ordered by venue time.
pub const MAX_LAG_LIMIT: Duration = Duration::from_millis(1000);

/// The longest `correlation_id` that is echoed, in bytes of JSON.
const CORRELATION_LIMIT: usize = 256;

/// The most events that `rewind` goes back.
pub const MOST_REWIND: u16 = 100;

/// The most names that `subtopics` may allow.
const MOST_SUBTOPICS: usize = 32;

/// The longest of these names, in bytes.
const SUBTOPIC_BYTES: usize = 64;

/// What a client wants echoed in the answer: its JSON text, as it was sent.
pub type CorrelationId = Box<RawValue>;

/// What is wrong with a client's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct MessageError {
    /// The code to match on.
    pub code: Code,
    /// What to fix.
    pub message: String,
}

impl MessageError {
    /// An error of this code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidMessage, message)
    }
}

/// A client's message, as far as it could be read.
#[derive(Debug)]
pub struct Request {
    /// What to echo.
    pub correlation_id: Option<CorrelationId>,
    /// What it says.
    pub message: Result<ClientMessage, MessageError>,
}

/// What a client can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// Follow a topic, or everything that a filter takes.
    Subscribe(Box<Subscribe>),
    /// Stop following.
    Unsubscribe(Unsubscribe),
    /// Go on after a position.
    Resume {
        /// Whose.
        topic: String,
        /// The last event the client has.
        position: Position,
    },
    /// Are you there?
    Ping,
    /// The client's screen is off, or on again.
    BackgroundMode(bool),
    /// How often a topic's newest event is wanted.
    Frequency {
        /// Of which topic; `None` for all.
        topic: Option<String>,
        /// How often.
        rate: Rate,
    },
    /// A newer token for this connection.
    Refresh {
        /// The token.
        token: String,
    },
}

impl ClientMessage {
    /// The `type` on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Resume { .. } => "resume",
            Self::Ping => "ping",
            Self::BackgroundMode(_) => "background_mode",
            Self::Frequency { .. } => "frequency",
            Self::Refresh { .. } => "refresh",
        }
    }

    /// Whether it says from where the connection goes on.
    pub const fn places(&self) -> bool {
        matches!(self, Self::Subscribe(_) | Self::Unsubscribe(_) | Self::Resume { .. })
    }
}

/// A wish to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// The topic form; `None` for the filter form.
    pub topic: Option<TopicForm>,
    /// The channels, symbols and venues by name, as the client spelled them.
    pub channels: Vec<String>,
    /// See `channels`.
    pub symbols: Vec<String>,
    /// See `channels`.
    pub exchanges: Vec<String>,
    /// Levels a side of order books, as asked for.
    pub depth: Option<u64>,
    /// Whether the venues' own frames are wanted too.
    pub raw: bool,
    /// At most one ticker or book per topic in this time.
    pub speed: Duration,
    /// How long the feed is held to be ordered by venue time; zero: order of arrival.
    pub max_lag: Duration,
    /// Whether order books are wanted as changed levels.
    pub book_changes: bool,
    /// The most events in one batch.
    pub batch_size: Option<usize>,
}

/// The part of a subscribe message that concerns topics by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicForm {
    /// The topics' names; one, unless the message has a list.
    pub topics: Vec<String>,
    /// The number of the last event the client has.
    pub resume_from_seq: Option<u64>,
    /// The epoch of that number; `None`: the current one, whichever it is.
    pub epoch: Option<Epoch>,
    /// The values of `meta.subtopic` that are wanted; empty: all.
    pub subtopics: BTreeSet<SmolStr>,
    /// Whether frames may be compressed; `None` where the client does not say.
    pub compression: Option<bool>,
    /// How many of the newest events are wanted in the place of the state.
    pub rewind: Option<u16>,
}

/// A wish to stop following.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The topic; `None` for everything.
    pub topic: Option<String>,
}

/// How often a topic's newest event is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    /// Every event.
    High,
    /// Ten times a second.
    Normal,
    /// Once a second.
    Low,
    /// Every five seconds.
    Background,
}

impl Rate {
    /// The time between two events of a topic; zero for every event.
    pub const fn interval(self) -> Duration {
        Duration::from_millis(match self {
            Self::High => 0,
            Self::Normal => 100,
            Self::Low => 1_000,
            Self::Background => 5_000,
        })
    }
}

impl Request {
    /// Reads a message. What cannot be read is an error to be answered, with the correlation id as far as there is one.
    pub fn parse(text: &str) -> Self {
        match serde_json::from_str::<Wire>(text) {
            Ok(mut wire) => {
                let correlation_id =
                    wire.correlation_id.take().filter(|id| id.get().len() <= CORRELATION_LIMIT);
                Self { correlation_id, message: wire.read() }
            }
            Err(error) => {
                let message = format!("not a message: {error}; send a JSON object with a type");
                Self { correlation_id: correlation_of(text), message: Err(MessageError::invalid(message)) }
            }
        }
    }
}

/// The correlation id of a message that is otherwise unreadable.
fn correlation_of(text: &str) -> Option<CorrelationId> {
    #[derive(Deserialize)]
    struct Only {
        correlation_id: Box<RawValue>,
    }
    let only = serde_json::from_str::<Only>(text).ok()?;
    (only.correlation_id.get().len() <= CORRELATION_LIMIT).then_some(only.correlation_id)
}

/// One value, or a list of them.
#[derive(Deserialize, Default)]
#[serde(untagged)]
enum Names {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Names {
    fn list(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    correlation_id: Option<Box<RawValue>>,
    topic: Option<String>,
    resume_from_seq: Option<u64>,
    channels: Option<Names>,
    symbols: Option<Names>,
    exchanges: Option<Names>,
    depth: Option<u64>,
    raw: Option<bool>,
    speed_ms: Option<u64>,
    max_lag_ms: Option<u64>,
    book: Option<String>,
    batch_size: Option<usize>,
    epoch: Option<String>,
    seq: Option<u64>,
    topics: Option<Vec<String>>,
    subtopics: Option<Value>,
    compression: Option<bool>,
    rewind: Option<u16>,
    enabled: Option<bool>,
    rate: Option<Rate>,
    token: Option<String>,
}

impl Wire {
    fn read(self) -> Result<ClientMessage, MessageError> {
        match self.kind.as_str() {
            "ping" => Ok(ClientMessage::Ping),
            "subscribe" => self.subscribe().map(|message| ClientMessage::Subscribe(Box::new(message))),
            "unsubscribe" => Ok(ClientMessage::Unsubscribe(Unsubscribe { topic: self.topic })),
            "resume" => self.resume(),
            "background_mode" => {
                self.enabled.map(ClientMessage::BackgroundMode).ok_or_else(|| missing("enabled"))
            }
            "frequency" => {
                let rate = self.rate.ok_or_else(|| missing("rate"))?;
                Ok(ClientMessage::Frequency { topic: self.topic, rate })
            }
            "refresh" => {
                let token = self.token.ok_or_else(|| missing("token"))?;
                Ok(ClientMessage::Refresh { token })
            }
            other => Err(MessageError::invalid(format!(
                "unknown type: {:.40}; known are subscribe, unsubscribe, resume, ping, background_mode, frequency, refresh",
                other
            ))),
        }
    }

    /// What it says of topics by name, if it names any.
    fn topic_form(&mut self) -> Result<Option<TopicForm>, MessageError> {
        let topics: Vec<String> =
            self.topic.take().into_iter().chain(self.topics.take().unwrap_or_default()).collect();
        if topics.is_empty() {
            return Ok(None);
        }
        let epoch = self.epoch.take().map(|epoch| Epoch::new(&epoch).ok_or_else(|| missing("epoch")));
        if self.rewind.is_some_and(|rewind| rewind > MOST_REWIND) {
            return Err(MessageError::invalid(format!("rewind is at most {MOST_REWIND}")));
        }
        Ok(Some(TopicForm {
            topics,
            resume_from_seq: self.resume_from_seq,
            epoch: epoch.transpose()?,
            subtopics: subtopics(self.subtopics.take())?,
            compression: self.compression,
            rewind: self.rewind,
        }))
    }

    fn subscribe(mut self) -> Result<Subscribe, MessageError> {
        let max_lag = Duration::from_millis(self.max_lag_ms.unwrap_or(0));
        if max_lag > MAX_LAG_LIMIT {
            return Err(MessageError::invalid("max_lag_ms is at most 1000"));
        }
        let book_changes = match self.book.as_deref() {
            None | Some("whole") => false,
            Some("changes") => true,
            Some(_) => return Err(MessageError::invalid("book is \"whole\" or \"changes\"")),
        };
        Ok(Subscribe {
            topic: self.topic_form()?,
            channels: self.channels.unwrap_or_default().list(),
            symbols: self.symbols.unwrap_or_default().list(),
            exchanges: self.exchanges.unwrap_or_default().list(),
            depth: self.depth,
            raw: self.raw.unwrap_or(false),
            speed: Duration::from_millis(self.speed_ms.unwrap_or(0)),
            max_lag,
            book_changes,
            batch_size: self.batch_size,
        })
    }

    fn resume(self) -> Result<ClientMessage, MessageError> {
        let topic = self.topic.ok_or_else(|| missing("topic"))?;
        let epoch = self.epoch.as_deref().and_then(Epoch::new).ok_or_else(|| missing("epoch"))?;
        let seq = self.seq.ok_or_else(|| missing("seq"))?;
        Ok(ClientMessage::Resume { topic, position: Position { epoch, seq } })
    }
}

/// The names that `subtopics` allows: the words between commas of texts, the items of lists, and the keys whose value is true.
fn subtopics(value: Option<Value>) -> Result<BTreeSet<SmolStr>, MessageError> {
    let mut names = BTreeSet::new();
    match value {
        None | Some(Value::Null) => {}
        Some(Value::Object(members)) => {
            members.iter().for_each(|(key, value)| allowed(Some(key), value, &mut names));
        }
        Some(value) => allowed(None, &value, &mut names),
    }
    let is_short = |name: &SmolStr| name.len() <= SUBTOPIC_BYTES;
    if names.len() > MOST_SUBTOPICS || !names.iter().all(is_short) {
        let advice = format!("subtopics allows at most {MOST_SUBTOPICS} names of {SUBTOPIC_BYTES} bytes");
        return Err(MessageError::new(Code::LimitExceeded, advice));
    }
    Ok(names)
}

fn allowed(key: Option<&str>, value: &Value, names: &mut BTreeSet<SmolStr>) {
    match value {
        Value::String(text) => {
            names.extend(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(SmolStr::new));
        }
        Value::Array(items) => items.iter().for_each(|item| allowed(None, item, names)),
        Value::Bool(true) => names.extend(key.map(SmolStr::new)),
        _ => {}
    }
}

fn missing(field: &str) -> MessageError {
    MessageError::invalid(format!("missing or malformed: {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_why_and_keeps_the_correlation_id() {
        let cases = [
            ("{", Code::InvalidMessage),
            ("[]", Code::InvalidMessage),
            (r#"{"type":"sing","correlation_id":"x"}"#, Code::InvalidMessage),
            (r#"{"type":"resume","topic":"trades.okx.BTC-USDT"}"#, Code::InvalidMessage),
            (r#"{"type":"subscribe","max_lag_ms":1001}"#, Code::InvalidMessage),
            (r#"{"type":"subscribe","topic":"prices.X","rewind":101}"#, Code::InvalidMessage),
            (r#"{"type":"subscribe","topic":"prices.X","epoch":"E!"}"#, Code::InvalidMessage),
            (r#"{"type":"frequency","rate":"warp"}"#, Code::InvalidMessage),
        ];
        for (text, code) in cases {
            assert_eq!(Request::parse(text).message.map_err(|e| e.code), Err(code), "{text}");
        }
        for (given, names) in [
            (r#"{"levels":"L1, L2","trades":true,"quotes":false}"#, vec!["L1", "L2", "trades"]),
            (r#"["L1","L2"]"#, vec!["L1", "L2"]),
            (r#""L1,,L3""#, vec!["L1", "L3"]),
            ("{}", vec![]),
            ("null", vec![]),
        ] {
            let text = format!(r#"{{"type":"subscribe","topic":"prices.X","subtopics":{given}}}"#);
            let Ok(ClientMessage::Subscribe(message)) = Request::parse(&text).message else {
                panic!("{text}")
            };
            assert_eq!(
                message.topic.expect("a topic").subtopics.into_iter().collect::<Vec<_>>(),
                names,
                "{given}"
            );
        }
        let request = Request::parse(r#"{"type":"subscribe","depth":"deep","correlation_id":"x"}"#);
        assert!(request.message.is_err());
        assert_eq!(request.correlation_id.map(|id| id.get().to_owned()), Some("\"x\"".into()));
    }
}
