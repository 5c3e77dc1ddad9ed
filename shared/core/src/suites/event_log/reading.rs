//! Reading from positions and times.

use std::time::Duration;

use crate::log::{Gap, GapReason, Item};
use crate::position::{Epoch, Position};

use super::{Case, Harness, texts};

pub(super) async fn run(harness: &impl Harness) {
    a_position_gets_what_follows(harness).await;
    a_limit_pages_without_loss_or_repeat(harness).await;
    statuses_stay_in_their_place(harness).await;
    another_epoch_gets_a_gap_and_what_is_kept(harness).await;
    a_position_ahead_of_the_log_gets_the_same(harness).await;
    a_time_finds_its_position(harness).await;
}

async fn a_position_gets_what_follows(harness: &impl Harness) {
    let case = Case::new(harness, "READING").await;
    let head = case.append(&["a", "b", "c"]).await;
    for (seq, expected) in [(0, vec!["1:a", "2:b", "3:c"]), (2, vec!["3:c"]), (3, vec![])] {
        let after = Position { epoch: head.epoch.clone(), seq };
        let run = case.log.read(&case.topic, Some(&after), 10).await.expect("read").expect("history");
        assert_eq!((run.epoch, run.gap), (head.epoch.clone(), None), "nothing is missing after {seq}");
        assert_eq!(texts(&run.items), expected, "after {seq}");
    }
}

async fn a_limit_pages_without_loss_or_repeat(harness: &impl Harness) {
    let case = Case::new(harness, "PAGES").await;
    case.append(&["a", "b"]).await;
    case.keep("x").await;
    case.keep("y").await;
    let head = case.append(&["c"]).await;
    case.keep("z").await;
    let mut after = Position { epoch: head.epoch, seq: 0 };
    let mut pages = Vec::new();
    for _ in 0..4 {
        let run = case.log.read(&case.topic, Some(&after), 1).await.expect("read").expect("history");
        after.seq += run.items.iter().filter(|item| matches!(item, Item::Event(_))).count() as u64;
        pages.push(texts(&run.items).join(" "));
    }
    assert_eq!(pages, ["1:a", "2:b", "2+x 2+y 3:c", "3+z"], "pages of one event");
}

async fn statuses_stay_in_their_place(harness: &impl Harness) {
    let case = Case::new(harness, "STATUSES").await;
    assert_eq!(case.keep("none").await, None, "a topic without history keeps no status");
    assert_eq!(case.log.head(&case.topic).await, Ok(None), "a status begins no history");
    case.append(&["a"]).await;
    let kept = case.keep("x").await.expect("kept");
    assert_eq!(kept.seq, 1, "a status is kept after the last event");
    case.keep("y").await;
    let head = case.append(&["b"]).await;
    assert_eq!(head.seq, 2, "a status takes no number");
    case.keep("z").await;
    assert_eq!(case.texts(None).await, ["1:a", "1+x", "1+y", "2:b", "2+z"]);
    assert_eq!(case.texts(Some(&kept)).await, ["1+x", "1+y", "2:b", "2+z"], "statuses kept after 1 or later");
    assert_eq!(case.texts(Some(&head)).await, ["2+z"], "statuses kept after 2 or later");
}

async fn another_epoch_gets_a_gap_and_what_is_kept(harness: &impl Harness) {
    let case = Case::new(harness, "EPOCHS").await;
    let dead = case.append(&["a", "b"]).await;
    case.log.end(case.fence, &case.topic).await.expect("end");
    let head = case.append(&["c", "d", "e"]).await;
    let unknown = Position { epoch: Epoch::new("neverwas").expect("epoch"), seq: 1 };
    for after in [dead, unknown] {
        let run = case.log.read(&case.topic, Some(&after), 10).await.expect("read").expect("history");
        assert_eq!(run.epoch, head.epoch, "the run belongs to the current epoch");
        let gap = Gap { from_seq: None, to_seq: 0, reason: GapReason::EpochChanged };
        assert_eq!(run.gap, Some(gap), "a position of {} cannot be continued", after.epoch);
        assert_eq!(texts(&run.items), ["1:c", "2:d", "3:e"], "and all that is kept follows");
    }
}

async fn a_position_ahead_of_the_log_gets_the_same(harness: &impl Harness) {
    let case = Case::new(harness, "AHEAD").await;
    let head = case.append(&["a", "b"]).await;
    let ahead = Position { epoch: head.epoch, seq: 7 };
    let run = case.log.read(&case.topic, Some(&ahead), 10).await.expect("read").expect("history");
    assert_eq!(run.gap, Some(Gap { from_seq: None, to_seq: 0, reason: GapReason::EpochChanged }));
    assert_eq!(texts(&run.items), ["1:a", "2:b"]);
}

async fn a_time_finds_its_position(harness: &impl Harness) {
    let case = Case::new(harness, "MOMENTS").await;
    assert_eq!(case.log.position_at(&case.topic, harness.now()).await, Ok(None), "no history, no position");
    let second = Duration::from_secs(1);
    let begun = harness.now();
    case.append(&["a", "b"]).await;
    harness.advance(second).await;
    case.keep("x").await;
    harness.advance(second).await;
    let head = case.append(&["c"]).await;
    harness.advance(second).await;
    for (time, seq, what) in [
        (begun.minus(second), 0, "before everything"),
        (begun, 0, "at the first event"),
        (begun.plus(second), 2, "at a status between events"),
        (begun.plus(2 * second), 2, "at an event"),
        (begun.plus(Duration::from_millis(2001)), 3, "after the last event"),
        (begun.plus(Duration::from_secs(3600)), 3, "in the future"),
    ] {
        let found = case.log.position_at(&case.topic, time).await;
        let expected = Position { epoch: head.epoch.clone(), seq };
        assert_eq!(found, Ok(Some(expected)), "the position {what}");
    }
}
