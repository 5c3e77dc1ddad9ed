//! Numbers, keys, `if_seq`, and what a log that fails comes to.

use std::time::Duration;

use bond_core::log::EventLog;
use bond_core::publish::{PublishError, PublishRequest, Publisher, STATE_BYTES};
use bond_core::topic::Topic;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::faulty::Fault;
use super::{Bench, by_key, delta, request, topic};
use crate::publish::{WAITING, WITHIN};

fn if_seq(seq: u64, payload: &str) -> PublishRequest {
    request(&format!(r#"{{"events":[{{"payload":{payload}}}],"if_seq":{seq}}}"#))
}

#[tokio::test]
async fn batches_have_consecutive_numbers() {
    let bench = Bench::new().await;
    let first =
        bench.publish(request(r#"{"events":[{"payload":1},{"payload":2}]}"#)).await.expect("published");
    let second = bench.publish(delta("3")).await.expect("published");
    assert_eq!((first.first_seq, first.last_seq), (1, 2));
    assert_eq!((second.first_seq, second.last_seq), (3, 3));
    assert_eq!(first.epoch, second.epoch);
}

#[tokio::test]
async fn the_same_key_is_one_event_and_one_answer() {
    let bench = Bench::new().await;
    let first = bench.publish(by_key("a", if_seq(0, r#"{"n":1}"#))).await;
    assert!(first.is_ok(), "{first:?}");
    bench.publish(delta(r#"{"n":2}"#)).await.expect("published");
    // It says `if_seq: 0`, which was so when it was first sent.
    assert_eq!(bench.publish(by_key("a", if_seq(0, r#"{"n":1}"#))).await, first);
    assert_eq!(bench.state().await, Some((2, r#"{"n":2}"#.to_owned())));
    let other = bench.publish(by_key("a", delta("3"))).await;
    assert_eq!(other, Err(PublishError::KeyReused));
    assert_eq!(bench.publish(by_key("a", if_seq(9, "3"))).await, Err(PublishError::KeyReused));
    assert_eq!(bench.events().await.len(), 2);
}

#[tokio::test]
async fn of_concurrent_batches_with_one_if_seq_one_wins() {
    let bench = Bench::new().await;
    bench.publish(delta("0")).await.expect("published");
    let racers = (0..20).map(|racer| bench.publish(if_seq(1, &racer.to_string())));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(racers).await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    let head_is_2 = |outcome: &_| matches!(outcome, Err(PublishError::Conflict(Some(head))) if head.seq == 2);
    assert!(lost.iter().all(head_is_2), "{lost:?}");
    assert_eq!(bench.publish(if_seq(5, "1")).await.map_err(|error| error.code().as_str()), Err("CONFLICT"));
}

#[tokio::test]
async fn a_state_that_would_be_too_large_leaves_the_topic_as_it_was() {
    let bench = Bench::new().await;
    let half = "x".repeat(STATE_BYTES / 2);
    bench.publish(delta(&format!(r#"{{"a":"{half}"}}"#))).await.expect("published");
    let both = format!(r#"{{"events":[{{"payload":{{"b":1}}}},{{"payload":{{"c":"{half}"}}}}]}}"#);
    assert_eq!(bench.publish(request(&both)).await, Err(PublishError::StateTooLarge));
    let passing = format!(r#"{{"events":[{{"payload":{{"c":"{half}"}}}},{{"payload":{{"c":null}}}}]}}"#);
    assert_eq!(bench.publish(request(&passing)).await, Err(PublishError::StateTooLarge), "also in between");
    assert_eq!(bench.state().await.expect("a state").0, 1);
}

#[tokio::test]
async fn an_entry_is_taken_once_also_by_the_next_writer() {
    let bench = Bench::new().await;
    let entry = |id: &str| PublishRequest { entry: Some(id.into()), ..delta("1") };
    bench.publish(entry("9-1")).await.expect("taken");
    bench.publish(delta("1")).await.expect("published");
    for id in ["9-1", "8-99"] {
        assert_eq!(bench.publish(entry(id)).await, Err(PublishError::Taken(id.into())));
    }
    assert_eq!(bench.publish(entry("10-0")).await.map(|at| at.last_seq), Ok(3));
    let keyed = by_key("k", entry("11-0"));
    let first = bench.publish(keyed.clone()).await;
    assert_eq!(bench.publish(keyed).await, first, "one with a key is answered as the first time");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_nothing_is_there_twice() {
    let bench = Bench::new().await;
    for (index, request) in
        [delta("1"), by_key("a", delta("2")), if_seq(2, "3"), delta("4")].into_iter().enumerate()
    {
        bench.faults.next([Fault::AnswerLost, Fault::Away]);
        let at = bench.publish(request).await.expect("published");
        assert_eq!(at.last_seq, index as u64 + 1);
    }
    assert_eq!(bench.events().await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_is_told_after_two_seconds_and_goes_on_from_its_head() {
    let bench = Bench::new().await;
    bench.publish(delta("1")).await.expect("published");
    for faults in [vec![Fault::AnswerLost; 1], vec![Fault::Away; 100]] {
        bench.faults.next(faults);
    }
    let began = Instant::now();
    let refused = bench.publish(delta("2")).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    assert!(began.elapsed() <= WITHIN, "{:?}", began.elapsed());
    bench.faults.clear();
    assert_eq!(bench.publish(delta("3")).await.map(|at| at.last_seq), Ok(3), "it was appended after all");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_another_topic_goes_on() {
    let bench = Bench::new().await;
    bench.faults.next([Fault::Silent]);
    let began = Instant::now();
    let crowd = join_all((0..WAITING + 10).map(|_| bench.publish(delta("1")))).await;
    assert!(crowd.iter().all(|outcome| matches!(outcome, Err(PublishError::Unavailable(_)))), "{crowd:?}");
    assert!(began.elapsed() <= WITHIN + Duration::from_millis(1), "who waited is told as soon");
    assert_eq!(bench.publish(delta("1")).await.map(|at| at.last_seq), Ok(1));
}

#[tokio::test]
async fn an_ended_topic_is_gone_and_begins_a_new_history() {
    let bench = Bench::new().await;
    let first = bench.publish(delta("1")).await.expect("published");
    assert_eq!(bench.publisher.end(&topic()).await, Ok(true));
    assert_eq!(bench.publisher.end(&topic()).await, Ok(false));
    assert_eq!(bench.state().await, None);
    let next = bench.publish(if_seq(0, "2")).await.expect("published");
    assert_eq!(next.first_seq, 1);
    assert_ne!(next.epoch, first.epoch);
}

#[tokio::test]
async fn a_topic_that_ended_by_itself_refuses_nothing_by_what_is_remembered() {
    let bench = Bench::new().await;
    bench.publish(delta(r#"{"old":1}"#)).await.expect("published");
    bench.clock.advance(Duration::from_secs(2 * 86_400));
    bench.publish(if_seq(0, r#"{"new":1}"#)).await.expect("published");
    assert_eq!(bench.state().await, Some((1, r#"{"new":1}"#.to_owned())));
}

#[tokio::test]
async fn a_fenced_writer_says_so_and_stops_without_being_a_death() {
    let bench = Bench::new().await;
    bench.publish(delta("1")).await.expect("published");
    bench.log.acquire().await.expect("another writer");
    let refused = bench.publish(delta("2")).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    bench.over.cancelled().await;
    assert_eq!(
        bench.log.state(&Topic::Published(topic())).await.expect("read").expect("kept").position.seq,
        1
    );
    assert_eq!(bench.supervisor.death(), None);
}
