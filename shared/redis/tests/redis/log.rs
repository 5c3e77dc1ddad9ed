//! The log against its suite, and what only it promises.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::log::{EventLog, Item};
use bond_core::suites::event_log::{self, Harness};
use bond_core::time::{Clock, ManualClock, UnixNanos};
use bond_core::topic::Topic;
use bond_redis::Redis;

use crate::faults::{record, topic};
use crate::server::{RETENTION, Server, clock, log};

/// Takes the last entries off a topic, as a replica that lagged would not have them.
pub(crate) const LOSE_TAIL: &str = "
    local p
    for partition = 0, 15 do
        for _, kind in ipairs({'', ':published'}) do
            local prefix = 'bond:{' .. partition .. '}' .. kind
            if redis.call('EXISTS', prefix .. ':head:' .. ARGV[1]) == 1 then p = prefix end
        end
    end
    local head, log = p .. ':head:' .. ARGV[1], p .. ':log:' .. ARGV[1]
    local left = redis.call('HGET', head, 'seq') - ARGV[2]
    local items = redis.call('XRANGE', log, '-', left .. '-0')
    redis.call('DEL', log)
    for _, item in ipairs(items) do redis.call('XADD', log, item[1], unpack(item[2])) end
    return redis.call('HSET', head, 'seq', left, 'mark', 0)";

struct OnRedis {
    server: Server,
    redis: Redis,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Harness for OnRedis {
    async fn open(&self) -> Arc<dyn EventLog> {
        Arc::new(log(&self.redis, &self.clock))
    }

    async fn lose_history(&self) {
        self.server.command(&["FLUSHALL"]);
    }

    async fn lose_tail(&self, topic: &Topic, count: u64) -> bool {
        let lost = self.server.command(&["EVAL", LOSE_TAIL, "0", &topic.to_string(), &count.to_string()]);
        assert_eq!(lost, "0", "the head is set back");
        true
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
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    event_log::run(&OnRedis { server, redis, clock: clock() }).await;
}

/// Longer than one command reads, with statuses on both sides of where it ends.
#[tokio::test]
async fn a_long_run_is_read_whole() {
    let server = Server::start(&[]).await;
    let log = log(&server.connect().await, &clock());
    let topic = topic("BTC");
    let fence = log.acquire().await.expect("acquire");
    for body in ["a", "b", "c"] {
        log.append(fence, &topic, vec![record(body); 1000]).await.expect("append");
        log.keep(fence, &topic, "x".into()).await.expect("keep");
    }
    for (limit, items) in [(usize::MAX, 3003), (1024, 1025), (2000, 2001), (2001, 2003)] {
        let run = log.read(&topic, None, limit).await.expect("read").expect("history");
        assert_eq!(run.items.len(), items, "up to {limit} events and the statuses before and between them");
        let seqs = run.items.iter().filter_map(|item| match item {
            Item::Event(entry) => Some(entry.seq),
            Item::Status(_) => None,
        });
        assert!(seqs.eq(1..=limit.min(3000) as u64), "every number once, in order, of {limit}");
    }
}
