//! What happens to the log when Redis does not answer, or forgets.

use std::sync::Arc;
use std::time::Duration;

use bond_core::event::Channel;
use bond_core::instrument::{Instrument, Symbol, Venue};
use bond_core::log::{Appended, EventKind, EventLog, Fence, Gap, GapReason, Item, LogError, Record, Tail};
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bond_redis::{Redis, RedisConfig, RedisLog};
use tokio::time::{Instant, timeout};

use crate::server::{RETENTION, Server, clock, free_port, log};

const PERSISTENT: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn topic(base: &str) -> Topic {
    let symbol = Symbol::parse(&format!("{base}/USDT")).expect("symbol");
    Topic::market(Channel::Trades, Instrument { venue: Venue::Okx, symbol }, None)
}

pub(crate) fn record(body: &str) -> Record {
    Record {
        kind: EventKind::Trade,
        ts: UnixNanos::from_secs(1),
        order: UnixNanos::from_secs(1),
        body: body.to_owned().into(),
        changes: None,
    }
}

async fn append(log: &RedisLog, fence: Fence, body: &str) -> Result<Appended, LogError> {
    log.append(fence, &topic("BTC"), vec![record(body)]).await
}

async fn bodies(log: &RedisLog) -> Vec<String> {
    let run = log.read(&topic("BTC"), None, usize::MAX).await.expect("read").expect("history");
    run.items.iter().map(body).collect()
}

fn body(item: &Item) -> String {
    match item {
        Item::Event(entry) => String::from_utf8_lossy(&entry.record.body).into_owned(),
        Item::Status(kept) => String::from_utf8_lossy(&kept.body).into_owned(),
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let config = RedisConfig { url: format!("redis://127.0.0.1:{}", free_port()), password: None };
    let begun = Instant::now();
    assert!(Redis::connect(&config).await.is_err());
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    let config = RedisConfig { url: "http://127.0.0.1".into(), password: None };
    let error = Redis::connect(&config).await.expect_err("not a Redis URL").to_string();
    assert!(error.contains("rediss://"), "{error}");
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_not_repeated() {
    let server = Server::start(&[]).await;
    let (redis, other) = (server.connect().await, server.connect().await);
    let (writer, reader) = (log(&redis, &clock()), log(&other, &clock()));
    let fence = writer.acquire().await.expect("acquire");
    let first = append(&writer, fence, "a").await.expect("append");
    // Longer than a command waits for its answer, so that it is asked again while the first asking is still to be carried out.
    server.command(&["CLIENT", "PAUSE", "2500", "WRITE"]);
    let second = append(&writer, fence, "b").await.expect("append");
    assert_eq!((second.epoch, second.first_seq), (first.epoch, 2));
    append(&writer, fence, "c").await.expect("append");
    assert_eq!(bodies(&reader).await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_a_crash_may_have_undone_begins_anew() {
    let mut server = Server::start(&PERSISTENT).await;
    let redis = server.connect().await;
    let writer = Arc::new(log(&redis, &clock()));
    let fence = writer.acquire().await.expect("acquire");
    let first = append(&writer, fence, "a").await.expect("append");
    server.command(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let held = Arc::clone(&writer);
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let waiting = tokio::spawn(async move { append(&held, fence, "b").await });
    while !server.command(&["CLIENT", "LIST"]).contains("flags=b") {
        tokio::task::yield_now().await;
    }
    server.restart().await;
    let second = waiting.await.expect("join").expect("append");
    assert_eq!(second.first_seq, 1);
    assert_ne!(second.epoch, first.epoch, "readers may have seen another event of the same number");
}

#[tokio::test]
async fn a_topic_that_fell_silent_loses_its_items_and_keeps_its_numbers() {
    let server = Server::start(&[]).await;
    let writer = log(&server.connect().await, &clock());
    let fence = writer.acquire().await.expect("acquire");
    let first = append(&writer, fence, "a").await.expect("append");
    let key = server.command(&["KEYS", "bond:*:log:*"]);
    let left: u64 = server.command(&["PTTL", &key]).parse().expect("a time to live");
    let ring = RETENTION.ring.as_millis() as u64;
    assert!((ring..=2 * ring).contains(&left), "its items lapse in {left} ms");
    server.command(&["DEL", &key]);
    let start = Position { epoch: first.epoch.clone(), seq: 0 };
    let run = writer.read(&topic("BTC"), Some(&start), 9).await.expect("read").expect("history");
    assert_eq!(run.gap, Some(Gap { from_seq: Some(1), to_seq: 1, reason: GapReason::BehindRing }));
    let second = append(&writer, fence, "b").await.expect("append");
    assert_eq!((second.epoch, second.first_seq), (first.epoch, 2));
    assert_eq!(bodies(&writer).await, ["b"]);
}

#[tokio::test]
async fn an_append_that_arrives_after_a_later_one_does_nothing() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = RedisLog::new(redis, RETENTION, clock(), 77);
    let fence = writer.acquire().await.expect("acquire");
    append(&writer, fence, "a").await.expect("append");
    append(&writer, fence, "b").await.expect("append");
    let head = server.command(&["KEYS", "bond:*:head:*"]);
    let (part, topic) = head.split_once("head:").expect("a head");
    let keys = ["fence".to_owned(), "topics".to_owned(), format!("head:{topic}"), format!("log:{topic}")];
    let keys = keys.map(|key| format!("{part}{key}"));
    let number = fence.0.to_string();
    // The first append once more, as a connection given up would deliver it.
    let args = [&number, "77", "1", "0", "0", "1000", "1000", "e", "", "0", "0", topic];
    // What is said of published topics, and of publications.
    let args = args.into_iter().chain([""; 10]).chain(["trade 1 1", "late", ""]);
    let command = ["EVAL", include_str!("../../src/log/append.lua"), "4"];
    let keys = keys.iter().map(String::as_str);
    let command: Vec<&str> = command.into_iter().chain(keys).chain(args).collect();
    assert_eq!(server.command(&command), "stale");
    assert_eq!(bodies(&writer).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_unavailable_within_seconds() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = log(&redis, &clock());
    let fence = writer.acquire().await.expect("acquire");
    append(&writer, fence, "a").await.expect("append");
    server.freeze();
    let begun = Instant::now();
    assert!(matches!(append(&writer, fence, "b").await, Err(LogError::Unavailable(_))));
    assert!(matches!(writer.head(&topic("BTC")).await, Err(LogError::Unavailable(_))));
    assert!(redis.ping().await.is_err());
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    server.thaw();
    let again = append(&writer, fence, "b").await.expect("the connection is restored");
    assert_eq!(again.first_seq, 2);
    assert_eq!(
        bodies(&writer).await,
        ["a", "b"],
        "what was asked for again after it had failed is there once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_its_data_goes_on() {
    let mut server = Server::start(&PERSISTENT).await;
    let redis = server.connect().await;
    let writer = log(&redis, &clock());
    let mut tail = writer.tail();
    tail.follow(topic("BTC"), None);
    let fence = writer.acquire().await.expect("acquire");
    let first = append(&writer, fence, "a").await.expect("append");
    assert_eq!(tailed(&mut *tail, 1).await, ["a"]);
    server.restart().await;
    let second = append(&writer, fence, "b").await.expect("append");
    assert_eq!((second.epoch, second.first_seq), (first.epoch, 2), "nothing was lost");
    assert_eq!(tailed(&mut *tail, 1).await, ["b"], "a tail goes on where it stood");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_its_data_begins_anew() {
    let mut server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = log(&redis, &clock());
    let mut tail = writer.tail();
    tail.follow(topic("BTC"), None);
    let fence = writer.acquire().await.expect("acquire");
    let first = append(&writer, fence, "a").await.expect("append");
    assert_eq!(tailed(&mut *tail, 1).await, ["a"]);
    server.restart().await;
    let second = append(&writer, fence, "b").await.expect("append");
    assert_eq!(second.first_seq, 1);
    assert_ne!(second.epoch, first.epoch, "a lost history is not continued");
    assert_eq!(tailed(&mut *tail, 2).await, ["gap", "b"], "and readers are told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_after_a_restart_begins_anew() {
    let mut server = Server::start(&PERSISTENT).await;
    let redis = server.connect().await;
    let old = log(&redis, &clock());
    let fence = old.acquire().await.expect("acquire");
    let first = append(&old, fence, "a").await.expect("append");
    server.restart().await;
    let redis = server.connect().await;
    let new = log(&redis, &clock());
    let fence = new.acquire().await.expect("acquire");
    // Nobody can say what the writer before was acknowledged.
    let second = append(&new, fence, "b").await.expect("append");
    assert_ne!(second.epoch, first.epoch);
    let third = append(&new, fence, "c").await.expect("append");
    assert_eq!((third.epoch, third.first_seq), (second.epoch, 2), "once");
}

/// Looking at everything once a second would bring the news too, but not these in time.
#[tokio::test]
async fn news_comes_when_it_is_made() {
    let server = Server::start(&[]).await;
    let writer = log(&server.connect().await, &clock());
    let mut tail = writer.tail();
    tail.follow(topic("BTC"), None);
    let fence = writer.acquire().await.expect("acquire");
    let rounds = async {
        for round in 0..40 {
            append(&writer, fence, &round.to_string()).await.expect("append");
            assert_eq!(tailed(&mut *tail, 1).await, [round.to_string()]);
        }
    };
    timeout(PATIENCE, rounds).await.expect("news is told of, not looked for");
}

/// Begins a history anew without a word to those who wait for it: a reader that had compared the topics just before meets it like that.
const BEGIN_ANEW: &str = "
    for partition = 0, 15 do
        local part = 'bond:{' .. partition .. '}:'
        local head, log = part .. 'head:' .. ARGV[1], part .. 'log:' .. ARGV[1]
        if redis.call('EXISTS', head) == 1 then
            local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
            redis.call('DEL', log)
            redis.call('XADD', log, '1-0', unpack(first[2]))
            redis.call('HSET', head, 'epoch', 'anew', 'seq', 1, 'kept', 0)
            redis.call('HSET', part .. 'topics', ARGV[1], 'anew')
        end
    end
    return redis.call('PUBLISH', 'bond:topic:' .. ARGV[1], '')";

#[tokio::test]
async fn the_end_of_an_epoch_is_never_told_after_what_follows_it() {
    let server = Server::start(&[]).await;
    let writer = log(&server.connect().await, &clock());
    let mut tail = writer.tail();
    tail.follow(topic("BTC"), None);
    let fence = writer.acquire().await.expect("acquire");
    append(&writer, fence, "before").await.expect("append");
    assert_eq!(tailed(&mut *tail, 1).await, ["before"]);
    let heard = server.command(&["EVAL", BEGIN_ANEW, "0", &topic("BTC").to_string()]);
    assert_eq!(heard, "1", "the tail listens");
    let mut has_ended = false;
    loop {
        let news = timeout(PATIENCE, tail.next()).await.expect("news").expect("the log");
        has_ended |= news.ended.contains(&topic("BTC"));
        if news.runs.iter().any(|(_, run)| run.epoch.as_str() == "anew") {
            return assert!(has_ended, "{news:?}");
        }
    }
}

/// The next `count` things that `tail` tells of what it follows.
async fn tailed(tail: &mut dyn Tail, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < count {
        // An error is a broken connection, which the tail restores.
        let news = timeout(PATIENCE, tail.next()).await.expect("news").unwrap_or_default();
        for (_, run) in news.runs {
            told.extend(run.gap.map(|_| "gap".to_owned()));
            told.extend(run.items.iter().map(body));
        }
    }
    told
}
