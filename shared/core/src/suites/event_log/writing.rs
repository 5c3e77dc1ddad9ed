//! Numbers, epochs, atomicity and fencing.

use std::time::Duration;

use crate::log::{Item, LogError, Record};
use crate::position::Epoch;
use crate::time::UnixNanos;

use super::{Case, Harness, append, record};

pub(super) async fn run(harness: &impl Harness) {
    numbers_are_contiguous_from_one(harness).await;
    records_come_back_as_they_went_in(harness).await;
    times_of_append_never_fall(harness).await;
    a_smaller_fence_is_shut_out(harness).await;
    a_takeover_continues_the_epoch(harness).await;
    an_ended_topic_begins_anew(harness).await;
    lost_history_begins_a_new_epoch(harness).await;
    a_lost_tail_begins_a_new_epoch(harness).await;
    topics_are_those_with_history(harness).await;
}

async fn numbers_are_contiguous_from_one(harness: &impl Harness) {
    let case = Case::new(harness, "NUMBERS").await;
    assert_eq!(case.log.head(&case.topic).await, Ok(None), "a topic that was never written has no head");
    let first = case.append(&["a"]).await;
    assert_eq!(first.seq, 1, "the first event of an epoch has number 1");
    let last = case.append(&["b", "c", "d"]).await;
    assert_eq!((&last.epoch, last.seq), (&first.epoch, 4), "a batch takes the numbers that follow");
    assert_eq!(case.log.head(&case.topic).await, Ok(Some(last)), "the head is after the last event");
    assert_eq!(case.texts(None).await, ["1:a", "2:b", "3:c", "4:d"]);
}

async fn records_come_back_as_they_went_in(harness: &impl Harness) {
    let case = Case::new(harness, "RECORDS").await;
    case.append(&["plain", "changes", "\"unicode\":\"ü\\u0000\""]).await;
    let run = case.log.read(&case.topic, None, 10).await.expect("read").expect("history");
    let expected = ["plain", "changes", "\"unicode\":\"ü\\u0000\""].map(record);
    let read: Vec<_> = run.items.into_iter().filter_map(event_record).collect();
    assert_eq!(read, expected, "kind, times, body and changes survive the log");
}

fn event_record(item: Item) -> Option<Record> {
    match item {
        Item::Event(entry) => Some(entry.record),
        Item::Status(_) => None,
    }
}

async fn times_of_append_never_fall(harness: &impl Harness) {
    let case = Case::new(harness, "TIMES").await;
    let begun = harness.now();
    for step in [0, 10, 20] {
        harness.advance(Duration::from_millis(step)).await;
        case.append(&["a", "b"]).await;
    }
    let run = case.log.read(&case.topic, None, 10).await.expect("read").expect("history");
    let times: Vec<_> = run.items.iter().map(appended_at).collect();
    assert!(times.is_sorted(), "times of append rise: {times:?}");
    assert!(times.iter().all(|at| (begun..=harness.now()).contains(at)), "they are the writer's: {times:?}");
}

fn appended_at(item: &Item) -> UnixNanos {
    match item {
        Item::Event(entry) => entry.at,
        Item::Status(kept) => kept.at,
    }
}

async fn a_smaller_fence_is_shut_out(harness: &impl Harness) {
    let old = Case::new(harness, "FENCING").await;
    old.append(&["a"]).await;
    old.keep("x").await;
    let new = Case::new(harness, "FENCING").await;
    assert!(new.fence > old.fence, "a new writer's fence is greater: {:?} and {:?}", new.fence, old.fence);
    // Before the new writer's first append: the fence must hold from the moment `acquire` returned.
    let refused = old.log.append(old.fence, &old.topic, vec![record("late")]).await;
    assert_eq!(refused.err(), Some(LogError::Fenced), "the old writer may not append");
    let kept = old.log.keep(old.fence, &old.topic, "late".into()).await;
    assert_eq!(kept, Err(LogError::Fenced), "the old writer may not keep a status");
    assert_eq!(old.log.end(old.fence, &old.topic).await, Err(LogError::Fenced), "nor end a topic");
    let elsewhere = super::topic("FENCED");
    let begun = new.log.append(old.fence, &elsewhere, vec![record("late")]).await;
    assert_eq!(begun.err(), Some(LogError::Fenced), "nor begin one, whichever handle it goes through");
    assert_eq!(new.texts(None).await, ["1:a", "1+x"], "what was refused has changed nothing");
    assert_eq!(new.log.head(&elsewhere).await, Ok(None), "a refused append begins no topic");
}

async fn a_takeover_continues_the_epoch(harness: &impl Harness) {
    let old = Case::new(harness, "TAKEOVER").await;
    let before = old.append(&["a", "b"]).await;
    let new = Case::new(harness, "TAKEOVER").await;
    let after = new.append(&["c"]).await;
    assert_eq!(
        (after.epoch, after.seq),
        (before.epoch, 3),
        "a takeover goes on where the old writer stopped"
    );
    assert_eq!(old.texts(None).await, ["1:a", "2:b", "3:c"], "the old process reads what the new one wrote");
}

async fn an_ended_topic_begins_anew(harness: &impl Harness) {
    let case = Case::new(harness, "ENDED").await;
    let mut epochs: Vec<Epoch> = Vec::new();
    for _ in 0..3 {
        let position = case.append(&["a"]).await;
        assert_eq!(position.seq, 1, "numbers begin again at 1");
        assert!(!epochs.contains(&position.epoch), "an epoch is never used twice: {}", position.epoch);
        epochs.push(position.epoch);
        case.log.end(case.fence, &case.topic).await.expect("end");
        assert_eq!(case.log.head(&case.topic).await, Ok(None), "an ended topic has no head");
        assert_eq!(case.log.read(&case.topic, None, 10).await, Ok(None), "and nothing to read");
        assert_eq!(case.keep("x").await, None, "and keeps no status");
    }
    assert_eq!(case.log.end(case.fence, &case.topic).await, Ok(()), "ending twice is no error");
}

async fn lost_history_begins_a_new_epoch(harness: &impl Harness) {
    let before = Case::new(harness, "RESTART").await;
    let old = before.append(&["a", "b"]).await;
    harness.lose_history().await;
    let after = Case::new(harness, "RESTART").await;
    assert_eq!(after.log.head(&after.topic).await, Ok(None), "nothing is left of a lost history");
    let new = after.append(&["c"]).await;
    assert_eq!(new.seq, 1, "numbers begin again at 1");
    assert_ne!(new.epoch, old.epoch, "a lost history is not continued");
}

async fn a_lost_tail_begins_a_new_epoch(harness: &impl Harness) {
    let case = Case::new(harness, "FAILOVER").await;
    let acknowledged = case.append(&["a", "b", "c"]).await;
    if !harness.lose_tail(&case.topic, 2).await {
        return;
    }
    let next = case.append(&["d"]).await;
    assert_eq!(next.seq, 1, "numbers begin again at 1");
    assert_ne!(next.epoch, acknowledged.epoch, "numbers that readers may have seen are not given again");
}

async fn topics_are_those_with_history(harness: &impl Harness) {
    let case = Case::new(harness, "LISTED").await;
    let gone = super::topic("UNLISTED");
    case.append(&["a"]).await;
    append(&*case.log, case.fence, &gone, &["a"]).await;
    case.log.end(case.fence, &gone).await.expect("end");
    let topics = harness.open().await.topics().await.expect("topics");
    assert_eq!(topics.iter().filter(|topic| **topic == case.topic).count(), 1, "a topic is listed once");
    assert!(!topics.contains(&gone), "an ended topic is not listed");
}
