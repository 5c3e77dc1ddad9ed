//! What only the log in Redis promises of published topics.

use std::time::Duration;

use bond_core::log::{EventKind, EventLog, Fence, Publication, PublishOutcome, Record};
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bond_redis::RedisLog;
use tokio::time::{Instant, timeout};

use crate::log::LOSE_TAIL;
use crate::server::{RETENTION, Server, clock, log, nonce};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn topic(name: &str) -> Topic {
    name.parse().expect("a topic")
}

pub(crate) fn publication(after: Option<&Position>, body: &str, state: &'static str) -> Publication {
    let record = Record {
        kind: EventKind::Delta,
        ts: UnixNanos::from_secs(1),
        order: UnixNanos::from_secs(1),
        body: body.to_owned().into(),
        changes: None,
    };
    Publication {
        after: after.cloned(),
        records: vec![record],
        state: Some(state.into()),
        key: None,
        entry: None,
    }
}

async fn publish(
    log: &RedisLog,
    fence: Fence,
    topic: &Topic,
    publication: Publication,
) -> Result<Position, PublishOutcome> {
    match log.publish(fence, topic, publication).await.expect("an answer") {
        PublishOutcome::Appended(at) => Ok(Position { epoch: at.epoch, seq: at.first_seq }),
        other => Err(other),
    }
}

/// The state that the log has of `topic`, and at which number.
async fn state(log: &RedisLog, topic: &Topic) -> Option<(u64, String)> {
    let found = log.state(topic).await.expect("an answer")?;
    let state = found.state.unwrap_or_default();
    Some((found.position.seq, String::from_utf8_lossy(&state).into_owned()))
}

#[tokio::test]
async fn a_tail_that_was_lost_takes_the_state_with_it() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let (log, topic) = (log(&redis, &clock()), topic("prices.X"));
    let fence = log.acquire().await.expect("acquire");
    let first = publish(&log, fence, &topic, publication(None, "a", "A")).await.expect("first");
    let second = publish(&log, fence, &topic, publication(Some(&first), "b", "B")).await.expect("second");
    let third = publish(&log, fence, &topic, publication(Some(&second), "c", "C")).await.expect("third");
    let lost = server.command(&["EVAL", LOSE_TAIL, "0", "prices.X", "2"]);
    assert_eq!(lost, "0", "the head is set back");
    assert_eq!(state(&log, &topic).await, None, "the state of 3 is none of 1");
    for after in [&first, &third] {
        let outcome = publish(&log, fence, &topic, publication(Some(after), "d", "D")).await;
        assert_eq!(outcome, Err(PublishOutcome::Moved), "after {after}");
    }
    let next = publish(&log, fence, &topic, publication(None, "d", "D")).await.expect("anew");
    assert!(next.epoch != first.epoch && next.seq == 1, "a new history: {next}");
    assert_eq!(state(&log, &topic).await, Some((1, "D".into())));
}

/// As a replica has it that lagged by whole publications: head and state agree with each other, and not with what readers saw.
#[tokio::test]
async fn a_state_that_is_behind_what_was_acknowledged_is_not_gone_on_with() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let (log, topic) = (log(&redis, &clock()), topic("prices.X"));
    let fence = log.acquire().await.expect("acquire");
    let first = publish(&log, fence, &topic, publication(None, "a", "A")).await.expect("first");
    publish(&log, fence, &topic, publication(Some(&first), "b", "B")).await.expect("second");
    server.command(&["EVAL", LOSE_TAIL, "0", "prices.X", "1"]);
    let key = server.command(&["KEYS", "bond:*:state:prices.X"]);
    server.command(&["SET", &key, &format!("{first} =A")]);
    assert_eq!(state(&log, &topic).await, Some((1, "A".into())));
    let outcome = publish(&log, fence, &topic, publication(Some(&first), "c", "AC")).await;
    assert_eq!(outcome, Err(PublishOutcome::Moved));
    assert_eq!(state(&log, &topic).await, None, "what readers saw beyond it is lost, and so is the history");
    let next = publish(&log, fence, &topic, publication(None, "c", "C")).await.expect("anew");
    assert!(next.epoch != first.epoch && next.seq == 1, "{next}");
}

#[tokio::test]
async fn state_and_numbers_outlive_a_takeover_and_the_ring() {
    let server = Server::start(&[]).await;
    let (clock, topic) = (clock(), topic("prices.X"));
    let old = log(&server.connect().await, &clock);
    let fence = old.acquire().await.expect("acquire");
    let first = publish(&old, fence, &topic, publication(None, "a", "A")).await.expect("first");
    drop(old);
    clock.advance(3 * RETENTION.ring);
    let new = log(&server.connect().await, &clock);
    let fence = new.acquire().await.expect("acquire");
    assert_eq!(state(&new, &topic).await, Some((1, "A".into())));
    let second = publish(&new, fence, &topic, publication(Some(&first), "b", "B")).await.expect("second");
    assert_eq!((&second.epoch, second.seq), (&first.epoch, 2));
    let run = new.read(&topic, None, 9).await.expect("read").expect("history");
    assert_eq!(run.items.len(), 2, "the events are kept beyond the ring");
}

#[tokio::test]
async fn a_topic_that_nobody_publishes_to_ends_whole() {
    let server = Server::start(&[]).await;
    let ttl = Duration::from_millis(300);
    let log = RedisLog::new(server.connect().await, RETENTION, clock(), nonce()).with_topic_ttl(ttl);
    let fence = log.acquire().await.expect("acquire");
    let topic = topic("mobile.once");
    let first = publish(&log, fence, &topic, publication(None, "a", "A")).await.expect("first");
    let mut tail = log.tail();
    tail.follow(topic.clone(), None);
    let ended = async {
        // Nobody says so: the heads are looked at.
        while !tail.next().await.expect("news").ended.contains(&topic) {}
    };
    timeout(PATIENCE, ended).await.expect("its end is told");
    assert_eq!(state(&log, &topic).await, None);
    assert_eq!(log.read(&topic, None, 9).await, Ok(None));
    assert_eq!(log.published("mobile.", "", 9).await, Ok(Vec::new()));
    let left = server.command(&["KEYS", "bond:*mobile*"]);
    assert_eq!(left, "", "nothing of it is left");
    let index = server.command(&["KEYS", "bond:*:published"]);
    assert_eq!(index, "", "nor in the index");
    let next = publish(&log, fence, &topic, publication(None, "b", "B")).await.expect("anew");
    assert!(next.epoch != first.epoch && next.seq == 1, "{next}");
}

const MANY: usize = 3_000;

/// Looked at one by one once a second, they would take as many commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_quiet_topics_cost_little() {
    let server = Server::start(&[]).await;
    let writer = log(&server.connect().await, &clock());
    let mut tail = writer.tail();
    for n in 0..MANY {
        tail.follow(topic(&format!("trading.u{n}")), None);
    }
    let fence = writer.acquire().await.expect("acquire");
    let last = topic(&format!("trading.u{}", MANY - 1));
    publish(&writer, fence, &last, publication(None, "a", "A")).await.expect("published");
    let mut news = async || {
        let news = timeout(PATIENCE, tail.next()).await.expect("in time").expect("news");
        assert_eq!(news.runs.len(), 1);
    };
    news().await;
    let (begun, before) = (Instant::now(), scripts(&server));
    let first = writer.head(&last).await.expect("an answer").expect("a head");
    tokio::time::sleep(Duration::from_secs(3)).await;
    publish(&writer, fence, &last, publication(Some(&first), "b", "B")).await.expect("published");
    news().await;
    let calls = (scripts(&server) - before) as f64 / begun.elapsed().as_secs_f64();
    // Looked at one by one each second, it would be as many as there are topics.
    assert!(calls < MANY as f64 / 4.0, "{calls} scripts a second for {MANY} topics");
}

/// How many scripts the server was asked to run.
fn scripts(server: &Server) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]);
    let count = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    stats.lines().filter(|line| line.starts_with("cmdstat_eval")).filter_map(count).sum()
}
