//! What is kept, and what a reader that comes too late is told.

use std::time::Duration;

use crate::log::{Gap, GapReason, Item, Run};
use crate::position::Position;

use super::reader::Reader;
use super::{Case, Harness, texts};

pub(super) async fn run(harness: &impl Harness) {
    items_are_kept_for_the_ring(harness).await;
    numbers_go_on_after_everything_was_dropped(harness).await;
    bytes_are_bounded_and_numbers_go_on(harness).await;
    a_tail_that_falls_behind_gets_a_gap(harness).await;
}

async fn items_are_kept_for_the_ring(harness: &impl Harness) {
    let case = Case::new(harness, "RETENTION").await;
    let half = harness.ring() / 2;
    let first = case.append(&["a", "b"]).await;
    case.keep("x").await;
    harness.advance(half).await;
    case.append(&["c"]).await;
    assert_eq!(case.texts(None).await, ["1:a", "2:b", "2+x", "3:c"], "nothing is older than the ring");
    harness.advance(half + Duration::from_millis(2)).await;
    case.append(&["d"]).await;
    let run = read(&case, Some(&Position { seq: 0, ..first.clone() })).await;
    let gap = Gap { from_seq: Some(1), to_seq: 2, reason: GapReason::BehindRing };
    assert_eq!(run.gap, Some(gap), "what the ring dropped is a gap");
    assert_eq!(texts(&run.items), ["3:c", "4:d"], "what is left follows");
    let run = read(&case, Some(&first)).await;
    assert_eq!(
        (run.gap, texts(&run.items)),
        (None, vec!["3:c".into(), "4:d".into()]),
        "after 2 none is missing"
    );
    let oldest = case.log.position_at(&case.topic, harness.now().minus(harness.ring() * 3)).await;
    assert_eq!(oldest, Ok(Some(first)), "a time before the ring is clamped to what is kept");
}

async fn numbers_go_on_after_everything_was_dropped(harness: &impl Harness) {
    let case = Case::new(harness, "DORMANT").await;
    let first = case.append(&["a", "b"]).await;
    harness.advance(harness.ring() * 2).await;
    let next = case.append(&["c"]).await;
    assert_eq!((&next.epoch, next.seq), (&first.epoch, 3), "silence ends no epoch");
    let run = read(&case, Some(&Position { epoch: first.epoch, seq: 1 })).await;
    assert_eq!(run.gap, Some(Gap { from_seq: Some(2), to_seq: 2, reason: GapReason::BehindRing }));
    assert_eq!(texts(&run.items), ["3:c"]);
}

async fn bytes_are_bounded_and_numbers_go_on(harness: &impl Harness) {
    let case = Case::new(harness, "BYTES").await;
    let body = "b".repeat(harness.topic_bytes() / 20);
    let mut last = case.append(&[&body]).await;
    for _ in 0..30 {
        last = case.append(&[&body, &body]).await;
    }
    assert_eq!(last.seq, 61, "numbers go on while old items are dropped");
    let run = read(&case, None).await;
    let kept: usize = run.items.iter().map(body_bytes).sum();
    assert!(
        (1..=harness.topic_bytes()).contains(&kept),
        "{kept} bytes are kept of {}",
        harness.topic_bytes()
    );
    let first = run.items.first().and_then(seq).expect("an event");
    let run = read(&case, Some(&Position { epoch: last.epoch, seq: 0 })).await;
    let gap = Gap { from_seq: Some(1), to_seq: first - 1, reason: GapReason::BehindRing };
    assert_eq!(run.gap, Some(gap), "what the bound dropped is a gap");
}

async fn a_tail_that_falls_behind_gets_a_gap(harness: &impl Harness) {
    let case = Case::new(harness, "BEHIND").await;
    case.append(&["a"]).await;
    let mut reader = Reader::new(&*case.log);
    reader.tail.follow(case.topic.clone(), None);
    reader.until(&case.topic, "1:a").await;
    case.append(&["b", "c"]).await;
    harness.advance(harness.ring() * 2).await;
    case.append(&["d"]).await;
    reader.until(&case.topic, "4:d").await;
    // An adapter whose tail reads ahead may have caught them in time; what may not happen is a silent hole.
    let seen = reader.texts(&case.topic);
    let whole = ["1:a", "2:b", "3:c", "4:d"];
    assert!(seen == whole || seen == ["1:a", "gap 2-3 behind_ring", "4:d"], "a hole is announced: {seen:?}");
}

async fn read(case: &Case, after: Option<&Position>) -> Run {
    case.log.read(&case.topic, after, usize::MAX).await.expect("read").expect("history")
}

fn body_bytes(item: &Item) -> usize {
    match item {
        Item::Event(entry) => entry.record.body.len(),
        Item::Status(kept) => kept.body.len(),
    }
}

const fn seq(item: &Item) -> Option<u64> {
    match item {
        Item::Event(entry) => Some(entry.seq),
        Item::Status(_) => None,
    }
}
