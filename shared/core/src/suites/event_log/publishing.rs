//! Published topics: numbers and state in one step, and batches that come again.

use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use crate::log::{
    EventKind, Fence, KEY_LIFE, LEAST_KEPT, LEAST_KEPT_FOR, LogError, Publication, PublishKey,
    PublishOutcome, Record,
};
use crate::position::Position;
use crate::time::UnixNanos;
use crate::topic::Topic;

use super::reader::Reader;
use super::{Case, Harness};

pub(super) async fn run(harness: &impl Harness) {
    a_batch_and_its_state_are_one_step(harness).await;
    another_head_changes_nothing(harness).await;
    a_key_is_answered_as_the_first_time(harness).await;
    an_entry_is_remembered_by_the_head(harness).await;
    the_newest_events_outlive_the_ring(harness).await;
    an_ended_topic_begins_anew(harness).await;
    an_earlier_writer_publishes_nothing(harness).await;
    published_topics_are_named_by_prefix_alone(harness).await;
}

fn publication(after: Option<&Position>, bodies: &[&str], state: &str) -> Publication {
    let record = |body: &&str| Record {
        kind: EventKind::Delta,
        ts: UnixNanos::from_secs(5),
        order: UnixNanos::from_secs(5),
        body: Bytes::copy_from_slice(body.as_bytes()),
        changes: None,
    };
    let records = bodies.iter().map(record).collect();
    let state = Some(Bytes::copy_from_slice(state.as_bytes()));
    Publication { after: after.cloned(), records, state, key: None, entry: None }
}

fn key(name: &str, digest: &str) -> Option<PublishKey> {
    Some(PublishKey { name: name.into(), digest: digest.into() })
}

async fn case(harness: &impl Harness, name: &str) -> Case {
    let case = Case::new(harness, "PUBLISHED").await;
    Case { topic: format!("prices.{name}").parse().expect("a topic"), ..case }
}

impl Case {
    async fn publish(&self, publication: Publication) -> PublishOutcome {
        self.log.publish(self.fence, &self.topic, publication).await.expect("published")
    }

    /// Publishes after `after`, and gives the position of the last event.
    async fn published(&self, publication: Publication) -> Position {
        let count = publication.records.len() as u64;
        match self.publish(publication).await {
            PublishOutcome::Appended(at) => Position { epoch: at.epoch, seq: at.first_seq + count - 1 },
            other => panic!("not appended: {other:?}"),
        }
    }

    async fn state(&self) -> Option<(Position, Bytes)> {
        let found = self.log.state(&self.topic).await.expect("read")?;
        Some((found.position, found.state.unwrap_or_default()))
    }
}

async fn a_batch_and_its_state_are_one_step(harness: &impl Harness) {
    let case = case(harness, "steps").await;
    assert_eq!(case.log.state(&case.topic).await, Ok(None), "no history, no state");
    let first = case.published(publication(None, &["a", "b"], "AB")).await;
    assert_eq!(first.seq, 2, "numbers are contiguous from 1");
    assert_eq!(case.state().await, Some((first.clone(), "AB".into())), "the state is that of the head");
    let found = case.log.state(&case.topic).await.expect("read").expect("a state");
    assert_eq!(found.ts, UnixNanos::from_secs(5), "with the time of the head's event");
    let second = case.published(publication(Some(&first), &["c"], "ABC")).await;
    assert_eq!((&second.epoch, second.seq), (&first.epoch, 3));
    assert_eq!(case.state().await, Some((second, "ABC".into())));
    assert_eq!(case.texts(None).await, ["1:a", "2:b", "3:c"], "the events are read as any");
    case.keep("x").await;
    assert_eq!(case.state().await.map(|(head, _)| head.seq), Some(3), "a status changes no state");
}

async fn another_head_changes_nothing(harness: &impl Harness) {
    let case = case(harness, "moved").await;
    let first = case.published(publication(None, &["a"], "A")).await;
    let wrong = Position { seq: 7, ..first.clone() };
    for after in [None, Some(&wrong)] {
        let outcome = case.publish(publication(after, &["b"], "B")).await;
        assert_eq!(outcome, PublishOutcome::Moved, "after {after:?}");
    }
    assert_eq!((case.state().await, case.texts(None).await), (Some((first, "A".into())), vec!["1:a".into()]));
}

async fn a_key_is_answered_as_the_first_time(harness: &impl Harness) {
    let case = case(harness, "keys").await;
    let keyed = |after: Option<&Position>, digest: &str| Publication {
        key: key("ann/k", digest),
        ..publication(after, &["a", "b"], "AB")
    };
    let first = case.published(keyed(None, "1")).await;
    let second = case.published(publication(Some(&first), &["c"], "ABC")).await;
    for after in [None, Some(&second)] {
        let again = case.publish(keyed(after, "1")).await;
        let PublishOutcome::Repeated(at, last) = again else { panic!("appended twice: {again:?}") };
        assert_eq!((&at.epoch, at.first_seq, last), (&first.epoch, 1, 2), "the first answer");
    }
    assert_eq!(case.publish(keyed(Some(&second), "2")).await, PublishOutcome::KeyReused);
    assert_eq!(case.texts(None).await.len(), 3, "nothing was appended again");
    let other = Case { topic: "prices.keys-2".parse().expect("a topic"), ..case };
    other.published(keyed(None, "1")).await;
    harness.advance(KEY_LIFE + Duration::from_secs(1)).await;
    let head = other.state().await.map(|(head, _)| head);
    other.published(keyed(head.as_ref(), "1")).await;
}

async fn an_entry_is_remembered_by_the_head(harness: &impl Harness) {
    let case = case(harness, "entries").await;
    let read = |after: Option<&Position>, entry: &str| Publication {
        entry: Some(entry.into()),
        ..publication(after, &["a"], "A")
    };
    let first = case.published(read(None, "5-1")).await;
    case.published(publication(Some(&first), &["b"], "B")).await;
    let found = case.log.state(&case.topic).await.expect("read").expect("a state");
    assert_eq!(found.entry, Some(SmolStr::new("5-1")), "also after a batch that came another way");
}

async fn the_newest_events_outlive_the_ring(harness: &impl Harness) {
    let case = case(harness, "kept").await;
    let mut head = None;
    for _ in 0..3 {
        let bodies = vec!["e"; 50];
        head = Some(case.published(publication(head.as_ref(), &bodies, "S")).await);
    }
    harness.advance(harness.ring() * 3).await;
    head = Some(case.published(publication(head.as_ref(), &["last"], "S")).await);
    let kept = case.texts(None).await;
    assert_eq!((kept.len(), kept.last().map(String::as_str)), (LEAST_KEPT, Some("151:last")));
    harness.advance(LEAST_KEPT_FOR - harness.ring() * 4).await;
    let head = case.published(publication(head.as_ref(), &["later"], "S2")).await;
    assert_eq!(case.texts(None).await.len(), LEAST_KEPT, "for a day");
    assert_eq!(case.state().await, Some((head, "S2".into())));
}

async fn an_ended_topic_begins_anew(harness: &impl Harness) {
    let case = case(harness, "ended").await;
    let first = case.published(publication(None, &["a"], "A")).await;
    let mut reader = Reader::new(&*case.log);
    reader.tail.follow(case.topic.clone(), None);
    reader.until(&case.topic, "1:a").await;
    case.log.end(case.fence, &case.topic).await.expect("end");
    reader.until_told("the end", |reader| reader.ended.contains(&case.topic)).await;
    assert_eq!(case.state().await, None, "the state goes too");
    let moved = case.publish(publication(Some(&first), &["b"], "B")).await;
    assert_eq!(moved, PublishOutcome::Moved, "what went before is not continued");
    let next = case.published(publication(None, &["b"], "B")).await;
    assert!(next.epoch != first.epoch && next.seq == 1, "a new history: {next}");
    reader.until(&case.topic, "1:b").await;
}

async fn an_earlier_writer_publishes_nothing(harness: &impl Harness) {
    let case = case(harness, "fenced").await;
    let first = case.published(publication(None, &["a"], "A")).await;
    case.log.acquire().await.expect("another writer");
    let late = case.log.publish(case.fence, &case.topic, publication(Some(&first), &["b"], "B")).await;
    assert_eq!(late, Err(LogError::Fenced));
    let unknown =
        case.log.publish(Fence(case.fence.0), &topic("prices.new"), publication(None, &["b"], "B")).await;
    assert_eq!(unknown, Err(LogError::Fenced), "nor to a topic that is new");
    assert_eq!(case.state().await, Some((first, "A".into())));
}

fn topic(name: &str) -> Topic {
    name.parse().expect("a topic")
}

async fn published_topics_are_named_by_prefix_alone(harness: &impl Harness) {
    let case = case(harness, "listed").await;
    for name in ["listed.b", "listed.a", "listed.c", "other.a"] {
        let case = Case { topic: topic(name), log: case.log.clone(), ..case };
        case.published(publication(None, &["a"], "A")).await;
    }
    let named = async |after: &str, limit: usize| -> Vec<String> {
        let heads = case.log.published("listed.", after, limit).await.expect("read");
        heads.into_iter().map(|head| format!("{}:{}", head.topic, head.position.seq)).collect()
    };
    assert_eq!(named("", 10).await, ["listed.a:1", "listed.b:1", "listed.c:1"]);
    assert_eq!(named("listed.a", 1).await, ["listed.b:1"]);
    let all = case.log.topics().await.expect("read");
    assert!(all.iter().all(|topic| !matches!(topic, Topic::Published(_))), "{all:?}");
    let mut reader = Reader::new(&*case.log);
    reader.tail.follow(topic("listed.b"), None);
    reader.until(&topic("listed.b"), "1:a").await;
    assert!(reader.began.iter().all(|topic| !matches!(topic, Topic::Published(_))), "{:?}", reader.began);
}
