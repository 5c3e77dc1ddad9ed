//! What a connection to topics is as text. It has a member for each of its topics, and so short names.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use smol_str::SmolStr;

use super::{ConnectionError, millis, read_start, start_text, unreadable};
use crate::code::Code;
use crate::connection::{
    FamilyLimits, PendingAnswer, RateState, TopicAck, TopicRefusal, TopicRequest, TopicStart, TopicsItem,
    TopicsState,
};
use crate::grants::Grants;
use crate::message::{MessageError, Rate};
use crate::position::Start;
use crate::time::UnixNanos;
use crate::topic::Family;

/// The `type` of every message that has an answer, and what a refused wish at the opening has.
const ACTIONS: [&str; 7] =
    ["connect", "subscribe", "unsubscribe", "resume", "background_mode", "frequency", "refresh"];

#[derive(Serialize, Deserialize)]
pub(super) struct WireTopics {
    #[serde(default)]
    follows: BTreeMap<SmolStr, WireRequest>,
    #[serde(default, skip_serializing_if = "is_false")]
    background: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "is_false")]
    compression: bool,
    /// When the limits of the families are free again.
    #[serde(default)]
    free_ns: [i64; Family::ALL.len()],
    #[serde(default)]
    grants: Option<Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pending: Vec<WireAnswer>,
}

#[derive(Serialize, Deserialize)]
struct WireRequest {
    #[serde(default, rename = "f", skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(default, rename = "t")]
    asked_ns: i64,
    #[serde(default, rename = "o", skip_serializing_if = "Vec::is_empty")]
    only: Vec<SmolStr>,
    #[serde(default, rename = "r", skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
}

#[derive(Serialize, Deserialize)]
struct WireAnswer {
    #[serde(rename = "t")]
    at_ns: i64,
    #[serde(rename = "a")]
    action: SmolStr,
    #[serde(default, rename = "n", skip_serializing_if = "Option::is_none")]
    topic: Option<SmolStr>,
    #[serde(default, rename = "m", skip_serializing_if = "is_false")]
    has_moved: bool,
    #[serde(default, rename = "c", skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Box<str>>,
    #[serde(default, rename = "e", skip_serializing_if = "Option::is_none")]
    error: Option<(SmolStr, String)>,
    /// The index of a family, and milliseconds.
    #[serde(default, rename = "l", skip_serializing_if = "Option::is_none")]
    limit: Option<(usize, u64)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl WireTopics {
    pub(super) fn of(item: &TopicsItem) -> Self {
        let TopicsItem { state, grants, pending } = item;
        let follows = state.topics.iter().map(|(name, request)| (name.clone(), WireRequest::of(request)));
        Self {
            follows: follows.collect(),
            background: state.is_background,
            rate: state.rate,
            compression: state.compression,
            free_ns: state.limits.states().map(|limit| limit.free_at.as_nanos()),
            grants: serde_json::from_str(&grants.to_json()).ok(),
            pending: pending.iter().map(WireAnswer::of).collect(),
        }
    }

    pub(super) fn read(self) -> Result<TopicsItem, ConnectionError> {
        let request = |(name, request): (SmolStr, WireRequest)| Ok((name, request.read()?));
        let free = |nanos| RateState { free_at: UnixNanos::from_nanos(nanos) };
        // Whoever left the grants out has granted nothing.
        let grants = self.grants.map_or_else(|| "{}".to_owned(), |grants| grants.to_string());
        Ok(TopicsItem {
            state: TopicsState {
                topics: self.follows.into_iter().map(request).collect::<Result<_, ConnectionError>>()?,
                is_background: self.background,
                rate: self.rate,
                compression: self.compression,
                limits: FamilyLimits::of(self.free_ns.map(free)),
            },
            grants: Grants::from_json(&grants).map_err(|error| ConnectionError(error.to_string()))?,
            pending: self.pending.into_iter().map(WireAnswer::read).collect::<Result<_, _>>()?,
        })
    }
}

impl WireRequest {
    fn of(request: &TopicRequest) -> Self {
        Self {
            from: topic_start_text(&request.start),
            asked_ns: request.asked_at.as_nanos(),
            only: request.subtopics.iter().cloned().collect(),
            rate: request.rate,
        }
    }

    fn read(self) -> Result<TopicRequest, ConnectionError> {
        Ok(TopicRequest {
            start: read_topic_start(&self.from)?,
            asked_at: UnixNanos::from_nanos(self.asked_ns),
            subtopics: self.only.into_iter().collect(),
            rate: self.rate,
        })
    }
}

/// `e1:812`, `*:812` where no epoch is named, `-20` for so many events back, and times behind `=`.
fn topic_start_text(start: &TopicStart) -> String {
    match start {
        TopicStart::State => String::new(),
        TopicStart::After(epoch, seq) => {
            format!("{}:{seq}", epoch.as_ref().map_or("*", |epoch| epoch.as_str()))
        }
        TopicStart::Rewind(count) => format!("-{count}"),
        TopicStart::From(start) => format!("={}", start_text(start)),
    }
}

fn read_topic_start(text: &str) -> Result<TopicStart, ConnectionError> {
    if text.is_empty() {
        return Ok(TopicStart::State);
    }
    if let Some(start) = text.strip_prefix('=') {
        return read_start(start).map(TopicStart::From);
    }
    let start = if let Some(count) = text.strip_prefix('-') {
        count.parse().ok().map(TopicStart::Rewind)
    } else if let Some(seq) = text.strip_prefix("*:") {
        seq.parse().ok().map(|seq| TopicStart::After(None, seq))
    } else if let Some(Start::After(position)) = Start::parse(text) {
        Some(TopicStart::After(Some(position.epoch), position.seq))
    } else {
        None
    };
    start.ok_or_else(|| unreadable("start of a topic", text))
}

impl WireAnswer {
    fn of(pending: &PendingAnswer) -> Self {
        let PendingAnswer { at, action, answer, correlation_id } = pending;
        let (topic, has_moved) = match answer {
            Ok(ack) => (ack.topic.clone(), ack.has_moved),
            Err(refusal) => (refusal.topic.clone(), false),
        };
        let refusal = answer.as_ref().err();
        Self {
            at_ns: at.as_nanos(),
            action: (*action).into(),
            topic,
            has_moved,
            correlation_id: correlation_id.clone(),
            error: refusal.map(|refusal| (refusal.error.code.as_str().into(), refusal.error.message.clone())),
            limit: refusal.and_then(|refusal| refusal.limit).map(|(of, wait)| (of as usize, millis(wait))),
        }
    }

    fn read(self) -> Result<PendingAnswer, ConnectionError> {
        let known = ACTIONS.into_iter().find(|known| *known == self.action);
        let action = known.ok_or_else(|| unreadable("action", &self.action))?;
        let answer = match self.error {
            None => Ok(TopicAck { topic: self.topic, has_moved: self.has_moved }),
            Some((code, message)) => {
                let code = Code::from_name(&code).ok_or_else(|| unreadable("code", &code))?;
                let family = |(of, wait)| Some((*Family::ALL.get(of)?, Duration::from_millis(wait)));
                let limit = self.limit.and_then(family);
                Err(TopicRefusal { error: MessageError::new(code, message), topic: self.topic, limit })
            }
        };
        let at = UnixNanos::from_nanos(self.at_ns);
        Ok(PendingAnswer { at, action, answer, correlation_id: self.correlation_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Carries, Connection, ConnectionId, MOST_ITEM_BYTES, MOST_TOPICS_OF_ITEM};
    use crate::grants::{GrantsParts, MAX_JSON_BYTES, TopicPattern};
    use crate::message::Request;
    use crate::position::Epoch;

    /// What DynamoDB takes as one item, in bytes.
    const DYNAMO_BYTES: usize = 400 * 1024;

    /// What API Gateway passes on as one message, in bytes.
    const MESSAGE_BYTES: usize = 32 * 1024;

    fn open(grants: Grants) -> Connection {
        let item = TopicsItem::new(TopicsState::default(), grants);
        Connection::opened(ConnectionId::new("c"), UnixNanos::from_secs(100), Carries::Topics(Box::new(item)))
    }

    fn say(connection: &mut Connection, text: &str) -> Option<Result<TopicAck, TopicRefusal>> {
        assert!(text.len() <= MESSAGE_BYTES, "{}", text.len());
        let request = Request::parse(text);
        connection.renew(UnixNanos::from_secs(100));
        let message = request.message.expect("a message");
        connection.take_topics(&message, request.correlation_id.as_deref().map(|id| id.get()), &|_| Ok(()))
    }

    #[test]
    fn what_a_client_of_topics_said_is_read_back_the_same() {
        let mut connection = open(Grants::open());
        for text in [
            r#"{"type":"subscribe","topics":["prices.X","risk.u1"],"correlation_id":"c1"}"#,
            r#"{"type":"subscribe","topic":"prices.Y","resume_from_seq":7,"subtopics":"L1,L2","compression":true}"#,
            r#"{"type":"subscribe","topic":"prices.Z","resume_from_seq":7,"epoch":"e1"}"#,
            r#"{"type":"subscribe","topic":"prices.W","rewind":20}"#,
            r#"{"type":"frequency","topic":"prices.Y","rate":"low"}"#,
            r#"{"type":"frequency","rate":"normal"}"#,
            r#"{"type":"background_mode","enabled":true}"#,
            r#"{"type":"unsubscribe","topic":"prices.X"}"#,
        ] {
            say(&mut connection, text);
        }
        let item = connection.topics_mut().expect("topics");
        let from = TopicStart::From(Start::At(UnixNanos::from_nanos(5)));
        item.state.topics.insert("prices.V".into(), TopicRequest::new(from, UnixNanos::from_nanos(6)));
        item.pending.push(PendingAnswer {
            at: UnixNanos::from_nanos(7),
            action: "resume",
            answer: Err(TopicRefusal {
                error: MessageError::new(Code::RateLimitExceeded, "market"),
                topic: Some("prices.V".into()),
                limit: Some((Family::Auction, Duration::from_millis(600))),
            }),
            correlation_id: None,
        });
        assert_eq!(Connection::from_json(&connection.to_json()), Ok(connection));
    }

    #[test]
    fn what_an_older_writer_left_out_grants_nothing() {
        let text = r#"{"id":"a","opened_ns":1,"asked_ns":1,"topics":{"follows":{"prices.X":{}}}}"#;
        let read = Connection::from_json(text).expect("a connection");
        let item = read.topics().expect("topics");
        assert_eq!(item.state.topics["prices.X"].start, TopicStart::State);
        assert!(!item.grants.may_read("prices.X"));
    }

    /// A name of as many bytes as one may have.
    fn longest(n: usize) -> String {
        let segment = "a".repeat(60);
        format!("prices.{segment}.{segment}.{segment}.{n:0>9}")
    }

    #[test]
    fn an_item_with_all_the_topics_it_may_have_fits_dynamodb_and_each_answer_a_frame() {
        let pattern = TopicPattern::parse(&"b".repeat(60)).expect("a pattern");
        let read = std::iter::repeat_n(pattern, 60).chain([TopicPattern::all()]).collect();
        let grants = Grants::new(GrantsParts { read, ..GrantsParts::default() }).expect("grants");
        assert!(grants.to_json().len() > MAX_JSON_BYTES * 9 / 10);
        let mut connection = open(grants);
        for half in 0..2 {
            let topics: Vec<String> = (0..MOST_TOPICS_OF_ITEM / 2).map(|n| longest(half * 100 + n)).collect();
            let correlation_id = "x".repeat(200);
            let text = serde_json::json!({
                "type": "subscribe", "topics": topics, "epoch": Epoch::new("19c2f4x1").map(|epoch| epoch.to_string()),
                "resume_from_seq": u64::MAX, "subtopics": ["L1", "L2"], "correlation_id": correlation_id,
            });
            say(&mut connection, &text.to_string());
        }
        let item = connection.topics().expect("topics");
        assert_eq!(item.state.topics.len(), MOST_TOPICS_OF_ITEM);
        assert_eq!(item.pending.len(), crate::connection::KEPT_ANSWERS + MOST_TOPICS_OF_ITEM / 2);
        let bytes = connection.to_json().len();
        assert!(bytes < DYNAMO_BYTES / 2, "{bytes}");
    }

    #[test]
    fn a_subscription_that_would_not_fit_is_refused_and_changes_nothing() {
        let mut connection = open(Grants::open());
        let subtopics: Vec<String> = (0..32).map(|n| format!("{n:0>64}")).collect();
        let mut refused = None;
        for n in 0..MOST_TOPICS_OF_ITEM {
            let before = connection.topics().expect("topics").state.topics.len();
            let text = serde_json::json!({"type": "subscribe", "topic": longest(n), "subtopics": subtopics});
            if let Some(Err(refusal)) = say(&mut connection, &text.to_string()) {
                let item = connection.topics().expect("topics");
                assert_eq!(item.state.topics.len(), before);
                assert!(
                    item.answers_after(connection.asked_at.minus(Duration::from_nanos(1))).next().is_none()
                );
                refused = Some(refusal.error.code);
                break;
            }
        }
        assert_eq!(refused, Some(Code::LimitExceeded));
        assert!(connection.to_json().len() < DYNAMO_BYTES.min(MOST_ITEM_BYTES + MAX_JSON_BYTES));
    }
}
