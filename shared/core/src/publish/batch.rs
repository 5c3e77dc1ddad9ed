//! A publisher's batch: read, checked, and made into records.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::compact;
use crate::code::Code;
use crate::log::{EventKind, Record};
use crate::message::MessageError;
use crate::time::UnixNanos;

/// The most events of one batch.
pub const MOST_EVENTS: usize = 100;

/// The most bytes of one event's fields, so that its frame is at most 32 KB.
pub const EVENT_BYTES: usize = 24 * 1024;

/// The most bytes of a batch as it is sent.
pub const BODY_BYTES: usize = 64 * 1024;

/// The most bytes of a `correlation_id`.
const CORRELATION_BYTES: usize = 256;

/// Events that are appended together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishBatch {
    /// The events, in order; 1 to [`MOST_EVENTS`].
    pub events: Vec<PublishEvent>,
    /// The number that the topic's head must have: 0 for a topic that has none.
    pub if_seq: Option<u64>,
}

/// One event of a batch, its JSON compact and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishEvent {
    /// `snapshot`, `delta` or `alert`.
    pub kind: EventKind,
    /// Any JSON.
    pub payload: String,
    /// A JSON object.
    pub meta: String,
    /// A JSON string, or `null`.
    pub correlation_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBatch<'a> {
    #[serde(borrow)]
    events: Vec<WireEvent<'a>>,
    if_seq: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEvent<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
    #[serde(borrow)]
    correlation_id: Option<&'a RawValue>,
}

fn invalid(message: impl Into<String>) -> MessageError {
    MessageError::new(Code::InvalidMessage, message)
}

impl PublishBatch {
    /// Reads `{"events":[…],"if_seq":…}`.
    ///
    /// # Errors
    /// [`MessageError`], which says what to fix, and in which event.
    pub fn parse(text: &str) -> Result<Self, MessageError> {
        if text.len() > BODY_BYTES {
            return Err(MessageError::new(Code::TooLarge, format!("a batch has at most {BODY_BYTES} bytes")));
        }
        Self::from_json(text)
    }

    /// Reads what [`PublishBatch::to_json`] wrote, which is a little longer than what was sent.
    ///
    /// # Errors
    /// As [`PublishBatch::parse`], but for the length.
    pub fn from_json(text: &str) -> Result<Self, MessageError> {
        let wire: WireBatch<'_> =
            serde_json::from_str(text).map_err(|error| invalid(format!("not a batch: {error}")))?;
        let events = wire.events.iter().enumerate().map(|(index, event)| event.read(index));
        Self::of(events.collect::<Result<_, _>>()?, wire.if_seq)
    }

    /// A batch of these events.
    ///
    /// # Errors
    /// [`MessageError`] where there are none or too many.
    pub fn of(events: Vec<PublishEvent>, if_seq: Option<u64>) -> Result<Self, MessageError> {
        if (1..=MOST_EVENTS).contains(&events.len()) {
            return Ok(Self { events, if_seq });
        }
        Err(invalid(format!("a batch has 1 to {MOST_EVENTS} events, not {}", events.len())))
    }

    /// The batch as [`PublishBatch::from_json`] reads it.
    pub fn to_json(&self) -> String {
        let events: Vec<String> = self.events.iter().map(PublishEvent::to_json).collect();
        let if_seq = self.if_seq.map_or_else(|| "null".to_owned(), |seq| seq.to_string());
        format!(r#"{{"events":[{}],"if_seq":{if_seq}}}"#, events.join(","))
    }

    /// What is appended to the log, at `now`.
    pub fn records(&self, now: UnixNanos) -> Vec<Record> {
        self.events.iter().map(|event| event.record(now)).collect()
    }
}

impl WireEvent<'_> {
    fn read(&self, index: usize) -> Result<PublishEvent, MessageError> {
        let text = |raw: Option<&RawValue>| raw.map(|raw| raw.get().to_owned());
        let kind = self.kind.as_deref().unwrap_or("delta");
        PublishEvent::new(
            kind,
            self.payload.get(),
            text(self.meta).as_deref(),
            text(self.correlation_id).as_deref(),
        )
        .map_err(|error| MessageError::new(error.code, format!("event {index}: {}", error.message)))
    }
}

impl PublishEvent {
    /// An event of these JSON texts.
    ///
    /// # Errors
    /// [`MessageError`], which says what to fix.
    pub fn new(
        kind: &str,
        payload: &str,
        meta: Option<&str>,
        correlation_id: Option<&str>,
    ) -> Result<Self, MessageError> {
        let kind = EventKind::from_name(kind)
            .filter(|kind| kind.is_published())
            .ok_or_else(|| invalid(format!("type is snapshot, delta or alert, not {:.40}", kind)))?;
        let read =
            |name: &str, text: &str| compact(text).map_err(|error| invalid(format!("{name}: {error}")));
        let event = Self {
            kind,
            payload: read("payload", payload)?,
            meta: checked_meta(read("meta", meta.filter(|meta| *meta != "null").unwrap_or("{}"))?)?,
            correlation_id: checked_correlation(correlation_id.unwrap_or("null"))?,
        };
        let bytes = event.body().len();
        if bytes > EVENT_BYTES {
            return Err(MessageError::new(
                Code::TooLarge,
                format!("an event has at most {EVENT_BYTES} bytes, not {bytes}"),
            ));
        }
        Ok(event)
    }

    fn to_json(&self) -> String {
        format!(r#"{{"type":"{}",{}}}"#, self.kind.name(), self.body())
    }

    fn body(&self) -> String {
        let Self { payload, meta, correlation_id, .. } = self;
        format!(r#""payload":{payload},"meta":{meta},"correlation_id":{correlation_id}"#)
    }

    fn record(&self, now: UnixNanos) -> Record {
        Record { kind: self.kind, ts: now, order: now, body: self.body().into(), changes: None }
    }
}

fn checked_meta(meta: String) -> Result<String, MessageError> {
    #[derive(Deserialize)]
    struct Meta {
        #[serde(default)]
        #[allow(dead_code)]
        subtopic: Option<String>,
    }
    match serde_json::from_str::<Meta>(&meta) {
        Ok(_) if meta.starts_with('{') => Ok(meta),
        _ => Err(invalid("meta is an object, and its subtopic a text")),
    }
}

fn checked_correlation(text: &str) -> Result<String, MessageError> {
    let is_text = serde_json::from_str::<Option<String>>(text).is_ok();
    if is_text && text.len() <= CORRELATION_BYTES {
        return Ok(text.to_owned());
    }
    Err(invalid(format!("correlation_id is a text of at most {CORRELATION_BYTES} bytes")))
}

/// What an edge needs of a published event's body.
#[derive(Debug, Deserialize)]
pub struct PublishedFields<'a> {
    /// The payload's JSON text.
    #[serde(borrow)]
    payload: &'a RawValue,
    meta: PublishedMeta<'a>,
}

#[derive(Debug, Deserialize)]
struct PublishedMeta<'a> {
    #[serde(borrow, default)]
    subtopic: Option<std::borrow::Cow<'a, str>>,
}

impl<'a> PublishedFields<'a> {
    /// Reads the fields of a record's body, which has no braces of its own; `None` for what no publisher sent.
    pub fn read(body: &Bytes, scratch: &'a mut String) -> Option<Self> {
        scratch.clear();
        scratch.push('{');
        scratch.push_str(std::str::from_utf8(body).ok()?);
        scratch.push('}');
        serde_json::from_str(scratch).ok()
    }

    /// The payload's JSON text.
    pub fn payload(&self) -> &'a str {
        self.payload.get()
    }

    /// What `meta.subtopic` says.
    pub fn subtopic(&self) -> Option<&str> {
        self.meta.subtopic.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_and_written_back_the_same() {
        let text = r#"{"events":[{"type":"delta","payload":{"bid":99.50},"meta":{"subtopic":"L1"},"correlation_id":"o-17"}],"if_seq":811}"#;
        let batch = PublishBatch::parse(text).expect("a batch");
        assert_eq!(batch.to_json(), text);
        let records = batch.records(UnixNanos::EPOCH);
        assert_eq!(
            records[0].body,
            r#""payload":{"bid":99.50},"meta":{"subtopic":"L1"},"correlation_id":"o-17""#
        );
        let mut scratch = String::new();
        let fields = PublishedFields::read(&records[0].body, &mut scratch).expect("fields");
        assert_eq!((fields.payload(), fields.subtopic()), (r#"{"bid":99.50}"#, Some("L1")));
        let short = PublishBatch::parse(r#"{"events":[{"payload":null}]}"#).expect("a batch");
        assert_eq!(short.events[0].body(), r#""payload":null,"meta":{},"correlation_id":null"#);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_event() {
        let large = format!(r#"{{"events":[{{"payload":"{}"}}]}}"#, "x".repeat(EVENT_BYTES));
        let many = format!(r#"{{"events":[{}]}}"#, vec![r#"{"payload":1}"#; 101].join(","));
        for (text, code, part) in [
            (r#"{"events":[]}"#, Code::InvalidMessage, "1 to 100 events"),
            (&many, Code::InvalidMessage, "not 101"),
            (&large, Code::TooLarge, "event 0: an event has at most"),
            (
                r#"{"events":[{"payload":1},{"type":"sing","payload":1}]}"#,
                Code::InvalidMessage,
                "event 1: type is",
            ),
            (r#"{"events":[{"payload":{"a":1,"a":2}}]}"#, Code::InvalidMessage, "payload: a key twice"),
            (r#"{"events":[{"payload":1,"meta":[]}]}"#, Code::InvalidMessage, "meta is an object"),
            (
                r#"{"events":[{"payload":1,"meta":{"subtopic":1}}]}"#,
                Code::InvalidMessage,
                "meta is an object",
            ),
            (r#"{"events":[{"payload":1,"correlation_id":7}]}"#, Code::InvalidMessage, "correlation_id"),
            (r#"{"events":[{"payload":1,"colour":7}]}"#, Code::InvalidMessage, "colour"),
            (r#"{"events":[{}]}"#, Code::InvalidMessage, "payload"),
        ] {
            let error = PublishBatch::parse(text).expect_err("refused");
            assert!(error.code == code && error.message.contains(part), "{error}");
        }
        let body = format!(r#"{{"events":[],"x":"{}"}}"#, "x".repeat(BODY_BYTES));
        assert_eq!(PublishBatch::parse(&body).map_err(|error| error.code), Err(Code::TooLarge));
    }
}
