//! The memory log against the suite, and what only it promises.

use parking_lot::Mutex;

use super::*;
use crate::log::EventKind;
use crate::suites::event_log::{self, Harness};
use crate::time::ManualClock;

const RETENTION: Retention =
    Retention { ring: Duration::from_secs(60), topic_bytes: 1_000_000, total_bytes: 10_000_000 };

struct Memory {
    clock: Arc<ManualClock>,
    log: Mutex<MemoryLog>,
    starts: AtomicU64,
}

impl Memory {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(1_700_000_000)));
        let log = MemoryLog::new(RETENTION, clock.clone(), 0);
        Self { clock, log: Mutex::new(log), starts: AtomicU64::new(1) }
    }
}

#[async_trait]
impl Harness for Memory {
    async fn open(&self) -> Arc<dyn EventLog> {
        Arc::new(self.log.lock().clone())
    }

    async fn lose_history(&self) {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let nonce = u32::try_from(start).expect("few starts") << 16;
        *self.log.lock() = MemoryLog::new(RETENTION, self.clock.clone(), nonce);
    }

    async fn lose_tail(&self, _topic: &Topic, _count: u64) -> bool {
        false
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    fn now(&self) -> UnixNanos {
        self.clock.now()
    }

    fn ring(&self) -> Duration {
        RETENTION.ring
    }

    fn topic_bytes(&self) -> usize {
        RETENTION.topic_bytes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behaves_as_an_event_log() {
    event_log::run(&Memory::new()).await;
}

fn record(bytes: usize) -> Record {
    Record {
        kind: EventKind::Trade,
        ts: UnixNanos::EPOCH,
        order: UnixNanos::EPOCH,
        body: Bytes::from(vec![b'1'; bytes]),
        changes: None,
    }
}

fn topics() -> [Topic; 2] {
    ["trades.okx.BTC-USDT", "trades.okx.ETH-USDT"].map(|name| name.parse().expect("topic"))
}

#[tokio::test]
async fn a_topic_that_is_appended_to_gives_way_when_all_are_too_large() {
    let retention = Retention { total_bytes: 50_000, ..RETENTION };
    let log = MemoryLog::new(retention, Arc::new(ManualClock::default()), 0);
    let fence = log.acquire().await.expect("acquire");
    let [quiet, busy] = topics();
    log.append(fence, &quiet, vec![record(10_000), record(10_000)]).await.expect("append");
    for _ in 0..20 {
        log.append(fence, &busy, vec![record(10_000)]).await.expect("append");
    }
    let kept = async |topic| log.read(topic, None, 100).await.expect("read").expect("history").items.len();
    assert_eq!((kept(&quiet).await, kept(&busy).await), (2, 2));
    log.end(fence, &quiet).await.expect("end");
    for _ in 0..20 {
        log.append(fence, &busy, vec![record(10_000)]).await.expect("append");
    }
    assert_eq!(kept(&busy).await, 4, "an ended topic makes room");
}

#[tokio::test]
async fn an_event_larger_than_the_bound_is_delivered_all_the_same() {
    let log = MemoryLog::new(RETENTION, Arc::new(ManualClock::default()), 0);
    let fence = log.acquire().await.expect("acquire");
    let [topic, _] = topics();
    log.append(fence, &topic, vec![record(1), record(2_000_000)]).await.expect("append");
    let run = log.read(&topic, None, 10).await.expect("read").expect("history");
    assert_eq!(run.items.len(), 1);
}

#[tokio::test]
async fn an_unread_tail_does_not_grow_with_topics_that_come_and_go() {
    let log = MemoryLog::new(RETENTION, Arc::new(ManualClock::default()), 0);
    let fence = log.acquire().await.expect("acquire");
    let [stays, comes] = topics();
    log.append(fence, &stays, vec![record(1)]).await.expect("append");
    let mut tail = log.tail();
    log.append(fence, &comes, vec![record(1)]).await.expect("append");
    log.end(fence, &comes).await.expect("end");
    log.end(fence, &stays).await.expect("end");
    log.append(fence, &stays, vec![record(1)]).await.expect("append");
    let news = tail.next().await.expect("news");
    assert_eq!((news.began, news.ended), (vec![stays], vec![]), "what came and went unseen is no news");
}

#[tokio::test]
async fn nothing_is_remembered_of_topics_without_history_or_followers() {
    let log = MemoryLog::new(RETENTION, Arc::new(ManualClock::default()), 0);
    let fence = log.acquire().await.expect("acquire");
    let [topic, other] = topics();
    let mut tail = log.tail();
    tail.follow(topic.clone(), None);
    tail.follow(other.clone(), None);
    tail.unfollow(&other);
    log.append(fence, &topic, vec![record(1)]).await.expect("append");
    log.end(fence, &topic).await.expect("end");
    assert_eq!(log.0.state.read().slots.len(), 1, "what is followed is remembered");
    drop(tail);
    assert_eq!(log.0.state.read().slots.len(), 0);
    assert_eq!(log.0.used_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn times_of_append_stand_while_the_clock_is_behind() {
    let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(100)));
    let log = MemoryLog::new(RETENTION, clock.clone(), 0);
    let fence = log.acquire().await.expect("acquire");
    let [topic, _] = topics();
    for secs in [100, 70, 101] {
        clock.set(UnixNanos::from_secs(secs));
        log.append(fence, &topic, vec![record(1)]).await.expect("append");
    }
    let position =
        log.position_at(&topic, UnixNanos::from_secs(100)).await.expect("position").expect("history");
    assert_eq!(position.seq, 0, "the second event counts as appended at 100 s too");
    let position =
        log.position_at(&topic, UnixNanos::from_secs(101)).await.expect("position").expect("history");
    assert_eq!(position.seq, 2);
}

#[tokio::test]
async fn a_topic_that_fell_silent_gives_its_memory_back() {
    let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(100)));
    let log = MemoryLog::new(RETENTION, clock.clone(), 0);
    let fence = log.acquire().await.expect("acquire");
    let [silent, busy] = topics();
    log.append(fence, &silent, vec![record(100_000)]).await.expect("append");
    log.append(fence, &busy, vec![record(1)]).await.expect("append");
    clock.advance(2 * RETENTION.ring);
    log.append(fence, &busy, vec![record(1)]).await.expect("append");
    assert!(log.0.used_bytes.load(Ordering::Relaxed) < 1_000);
    let next = log.append(fence, &silent, vec![record(1)]).await.expect("append");
    assert_eq!(next.first_seq, 2, "its numbers go on");
}
