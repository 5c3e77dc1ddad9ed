//! What topics are there, their states, and what was published to them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bond_core::code::Code;
use bond_core::log::{Entry, Gap, Item, Kept, PublishedHead, PublishedState, Run};
use bond_core::message::envelope;
use bond_core::position::{Epoch, Position};
use bond_core::topic::{PublishedTopic, Topic};
use bond_core::wire;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
#[cfg(test)]
use utoipa::ToSchema;

use super::caller::TopicCaller;
#[cfg(test)]
use super::{TopicForbidden, UnknownTopic, WriterAway};
use super::{log_problem, topic, unknown};
use crate::problem::Problem;
use crate::rest::RestState;
#[cfg(test)]
use crate::rest::described::{KeyRefused, NotUnderstood};

/// The most topics of one answer, and how many there are where none is said.
const LIST: (usize, usize) = (1000, 100);

/// The most events of one answer, and how many there are where none is said: with them it is about 2.5 MB at most.
const EVENTS: (usize, usize) = (100, 100);

/// How often the log is asked for one answer, where most of its topics are none of the caller's.
const LOOKS: usize = 10;

/// A topic's state.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({
    "topic": "prices.IN1234567890", "epoch": "19c2f4x1", "seq": 812, "ts": "2026-11-28T12:00:00.123Z",
    "payload": {"bid": 99.5, "ask": 100.5}
})))]
pub(in crate::rest) struct TopicSnapshot {
    /// The topic.
    topic: String,
    /// Its history.
    epoch: String,
    /// The number of the event after which the state is this: follow the topic from here.
    seq: u64,
    /// That event's time.
    ts: String,
    /// The state, as published, numbers with their digits.
    #[cfg_attr(test, schema(value_type = serde_json::Value))]
    payload: Box<RawValue>,
}

/// Get a topic's state, and the number it belongs to.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/topics/{topic}/snapshot", operation_id = "topic_snapshot", tag = "topics",
    params(
        ("topic" = String, Path, description = "The topic"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer"),
    ),
    responses(
        (status = 200, body = TopicSnapshot, headers(("ETag" = String, description = "epoch:seq, in quotes"))),
        (status = 304, description = "Nothing was published since"),
        (status = 401, response = KeyRefused),
        (status = 403, response = TopicForbidden),
        (status = 404, response = UnknownTopic),
        (status = 503, response = WriterAway),
    ),
))]
pub(in crate::rest) async fn snapshot(
    State(state): State<Arc<RestState>>,
    caller: TopicCaller,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let topic = topic(&name)?;
    caller.check_read(&topic)?;
    let found =
        state.log.state(&Topic::Published(topic.clone())).await.map_err(|error| log_problem(&error))?;
    let (found, payload) = found.and_then(with_payload).ok_or_else(|| unknown(&topic))?;
    let tag = format!("\"{}\"", found.position);
    let mut response = if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let Position { epoch, seq } = found.position;
        let (epoch, ts) = (epoch.to_string(), found.ts.to_string());
        Json(TopicSnapshot { topic: topic.to_string(), epoch, seq, ts, payload }).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// A topic that has had alerts alone has no state.
fn with_payload(found: PublishedState) -> Option<(PublishedState, Box<RawValue>)> {
    let text = String::from_utf8(found.state.as_ref()?.to_vec()).ok()?;
    Some((found, RawValue::from_string(text).ok()?))
}

/// Whether `If-None-Match` names `tag` (RFC 9110, section 13.1.2; the comparison is weak).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|list| list.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// Which topics are asked for.
#[derive(Deserialize)]
pub(in crate::rest) struct TopicsPage {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

/// One topic of a list.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::rest) struct ListedTopic {
    /// Its name.
    topic: String,
    /// Its history.
    epoch: String,
    /// The number of its newest event.
    seq: u64,
    /// That event's time.
    ts: String,
}

impl From<PublishedHead> for ListedTopic {
    fn from(head: PublishedHead) -> Self {
        let PublishedHead { topic, position: Position { epoch, seq }, ts } = head;
        Self { topic: topic.to_string(), epoch: epoch.to_string(), seq, ts: ts.to_string() }
    }
}

/// Topics by name.
#[derive(Default, Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::rest) struct TopicList {
    /// The topics that you may read.
    topics: Vec<ListedTopic>,
    /// What to send as `after` for the topics that come next; null where there are no more.
    next: Option<String>,
}

/// List the topics that have been published to and that you may read, by name.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/topics", operation_id = "list_topics", tag = "topics",
    params(
        ("prefix" = Option<String>, Query, description = "What the names begin with"),
        ("after" = Option<String>, Query, description = "The name after which the list begins: `next` of the list before"),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 1000; 100 where it is not said. There may be fewer although `next` is there"),
    ),
    responses(
        (status = 200, body = TopicList),
        (status = 400, response = NotUnderstood),
        (status = 401, response = KeyRefused),
        (status = 503, response = WriterAway),
    ),
))]
pub(in crate::rest) async fn list(
    State(state): State<Arc<RestState>>,
    caller: TopicCaller,
    Query(page): Query<TopicsPage>,
) -> Result<Json<TopicList>, Problem> {
    let limit = limit(page.limit, LIST)?;
    let (mut list, mut after) = (TopicList::default(), page.after);
    for _ in 0..LOOKS {
        let found = state.log.published(&page.prefix, &after, LIST.0).await;
        let found = found.map_err(|error| log_problem(&error))?;
        let is_last = found.len() < LIST.0;
        for head in found {
            if list.topics.len() == limit {
                list.next = Some(after);
                return Ok(Json(list));
            }
            after = head.topic.to_string();
            if caller.may_read(&head.topic) {
                list.topics.push(head.into());
            }
        }
        if is_last {
            return Ok(Json(list));
        }
    }
    list.next = Some(after);
    Ok(Json(list))
}

/// Which events are asked for.
#[derive(Deserialize)]
pub(in crate::rest) struct EventsPage {
    after_seq: Option<u64>,
    epoch: Option<String>,
    limit: Option<usize>,
}

/// Events of a topic.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::rest) struct TopicEvents {
    /// The topic.
    topic: String,
    /// The history that the events belong to.
    epoch: String,
    /// The events, as subscribers get them, with each `status` in its place.
    #[cfg_attr(test, schema(value_type = Vec<Object>))]
    events: Vec<Box<RawValue>>,
    /// What is missing before the first one, if anything.
    gap: Option<MissingEvents>,
    /// What to send as `after_seq`, with `epoch`, for the events that come next.
    last_seq: u64,
}

/// Numbers that cannot be had.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(in crate::rest) struct MissingEvents {
    /// The first missing number; null where the history is another than the one asked for.
    from_seq: Option<u64>,
    /// The last one.
    to_seq: u64,
    /// `behind_ring` or `epoch_changed`.
    reason: &'static str,
}

impl From<Gap> for MissingEvents {
    fn from(gap: Gap) -> Self {
        Self { from_seq: gap.from_seq, to_seq: gap.to_seq, reason: gap.reason.as_str() }
    }
}

/// Get what was published to a topic: the oldest events that are kept, or those after a number. At least the newest 100 are kept for a day.
#[cfg_attr(test, utoipa::path(
    get, path = "/v1/topics/{topic}/events", operation_id = "topic_events", tag = "topics",
    params(
        ("topic" = String, Path, description = "The topic"),
        ("after_seq" = Option<u64>, Query, description = "The number after which the events begin"),
        ("epoch" = Option<String>, Query, description = "The history that the number belongs to; the current one where it is not said"),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 100"),
    ),
    responses(
        (status = 200, body = TopicEvents),
        (status = 400, response = NotUnderstood),
        (status = 401, response = KeyRefused),
        (status = 403, response = TopicForbidden),
        (status = 404, response = UnknownTopic),
        (status = 503, response = WriterAway),
    ),
))]
pub(in crate::rest) async fn events(
    State(state): State<Arc<RestState>>,
    caller: TopicCaller,
    Path(name): Path<String>,
    Query(page): Query<EventsPage>,
) -> Result<Json<TopicEvents>, Problem> {
    let topic = topic(&name)?;
    caller.check_read(&topic)?;
    let limit = limit(page.limit, EVENTS)?;
    let log_topic = Topic::Published(topic.clone());
    let head = state.log.head(&log_topic).await.map_err(|error| log_problem(&error))?;
    let head = head.ok_or_else(|| unknown(&topic))?;
    let after = page.after(&head.epoch)?;
    let run = state.log.read(&log_topic, after.as_ref(), limit).await.map_err(|error| log_problem(&error))?;
    let run = run.ok_or_else(|| unknown(&topic))?;
    Ok(Json(shown(&topic, run, after.as_ref())))
}

impl EventsPage {
    fn after(&self, current: &Epoch) -> Result<Option<Position>, Problem> {
        let malformed =
            || Problem::new(Code::InvalidMessage, "epoch is 1 to 32 lower-case letters and digits");
        let epoch = self.epoch.as_deref().map(|name| Epoch::new(name).ok_or_else(malformed)).transpose()?;
        let Some(seq) = self.after_seq else { return Ok(None) };
        Ok(Some(Position { epoch: epoch.unwrap_or_else(|| current.clone()), seq }))
    }
}

fn shown(topic: &PublishedTopic, run: Run, after: Option<&Position>) -> TopicEvents {
    let Run { epoch, gap, items } = run;
    let before = gap.map_or_else(|| after.map_or(0, |after| after.seq), |gap| gap.to_seq);
    let last_seq = items.iter().map(seq_of).max().unwrap_or(before).max(before);
    let frames = items.into_iter().map(|item| frame(topic.as_str(), &epoch, item));
    let events =
        frames.filter_map(|frame| RawValue::from_string(String::from_utf8(frame).ok()?).ok()).collect();
    TopicEvents {
        topic: topic.to_string(),
        epoch: epoch.to_string(),
        events,
        gap: gap.map(MissingEvents::from),
        last_seq,
    }
}

const fn seq_of(item: &Item) -> u64 {
    match item {
        Item::Event(entry) => entry.seq,
        Item::Status(kept) => kept.after_seq,
    }
}

fn frame(topic: &str, epoch: &Epoch, item: Item) -> Vec<u8> {
    match item {
        Item::Event(Entry { seq, record, .. }) => {
            wire::frame(topic, epoch, seq, record.ts, record.kind, &record.body)
        }
        Item::Status(Kept { after_seq, at, body }) => {
            let place = envelope::Place { topic, epoch: Some(epoch), seq: after_seq };
            envelope::status(place, std::str::from_utf8(&body).unwrap_or_default(), at)
        }
    }
}

fn limit(asked: Option<usize>, (most, usual): (usize, usize)) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(usual);
    if (1..=most).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new(Code::InvalidMessage, format!("limit is 1 to {most}, not {limit}")))
}
