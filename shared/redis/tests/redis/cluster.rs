//! A cluster of three masters.

use std::process::Command;
use std::time::Duration;

use bond_core::log::{EventLog, LogError};
use bond_core::store::{Claim, DesiredStream, Labels, StreamStore};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use bond_redis::external::{EntryId, ForeignStreams};
use bond_redis::{Redis, RedisConfig, RedisStore};
use tokio::time::{Instant, sleep, timeout};

use crate::faults::{record, topic};
use crate::server::{Server, clock, log};

const PATIENCE: Duration = Duration::from_secs(20);

async fn cluster() -> Vec<Server> {
    let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Server::start(&settings).await);
    }
    let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
    let mut create = Command::new("redis-cli");
    let created = create.args(["--cluster", "create"]).args(addresses).arg("--cluster-yes").output();
    let created = created.expect("redis-cli");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    let deadline = Instant::now() + PATIENCE;
    while !nodes.iter().all(|node| node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
        assert!(Instant::now() < deadline, "the cluster does not form");
        sleep(Duration::from_millis(50)).await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_are_spread_and_fenced_in_a_cluster() {
    let nodes = cluster().await;
    let config = RedisConfig { url: nodes[0].url().replace("redis:", "redis-cluster:"), password: None };
    let redis = Redis::connect(&config).await.expect("a connection");
    redis.ping().await.expect("an answer");
    let (old, new) = (log(&redis, &clock()), log(&redis, &clock()));
    let mut tail = new.tail();
    let fence = old.acquire().await.expect("acquire");
    let bases = ["BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "LTC", "DOT"];
    for base in bases {
        tail.follow(topic(base), None);
        old.append(fence, &topic(base), vec![record(base)]).await.expect("append");
    }
    let mut told = Vec::new();
    while told.len() < bases.len() {
        let news = timeout(PATIENCE, tail.next()).await.expect("news in time").expect("news");
        told.extend(news.runs.into_iter().map(|(topic, _)| topic));
    }
    assert!(nodes.iter().all(|node| node.command(&["DBSIZE"]) != "0"), "every node has a part");
    new.acquire().await.expect("acquire");
    for base in bases.into_iter().chain(["NEW", "FRESH", "LATE", "ATOM"]) {
        let refused = old.append(fence, &topic(base), vec![record("late")]).await;
        assert_eq!(refused.err(), Some(LogError::Fenced), "{base}");
    }
    assert_eq!(new.topics().await.expect("topics").len(), bases.len());
    a_registry_works(redis.clone()).await;
    foreign_streams_of_several_slots_are_read(redis, &nodes[0]).await;
}

async fn foreign_streams_of_several_slots_are_read(redis: Redis, node: &Server) {
    let streams = ForeignStreams::new(redis);
    let mut reader = streams.reader();
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        let mark = streams.read_after(name, EntryId::default(), |_| ()).await.expect("read");
        reader.follow(name, mark);
        node.command(&["-c", "XADD", &format!("stream:{name}"), "*", "data", name]);
    }
    let mut came = Vec::new();
    while came.len() < names.len() {
        let news = timeout(PATIENCE, reader.next()).await.expect("news in time").expect("news");
        came.extend(news.into_iter().map(|news| news.stream));
    }
    came.sort();
    assert_eq!(came, names);
}

async fn a_registry_works(redis: Redis) {
    let (store, now) = (RedisStore::new(redis), UnixNanos::from_secs(1));
    let id = StreamId::from_bytes([1; 8]);
    let stream = DesiredStream { id, canonical: "{}".into(), spec: "{}".into(), created_at: now };
    let claim = Claim { owner: "ann".into(), expires_at: None, labels: Labels::default() };
    store.claim(stream.clone(), claim, 1, now).await.expect("claim");
    assert_eq!(store.desired(now).await, Ok(vec![stream]));
}
