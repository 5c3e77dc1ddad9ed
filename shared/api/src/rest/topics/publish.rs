//! Publishing to topics, and ending them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};
use bond_core::code::Code;
use bond_core::log::PublishKey;
use bond_core::message::MessageError;
use bond_core::publish::{PublishBatch, PublishError, PublishRequest, PublishedAt};
use bond_core::topic::PublishedTopic;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smol_str::format_smolstr;
#[cfg(test)]
use utoipa::ToSchema;

use super::caller::{TopicCaller, forbidden};
#[cfg(test)]
use super::{EventsTooLarge, HeadMoved, TopicForbidden, UnknownTopic, WriterAway};
use super::{publish_problem, topic, unknown};
use crate::problem::Problem;
use crate::rest::RestState;
use crate::rest::body::JsonText;
#[cfg(test)]
use crate::rest::described::{KeyRefused, NotJson, NotUnderstood, QuotaReached};

/// The most topics that one request publishes to.
const MOST_TOPICS: usize = 100;

/// The longest idempotency key, in bytes.
const KEY_BYTES: usize = 200;

/// The header that carries it.
const KEY_HEADER: &str = "idempotency-key";

/// How long a writer may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

/// Where a batch was appended.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({
    "topic": "prices.IN1234567890", "epoch": "19c2f4x1", "first_seq": 812, "last_seq": 812
})))]
pub(in crate::rest) struct Published {
    /// The topic.
    topic: String,
    /// Its history.
    epoch: String,
    /// The number of the batch's first event.
    first_seq: u64,
    /// The number of its last one; those between follow without a hole.
    last_seq: u64,
}

impl Published {
    fn new(topic: &PublishedTopic, at: &PublishedAt) -> Self {
        let PublishedAt { epoch, first_seq, last_seq } = at;
        Self {
            topic: topic.to_string(),
            epoch: epoch.to_string(),
            first_seq: *first_seq,
            last_seq: *last_seq,
        }
    }
}

/// What is published, as described.
#[cfg(test)]
#[derive(ToSchema)]
#[schema(example = json!({
    "events": [
        {"type": "delta", "payload": {"bid": 99.5}, "meta": {"subtopic": "L1"}, "correlation_id": "o-17"}
    ],
    "if_seq": 811
}))]
#[allow(dead_code, reason = "describes a body")]
pub(in crate::rest) struct Batch {
    /// 1 to 100 events, of 24 KiB each at most.
    events: Vec<BatchEvent>,
    /// The number that the topic's head must have, 0 for a topic that has none: else nothing is appended, and the answer is 409.
    if_seq: Option<u64>,
}

/// One event, as described.
#[cfg(test)]
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes a body")]
pub(in crate::rest) struct BatchEvent {
    /// `delta` (default): a merge patch of the topic's state (RFC 7396). `snapshot`: the whole state. `alert`: leaves the state alone.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Any JSON without a key twice in one object. Numbers keep their digits.
    payload: serde_json::Value,
    /// An object. Its `subtopic`, a text, is what subscribers filter by.
    meta: Option<serde_json::Map<String, serde_json::Value>>,
    /// What subscribers get with the event.
    correlation_id: Option<String>,
}

/// What is published to many topics, as described.
#[cfg(test)]
#[derive(ToSchema)]
#[schema(example = json!({
    "topics": ["risk.u1.alerts", "risk.u2.alerts"],
    "events": [{"type": "alert", "payload": {"text": "margin call"}}]
}))]
#[allow(dead_code, reason = "describes a body")]
pub(in crate::rest) struct Broadcast {
    /// 1 to 100 topics, each once.
    topics: Vec<String>,
    /// The events, as of one topic.
    events: Vec<BatchEvent>,
}

/// Publish events to a topic.
///
/// All of them are appended with consecutive numbers, or none is. The answer comes after that, so it is a promise. Where an answer is lost, send the
/// batch again with the same `Idempotency-Key` within five minutes: it is appended once, and answered as it was the first time.
/// Needs an API key with the role `publisher`, or a token whose `publish` covers the topic.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/topics/{topic}/events", operation_id = "publish", tag = "topics",
    params(
        ("topic" = String, Path, description = "The topic, as in prices.IN1234567890; it exists by being named"),
        ("Idempotency-Key" = Option<String>, Header, description = "Up to 200 visible ASCII characters, remembered for five minutes per caller and topic"),
    ),
    request_body(content = Batch, description = "64 KB at most"),
    responses(
        (status = 200, body = Published),
        (status = 400, response = NotUnderstood),
        (status = 401, response = KeyRefused),
        (status = 403, response = TopicForbidden),
        (status = 409, response = HeadMoved),
        (status = 413, response = EventsTooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = QuotaReached),
        (status = 503, response = WriterAway),
    ),
))]
pub(in crate::rest) async fn publish(
    State(state): State<Arc<RestState>>,
    caller: TopicCaller,
    Path(name): Path<String>,
    headers: HeaderMap,
    JsonText(body): JsonText,
) -> Result<Json<Published>, Problem> {
    let topic = topic(&name)?;
    caller.check_publish(&topic)?;
    let key = key(&caller, &headers, &body)?;
    let batch = PublishBatch::parse(&body).map_err(not_a_batch)?;
    let request = PublishRequest { topic: topic.clone(), batch, key, entry: None };
    let at = within(state.publisher.publish(request)).await.map_err(|error| publish_problem(&error))?;
    Ok(Json(Published::new(&topic, &at)))
}

/// What became of the events in one topic of many.
#[derive(Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::rest) enum OneOfMany {
    /// They were appended.
    Published(Published),
    /// They were not.
    Refused {
        /// The topic.
        topic: String,
        /// Why.
        error: TopicError,
    },
}

/// Why events were not appended to one topic of many.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::rest) struct TopicError {
    /// Which problem it is. Stable: match on this.
    #[cfg_attr(test, schema(value_type = String))]
    code: Code,
    /// What is wrong and what to fix.
    message: String,
    /// Whether the same may succeed later, unchanged.
    retryable: bool,
}

impl OneOfMany {
    fn refused(topic: &PublishedTopic, code: Code, message: String) -> Self {
        let error = TopicError { code, message, retryable: code.is_retryable() };
        Self::Refused { topic: topic.to_string(), error }
    }
}

/// What became of the events, topic by topic.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::rest) struct ManyPublished {
    /// One for each topic, in the order in which they were named.
    results: Vec<OneOfMany>,
}

/// Publish the same events to many topics.
///
/// Each topic is on its own: the answer is 200 where some of them, or all, refused the events, and lists for each one where they were appended or
/// why they were not. An `Idempotency-Key` holds for each topic: send the same body again, and what was appended is not appended twice.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/publish", operation_id = "publish_to_many", tag = "topics",
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 200 visible ASCII characters")),
    request_body(content = Broadcast, description = "64 KB at most"),
    responses(
        (status = 200, description = "What became of the events in each topic: look at every one", body = ManyPublished),
        (status = 400, response = NotUnderstood),
        (status = 401, response = KeyRefused),
        (status = 413, response = EventsTooLarge),
        (status = 415, response = NotJson),
        (status = 429, response = QuotaReached),
    ),
))]
pub(in crate::rest) async fn publish_to_many(
    State(state): State<Arc<RestState>>,
    caller: TopicCaller,
    headers: HeaderMap,
    JsonText(body): JsonText,
) -> Result<Json<ManyPublished>, Problem> {
    let key = key(&caller, &headers, &body)?;
    let (topics, batch) = broadcast(&body)?;
    let one = async |topic: PublishedTopic| {
        if !caller.may_publish(&topic) {
            return OneOfMany::refused(&topic, Code::Forbidden, forbidden(&topic));
        }
        let request =
            PublishRequest { topic: topic.clone(), batch: batch.clone(), key: key.clone(), entry: None };
        match within(state.publisher.publish(request)).await {
            Ok(at) => OneOfMany::Published(Published::new(&topic, &at)),
            Err(error) => OneOfMany::refused(&topic, error.code(), error.to_string()),
        }
    };
    Ok(Json(ManyPublished { results: join_all(topics.into_iter().map(one)).await }))
}

/// End a topic: its events and its state go.
///
/// Who follows it is told by a `status` whose state is `ended`. Published to again, it begins a new epoch. Needs the right to publish to it.
#[cfg_attr(test, utoipa::path(
    delete, path = "/v1/topics/{topic}", operation_id = "end_topic", tag = "topics",
    params(("topic" = String, Path, description = "The topic")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 401, response = KeyRefused),
        (status = 403, response = TopicForbidden),
        (status = 404, response = UnknownTopic),
        (status = 503, response = WriterAway),
    ),
))]
pub(in crate::rest) async fn end(
    State(state): State<Arc<RestState>>,
    caller: TopicCaller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let topic = topic(&name)?;
    caller.check_publish(&topic)?;
    let ended = within(state.publisher.end(&topic)).await.map_err(|error| publish_problem(&error))?;
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&topic)) }
}

/// Waits for a writer for [`WITHIN`] at most.
pub(in crate::rest) async fn within<T>(
    answer: impl Future<Output = Result<T, PublishError>>,
) -> Result<T, PublishError> {
    let late = || PublishError::Unavailable("it did not answer within 2 seconds".to_owned());
    tokio::time::timeout(WITHIN, answer).await.unwrap_or_else(|_| Err(late()))
}

/// Reads the body of a request for many topics.
fn broadcast(body: &str) -> Result<(Vec<PublishedTopic>, PublishBatch), Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wire<'a> {
        topics: Vec<String>,
        #[serde(borrow)]
        events: &'a RawValue,
    }
    let invalid = |detail: String| Problem::new(Code::InvalidMessage, detail);
    let Wire { topics, events } = serde_json::from_str(body)
        .map_err(|error| invalid(format!("the body is not understood: {error}")))?;
    let topics: Vec<_> = topics.iter().map(|name| topic(name)).collect::<Result<_, _>>()?;
    let distinct: BTreeSet<_> = topics.iter().collect();
    if !(1..=MOST_TOPICS).contains(&topics.len()) || distinct.len() < topics.len() {
        return Err(invalid(format!(
            "topics names 1 to {MOST_TOPICS} topics, each once, not {}",
            topics.len()
        )));
    }
    let batch = PublishBatch::parse(&format!(r#"{{"events":{events}}}"#)).map_err(not_a_batch)?;
    Ok((topics, batch))
}

fn not_a_batch(error: MessageError) -> Problem {
    Problem::new(error.code, error.message)
}

/// By what the batch is known when it is sent again, where the caller says so.
fn key(caller: &TopicCaller, headers: &HeaderMap, body: &str) -> Result<Option<PublishKey>, Problem> {
    let Some(key) = headers.get(KEY_HEADER) else { return Ok(None) };
    let is_visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
    let key = key.to_str().ok().filter(|key| is_visible && (1..=KEY_BYTES).contains(&key.len()));
    let key = key.ok_or_else(|| {
        let detail = format!("Idempotency-Key has 1 to {KEY_BYTES} visible ASCII characters: a UUID does");
        Problem::new(Code::InvalidMessage, detail)
    })?;
    let digest = URL_SAFE_NO_PAD.encode(Blake2b::<U16>::digest(body));
    Ok(Some(PublishKey { name: format_smolstr!("{}/{key}", caller.name), digest: digest.into() }))
}
