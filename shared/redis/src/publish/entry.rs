//! What an entry of the stream says, and what is answered.

use std::collections::BTreeMap;

use bond_core::log::PublishKey;
use bond_core::position::{Epoch, Position};
use bond_core::publish::{PublishBatch, PublishError, PublishEvent, PublishRequest, PublishedAt};
use bond_core::topic::PublishedTopic;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// That a batch be published.
    Publish(PublishRequest),
    /// That a topic be ended.
    End(PublishedTopic),
}

impl Wanted {
    pub(super) const fn topic(&self) -> &PublishedTopic {
        match self {
            Self::Publish(request) => &request.topic,
            Self::End(topic) => topic,
        }
    }
}

/// Where an answer is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyTo {
    pub(super) channel: String,
    pub(super) number: u64,
}

/// Fields that producers write.
const PRODUCED: [&str; 5] = ["topic", "type", "payload", "meta", "correlation_id"];

/// Fields that other processes of Bond write.
const SENT: [&str; 6] = ["topic", "batch", "key", "digest", "end", "reply"];

/// Where the answer to an entry of these fields is waited for, if it is.
pub(super) fn reply_to(fields: &[(String, String)]) -> Option<ReplyTo> {
    let (_, reply) = fields.iter().find(|(name, _)| name == "reply")?;
    let (channel, number) = reply.rsplit_once(' ')?;
    Some(ReplyTo { channel: channel.to_owned(), number: number.parse().ok()? })
}

/// What the entry `id` of these fields wants.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(id: &str, fields: &[(String, String)]) -> Result<Wanted, String> {
    let by_name: BTreeMap<&str, &str> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let name = *by_name.get("topic").ok_or("an entry has a field topic")?;
    let topic: PublishedTopic = name.parse().map_err(|error| format!("{error}"))?;
    let is_sent = by_name.contains_key("reply");
    let known: &[&str] = if is_sent { &SENT } else { &PRODUCED };
    if let Some(unknown) = by_name.keys().find(|name| !known.contains(name)) {
        return Err(format!("an entry has the fields {}, not {unknown:.40}", PRODUCED.join(", ")));
    }
    if by_name.contains_key("end") {
        return Ok(Wanted::End(topic));
    }
    let batch = if is_sent { sent(&by_name) } else { produced(&by_name) }?;
    let key = by_name.get("key").map(|name| PublishKey {
        name: SmolStr::new(name),
        digest: SmolStr::new(by_name.get("digest").unwrap_or(&"")),
    });
    Ok(Wanted::Publish(PublishRequest { topic, batch, key, entry: Some(id.into()) }))
}

fn sent(fields: &BTreeMap<&str, &str>) -> Result<PublishBatch, String> {
    PublishBatch::from_json(fields.get("batch").unwrap_or(&"")).map_err(|error| error.message)
}

fn produced(fields: &BTreeMap<&str, &str>) -> Result<PublishBatch, String> {
    let payload = fields.get("payload").ok_or("an entry has a field payload, which is JSON")?;
    let kind = fields.get("type").copied().unwrap_or("delta");
    let correlation_id = fields.get("correlation_id").map(|id| serde_json::Value::from(*id).to_string());
    let event = PublishEvent::new(kind, payload, fields.get("meta").copied(), correlation_id.as_deref());
    let batch = event.and_then(|event| PublishBatch::of(vec![event], None));
    batch.map_err(|error| error.message)
}

/// The fields of an entry that wants `wanted`.
pub(super) fn write(wanted: &Wanted, reply: &ReplyTo) -> Vec<(&'static str, String)> {
    let ReplyTo { channel, number } = reply;
    let mut fields = vec![("topic", wanted.topic().to_string()), ("reply", format!("{channel} {number}"))];
    match wanted {
        Wanted::End(_) => fields.push(("end", "1".to_owned())),
        Wanted::Publish(request) => {
            fields.push(("batch", request.batch.to_json()));
            if let Some(PublishKey { name, digest }) = &request.key {
                fields.extend([("key", name.to_string()), ("digest", digest.to_string())]);
            }
        }
    }
    fields
}

/// What is said to whoever waits for the answer of that number.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PublishReply {
    pub(super) number: u64,
    pub(super) answer: PublishAnswer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PublishAnswer {
    Appended { epoch: String, first_seq: u64, last_seq: u64 },
    Ended(bool),
    Conflict(Option<(String, u64)>),
    KeyReused,
    StateTooLarge,
    Refused(String),
}

impl PublishAnswer {
    /// What is answered to an outcome; nothing where the answer was given before, by another.
    pub(super) fn to_publish(outcome: Result<PublishedAt, PublishError>) -> Option<Self> {
        Some(match outcome {
            Ok(PublishedAt { epoch, first_seq, last_seq }) => {
                Self::Appended { epoch: epoch.to_string(), first_seq, last_seq }
            }
            Err(PublishError::Conflict(head)) => {
                Self::Conflict(head.map(|head| (head.epoch.to_string(), head.seq)))
            }
            Err(PublishError::KeyReused) => Self::KeyReused,
            Err(PublishError::StateTooLarge) => Self::StateTooLarge,
            Err(PublishError::Unavailable(why)) => Self::Refused(why),
            Err(PublishError::Taken(_)) => return None,
        })
    }

    pub(super) fn published(self) -> Result<PublishedAt, PublishError> {
        let unread = || PublishError::Unavailable("its answer cannot be read".to_owned());
        Err(match self {
            Self::Appended { epoch, first_seq, last_seq } => {
                let epoch = Epoch::new(&epoch).ok_or_else(unread)?;
                return Ok(PublishedAt { epoch, first_seq, last_seq });
            }
            Self::Conflict(head) => PublishError::Conflict(
                head.and_then(|(epoch, seq)| Some(Position { epoch: Epoch::new(&epoch)?, seq })),
            ),
            Self::KeyReused => PublishError::KeyReused,
            Self::StateTooLarge => PublishError::StateTooLarge,
            Self::Refused(why) => PublishError::Unavailable(why),
            Self::Ended(_) => unread(),
        })
    }

    pub(super) fn ended(self) -> Result<bool, PublishError> {
        match self {
            Self::Ended(was_there) => Ok(was_there),
            other => Err(PublishError::Unavailable(format!("{other:?} is no answer to an end"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_sent_is_read_back() {
        let topic: PublishedTopic = "prices.X".parse().expect("a topic");
        let batch =
            PublishBatch::parse(r#"{"events":[{"payload":{"a":1.50}}],"if_seq":3}"#).expect("a batch");
        let key = Some(PublishKey { name: "ann/k 1".into(), digest: "d".into() });
        let request = PublishRequest { topic: topic.clone(), batch, key, entry: Some("5-1".into()) };
        let reply = ReplyTo { channel: "c".into(), number: 7 };
        for wanted in [Wanted::Publish(request), Wanted::End(topic)] {
            let written: Vec<(String, String)> =
                write(&wanted, &reply).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            assert_eq!(read("5-1", &written), Ok(wanted));
            assert_eq!(reply_to(&written), Some(reply.clone()));
        }
    }

    #[test]
    fn a_producers_entry_is_one_event() {
        let entry =
            fields(&[("topic", "prices.X"), ("payload", "{\"a\": 1.0}"), ("correlation_id", "o-\"17")]);
        let Ok(Wanted::Publish(request)) = read("5-1", &entry) else { panic!("not read") };
        assert_eq!(
            request.batch.to_json(),
            r#"{"events":[{"type":"delta","payload":{"a":1.0},"meta":{},"correlation_id":"o-\"17"}],"if_seq":null}"#
        );
        assert_eq!(request.entry.as_deref(), Some("5-1"));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        for (entry, part) in [
            (fields(&[("payload", "1")]), "field topic"),
            (fields(&[("topic", "prices")]), "not a topic"),
            (fields(&[("topic", "prices.X")]), "field payload"),
            (fields(&[("topic", "prices.X"), ("payload", "{")]), "payload"),
            (fields(&[("topic", "prices.X"), ("payload", "1"), ("type", "sing")]), "type is"),
            (fields(&[("topic", "prices.X"), ("payload", "1"), ("meta", "[]")]), "meta"),
            (fields(&[("topic", "prices.X"), ("payload", "1"), ("colour", "7")]), "not colour"),
            (fields(&[("topic", "prices.X"), ("end", "1")]), "not end"),
        ] {
            let error = read("5-1", &entry).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn answers_come_back_as_they_were_given() {
        let epoch = Epoch::new("e1").expect("an epoch");
        for outcome in [
            Ok(PublishedAt { epoch: epoch.clone(), first_seq: 1, last_seq: 2 }),
            Err(PublishError::Conflict(None)),
            Err(PublishError::Conflict(Some(Position { epoch, seq: 9 }))),
            Err(PublishError::KeyReused),
            Err(PublishError::StateTooLarge),
            Err(PublishError::Unavailable("gone".into())),
        ] {
            let answer = PublishAnswer::to_publish(outcome.clone()).expect("an answer");
            let reply = serde_json::to_string(&PublishReply { number: 1, answer }).expect("JSON");
            let read: PublishReply = serde_json::from_str(&reply).expect("a reply");
            assert_eq!(read.answer.published(), outcome);
        }
    }
}
