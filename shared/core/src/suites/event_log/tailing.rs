//! Waiting for what comes.

use std::sync::Arc;

use crate::position::{Epoch, Position};
use crate::topic::Topic;

use super::reader::Reader;
use super::{Case, Harness, append};

pub(super) async fn run(harness: &impl Harness) {
    a_tail_goes_from_history_to_live(harness).await;
    a_tail_begins_after_its_position(harness).await;
    a_topic_may_be_followed_before_it_begins(harness).await;
    statuses_are_told_once(harness).await;
    beginnings_and_ends_are_told(harness).await;
    a_new_epoch_is_told_with_a_gap(harness).await;
    a_dead_position_is_told_at_once(harness).await;
    an_unfollowed_topic_is_silent(harness).await;
    a_dropped_wait_loses_nothing(harness).await;
    every_number_is_seen_once(harness).await;
}

async fn a_tail_goes_from_history_to_live(harness: &impl Harness) {
    let case = Case::new(harness, "TAILING").await;
    case.append(&["a", "b"]).await;
    let mut reader = Reader::new(&*harness.open().await);
    reader.tail.follow(case.topic.clone(), None);
    reader.until(&case.topic, "2:b").await;
    case.append(&["c"]).await;
    reader.until(&case.topic, "3:c").await;
    case.append(&["d", "e"]).await;
    reader.until(&case.topic, "5:e").await;
    assert_eq!(reader.texts(&case.topic), ["1:a", "2:b", "3:c", "4:d", "5:e"], "no seam, no repeat");
}

async fn a_tail_begins_after_its_position(harness: &impl Harness) {
    let case = Case::new(harness, "SEAM").await;
    let after = case.append(&["a", "b"]).await;
    case.append(&["c"]).await;
    let mut reader = Reader::new(&*case.log);
    reader.tail.follow(case.topic.clone(), Some(after));
    case.append(&["d"]).await;
    reader.until(&case.topic, "4:d").await;
    assert_eq!(reader.texts(&case.topic), ["3:c", "4:d"]);
}

async fn a_topic_may_be_followed_before_it_begins(harness: &impl Harness) {
    let case = Case::new(harness, "EARLY").await;
    let mut reader = Reader::new(&*harness.open().await);
    reader.tail.follow(case.topic.clone(), None);
    case.append(&["a"]).await;
    reader.until(&case.topic, "1:a").await;
    assert_eq!(reader.texts(&case.topic), ["1:a"], "a first epoch comes without a gap");
}

async fn statuses_are_told_once(harness: &impl Harness) {
    let case = Case::new(harness, "ONCE").await;
    case.append(&["a"]).await;
    case.keep("x").await;
    let mut reader = Reader::new(&*case.log);
    reader.tail.follow(case.topic.clone(), None);
    reader.until(&case.topic, "1+x").await;
    case.keep("y").await;
    reader.until(&case.topic, "1+y").await;
    case.append(&["b"]).await;
    reader.until(&case.topic, "2:b").await;
    assert_eq!(reader.texts(&case.topic), ["1:a", "1+x", "1+y", "2:b"], "a status is news once");
}

async fn beginnings_and_ends_are_told(harness: &impl Harness) {
    let case = Case::new(harness, "LIFE").await;
    case.append(&["a"]).await;
    let other = super::topic("LIVES");
    let mut reader = Reader::new(&*harness.open().await);
    reader.until_told("the topics that exist", |reader| reader.began.contains(&case.topic)).await;
    assert!(!reader.began.contains(&other), "a topic without history has not begun");
    append(&*case.log, case.fence, &other, &["a"]).await;
    reader.until_told("a beginning", |reader| reader.began.contains(&other)).await;
    append(&*case.log, case.fence, &other, &["b"]).await;
    case.log.end(case.fence, &other).await.expect("end");
    reader.until_told("an end", |reader| reader.ended.contains(&other)).await;
    assert!(!reader.ended.contains(&case.topic), "what goes on has not ended");
    let times = |topic: &Topic| reader.began.iter().filter(|began| *began == topic).count();
    assert_eq!((times(&case.topic), times(&other)), (1, 1), "a beginning is told once");
    assert_eq!(reader.texts(&other), [""; 0], "a topic that is not followed is not read");
}

async fn a_new_epoch_is_told_with_a_gap(harness: &impl Harness) {
    let case = Case::new(harness, "REBORN").await;
    case.append(&["a", "b"]).await;
    let mut reader = Reader::new(&*harness.open().await);
    reader.tail.follow(case.topic.clone(), None);
    reader.until(&case.topic, "2:b").await;
    case.log.end(case.fence, &case.topic).await.expect("end");
    case.append(&["c"]).await;
    reader.until(&case.topic, "1:c").await;
    assert_eq!(reader.texts(&case.topic), ["1:a", "2:b", "gap ?-0 epoch_changed", "1:c"]);
    case.append(&["d"]).await;
    reader.until(&case.topic, "2:d").await;
    assert_eq!(reader.texts(&case.topic).len(), 5, "a gap is told once");
}

async fn a_dead_position_is_told_at_once(harness: &impl Harness) {
    let case = Case::new(harness, "DEAD").await;
    let head = case.append(&["a"]).await;
    let dead = Position { epoch: Epoch::new("longgone").expect("epoch"), seq: 9 };
    let ahead = Position { epoch: head.epoch, seq: 9 };
    for position in [dead, ahead] {
        let mut reader = Reader::new(&*case.log);
        reader.tail.follow(case.topic.clone(), Some(position));
        reader.until(&case.topic, "1:a").await;
        assert_eq!(reader.texts(&case.topic), ["gap ?-0 epoch_changed", "1:a"]);
    }
}

async fn an_unfollowed_topic_is_silent(harness: &impl Harness) {
    let case = Case::new(harness, "SILENT").await;
    let other = super::topic("LOUD");
    let mut reader = Reader::new(&*case.log);
    reader.tail.follow(case.topic.clone(), None);
    reader.tail.follow(other.clone(), None);
    case.append(&["a"]).await;
    reader.until(&case.topic, "1:a").await;
    reader.tail.unfollow(&case.topic);
    case.append(&["b"]).await;
    append(&*case.log, case.fence, &other, &["marker"]).await;
    reader.until(&other, "1:marker").await;
    assert_eq!(reader.texts(&case.topic), ["1:a"], "nothing comes after unfollow");
    reader.tail.follow(case.topic.clone(), None);
    reader.until(&case.topic, "2:b").await;
    assert_eq!(reader.texts(&case.topic), ["1:a", "1:a", "2:b"], "followed again, it is read anew");
}

async fn a_dropped_wait_loses_nothing(harness: &impl Harness) {
    let case = Case::new(harness, "CANCEL").await;
    let mut reader = Reader::new(&*case.log);
    reader.tail.follow(case.topic.clone(), None);
    let bodies: Vec<String> = (1..=50).map(|n| n.to_string()).collect();
    for body in &bodies {
        // A wait that has begun and is given up, before and after the append.
        reader.glance().await;
        case.append(&[body]).await;
        reader.glance().await;
    }
    reader.until(&case.topic, "50:50").await;
    let expected: Vec<String> = bodies.iter().map(|n| format!("{n}:{n}")).collect();
    assert_eq!(reader.texts(&case.topic), expected, "a dropped wait loses nothing");
}

async fn every_number_is_seen_once(harness: &impl Harness) {
    const APPENDS: usize = 200;
    let case = Arc::new(Case::new(harness, "CONCURRENT").await);
    let mut reader = Reader::new(&*harness.open().await);
    reader.tail.follow(case.topic.clone(), None);
    #[expect(clippy::disallowed_methods, reason = "the suite waits for it")]
    let writers: Vec<_> = (0..4).map(|_| tokio::spawn(append_pairs(Arc::clone(&case), APPENDS))).collect();
    let total = 4 * APPENDS * 2;
    reader.until_told("all numbers", |reader| reader.texts(&case.topic).len() >= total).await;
    for writer in writers {
        writer.await.expect("writer");
    }
    let seen: Vec<(u64, String)> = reader.texts(&case.topic).into_iter().map(split).collect();
    assert!(seen.iter().map(|(seq, _)| *seq).eq(1..=total as u64), "every number once, in order");
    let torn = seen.chunks(2).find(|pair| pair[0].1 != "first" || pair[1].1 != "second");
    assert_eq!(torn, None, "the records of one append stay together");
}

async fn append_pairs(case: Arc<Case>, count: usize) {
    for _ in 0..count {
        case.append(&["first", "second"]).await;
        tokio::task::yield_now().await;
    }
}

fn split(text: &str) -> (u64, String) {
    let (seq, body) = text.split_once(':').unwrap_or_else(|| panic!("not an event: {text}"));
    (seq.parse().expect("number"), body.to_owned())
}
