//! BondX's messages as events of Bond.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bond_core::publish::PublishEvent;
use bond_core::topic::PublishedTopic;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What BondX's `publish_message` sends.
#[derive(Deserialize)]
struct SourceMessage<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: SourceFields<'a>,
}

#[derive(Deserialize)]
struct SourceFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    ts: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<BTreeMap<Cow<'a, str>, &'a RawValue>>,
    #[serde(borrow)]
    correlation_id: Option<&'a RawValue>,
}

/// An event of BondX.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SourceEvent {
    pub(super) topic: PublishedTopic,
    /// BondX's own number, where it is one.
    pub(super) seq: Option<u64>,
    /// The event, with BondX's number and time in its `meta`.
    pub(super) event: PublishEvent,
}

/// Reads a message.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(text: &str) -> Result<SourceEvent, String> {
    let SourceMessage { topic, message } =
        serde_json::from_str(text).map_err(|error| format!("not a message of BondX: {error}"))?;
    let name = topic.or(message.topic).ok_or("a message has a topic")?;
    let topic: PublishedTopic = name.parse().map_err(|error| format!("{error}"))?;
    let mut meta = message.meta.unwrap_or_default();
    meta.extend(message.seq.map(|seq| (Cow::Borrowed("source_seq"), seq)));
    meta.extend(message.ts.map(|ts| (Cow::Borrowed("source_ts"), ts)));
    let meta = serde_json::to_string(&meta).map_err(|error| error.to_string())?;
    let payload = message.payload.map_or("null", RawValue::get);
    let event =
        PublishEvent::new(&message.kind, payload, Some(&meta), message.correlation_id.map(RawValue::get));
    let event = event.map_err(|error| error.message)?;
    Ok(SourceEvent { topic, seq: message.seq.and_then(|seq| seq.get().parse().ok()), event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_number_and_time_become_meta() {
        let text = r#"{"topic":"prices.X","message":{"type":"delta","topic":"prices.X","seq":7,"ts":"2024-01-01T00:00:00",
            "payload":{"bid":99.50},"meta":{"subtopic":"L1"},"correlation_id":null},"qos":1}"#;
        let read = read(text).expect("an event");
        assert_eq!((read.topic.as_str(), read.seq), ("prices.X", Some(7)));
        assert_eq!(read.event.meta, r#"{"source_seq":7,"source_ts":"2024-01-01T00:00:00","subtopic":"L1"}"#);
        assert_eq!(read.event.payload, r#"{"bid":99.50}"#);
    }

    #[test]
    fn what_is_no_event_is_told() {
        for (text, part) in [
            ("x", "not a message of BondX"),
            (r#"{"message":{"type":"delta"}}"#, "a topic"),
            (r#"{"topic":"system","message":{"type":"delta"}}"#, "not a topic"),
            (r#"{"topic":"prices.X","message":{"type":"heartbeat"}}"#, "type is"),
        ] {
            let error = read(text).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }
}
