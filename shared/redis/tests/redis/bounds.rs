//! What may grow in Redis, and what goes on where Redis is full.

use std::collections::BTreeSet;
use std::time::Duration;

use bond_core::control::{Command, Commands, Control};
use bond_core::feed::FeedFilter;
use bond_core::instrument::Symbol;
use bond_core::lease::Lease;
use bond_core::log::{EventLog, GapReason};
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_redis::external::{EntryId, ForeignStreams, What};
use bond_redis::{RedisCommands, RedisControl, RedisLease, RedisLog, Retention};
use tokio::time::timeout;

use crate::faults::{record, topic};
use crate::server::{Server, clock, nonce};

const PATIENCE: Duration = Duration::from_secs(20);

fn bytes(server: &Server, key: &str) -> usize {
    server.command(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).parse().unwrap_or(0)
}

fn feed(number: usize, symbols: usize) -> Command {
    let symbol = |n: usize| Symbol::parse(&format!("ASSET{n}/USDT")).expect("symbol");
    let symbols: BTreeSet<Symbol> = (0..symbols).map(symbol).collect();
    Command::Feed {
        connection: format!("edge-{number}").into(),
        owner: None,
        filter: FeedFilter { symbols, ..FeedFilter::default() },
        until: UnixNanos::from_secs(1),
    }
}

#[tokio::test]
async fn commands_have_a_bound_in_bytes_and_lapse() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let control = RedisControl::new(redis.clone());
    let mut commands = RedisCommands::open(&redis).await.expect("open");
    for number in 0..5_000 {
        control.send(feed(number, 300)).await.expect("send");
    }
    let used = bytes(&server, "bond:control");
    assert!((1_000_000..10_000_000).contains(&used), "{used} bytes");
    let lapse: i64 = server.command(&["PTTL", "bond:control"]).parse().expect("a number");
    assert!((1..=60_000).contains(&lapse), "lapses in {lapse} ms");
    control.send(feed(0, 5_000)).await.expect_err("a command has a bound too");
    let newest = Command::FeedGone { connection: "last".into() };
    control.send(newest.clone()).await.expect("send");
    let read = async { while !commands.next().await.expect("commands").contains(&newest) {} };
    timeout(PATIENCE, read).await.expect("the newest is always kept");
}

#[tokio::test]
async fn commands_that_are_too_old_give_way() {
    let server = Server::start(&[]).await;
    let control = RedisControl::new(server.connect().await);
    // As an earlier version left it.
    server.command(&["XADD", "bond:control", "1-1", "c", "{}"]);
    for number in 0..3 {
        control.send(feed(number, 1)).await.expect("send");
    }
    assert_eq!(server.command(&["XLEN", "bond:control"]), "3");
}

const BODY: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_stays_within_its_sum_and_says_what_is_missing() {
    let server = Server::start(&["--maxmemory", "120mb", "--maxmemory-policy", "noeviction"]).await;
    let redis = server.connect().await;
    let retention = Retention { ring: Duration::from_secs(60), topic_bytes: 4 << 20, total_bytes: 16 << 20 };
    let log = RedisLog::new(redis.clone(), retention, clock(), nonce());
    let fence = log.acquire().await.expect("acquire");
    let lease = RedisLease::new(redis.clone(), "me");
    let records = vec![record(&"x".repeat(BODY)); 16];
    let topics: Vec<_> = (0..100).map(|n| topic(&format!("T{n}"))).collect();
    let mut first = None;
    // Four times the sum.
    for round in 0..4 {
        for topic in &topics {
            let appended = log.append(fence, topic, records.clone()).await.expect("append");
            first.get_or_insert(Position { epoch: appended.epoch, seq: 0 });
        }
        assert!(lease.hold().await.expect("lease"), "round {round}");
        let info = server.command(&["INFO", "memory"]);
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory_dataset:")).expect("a line");
        let used: usize = line.trim().parse().expect("a number");
        assert!(used < 24 << 20, "{used} bytes in round {round}");
    }
    let first = first.expect("a position");
    let run = log.read(&topics[0], Some(&first), usize::MAX).await.expect("read").expect("history");
    assert_eq!(run.gap.map(|gap| gap.reason), Some(GapReason::BehindRing));
    assert!(!run.items.is_empty());
    // Whoever takes over knows of it all.
    let next = RedisLog::new(redis, retention, clock(), nonce());
    let fence = next.acquire().await.expect("acquire");
    next.append(fence, &topic("NEW"), records).await.expect("append");
}

/// Something else has filled Redis, up to what the log may have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_costs_history_but_neither_lease_nor_events() {
    let server = Server::start(&["--maxmemory", "60mb", "--maxmemory-policy", "noeviction"]).await;
    let redis = server.connect().await;
    let retention = Retention { ring: Duration::from_secs(60), topic_bytes: 30 << 20, total_bytes: 30 << 20 };
    let log = RedisLog::new(redis.clone(), retention, clock(), nonce());
    let (lease, control) = (RedisLease::new(redis.clone(), "me"), RedisControl::new(redis));
    let fence = log.acquire().await.expect("acquire");
    let records = vec![record(&"x".repeat(BODY)); 100];
    for _ in 0..25 {
        log.append(fence, &topic("BTC"), records.clone()).await.expect("append");
    }
    let big = "y".repeat(100_000);
    let mut filled = 0;
    while server.command(&["SET", &format!("other:{filled}"), &big]) == "OK" {
        filled += 1;
    }
    assert!(filled > 0);
    assert!(lease.hold().await.expect("a lease is begun where Redis is full"));
    assert!(lease.hold().await.expect("and renewed"));
    control.send(feed(1, 10)).await.expect("a command is taken");
    let appended = log.append(fence, &topic("ETH"), records).await.expect("appends go on");
    assert_eq!(appended.first_seq, 1);
}

#[tokio::test]
async fn a_key_that_is_no_stream_holds_up_no_other() {
    let server = Server::start(&[]).await;
    let streams = ForeignStreams::new(server.connect().await);
    let mut reader = streams.reader();
    for name in ["bad", "good"] {
        let mark = streams.read_after(name, EntryId::default(), |_| ()).await.expect("read");
        reader.follow(name, mark);
    }
    server.command(&["SET", "stream:bad", "no stream"]);
    server.command(&["XADD", "stream:good", "*", "data", "x"]);
    let (mut is_unreadable, mut came) = (false, false);
    while !(is_unreadable && came) {
        for news in timeout(PATIENCE, reader.next()).await.expect("in time").expect("news") {
            match news.what {
                What::Unreadable(error) => {
                    assert!(!error.may_pass() && news.stream == "bad", "{error}");
                    is_unreadable = true;
                }
                What::Entries(entries) => came = news.stream == "good" && entries.len() == 1,
                What::Broken(_) => panic!("nothing is missing in {}", news.stream),
            }
        }
    }
}

#[tokio::test]
async fn a_stream_in_which_nothing_happens_is_not_broken() {
    let server = Server::start(&[]).await;
    let streams = ForeignStreams::new(server.connect().await);
    let mut reader = streams.reader();
    server.command(&["XADD", "stream:old", "1-0", "data", "long ago"]);
    for name in ["never", "old"] {
        let mark = streams.read_after(name, EntryId { ms: 1_000_000, seq: 0 }, |_| ()).await.expect("read");
        reader.follow(name, mark);
    }
    for _ in 0..2 {
        let news = timeout(PATIENCE, reader.next()).await.expect("in time").expect("news");
        assert_eq!(news, []);
    }
    server.command(&["XADD", "stream:old", "2-0", "data", "x"]);
    let news = timeout(PATIENCE, reader.next()).await.expect("in time").expect("news");
    assert!(
        matches!(&news[..], [only] if matches!(&only.what, What::Entries(entries) if entries.len() == 1))
    );
}
