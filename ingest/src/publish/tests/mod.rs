//! What a publisher can rely on.

mod faulty;
mod folds;
mod promises;

use std::sync::Arc;
use std::time::Duration;

use bond_core::log::{EventLog, Item, PublishKey};
use bond_core::memory::{MemoryLog, Retention};
use bond_core::publish::{PublishBatch, PublishError, PublishRequest, PublishedAt, Publisher};
use bond_core::time::{ManualClock, UnixNanos};
use bond_core::topic::{PublishedTopic, Topic};
use bond_supervise::Supervisor;
use tokio_util::sync::CancellationToken;

use self::faulty::{Faults, FaultyLog};
use super::{TopicPublisher, WriterPorts};

const TOPIC: &str = "prices.IN1234567890";

/// A publisher over a log in memory whose faults tests choose.
struct Bench {
    publisher: TopicPublisher,
    log: MemoryLog,
    faults: Faults,
    clock: Arc<ManualClock>,
    supervisor: Supervisor,
    over: CancellationToken,
}

impl Bench {
    async fn new() -> Self {
        let retention =
            Retention { ring: Duration::from_secs(3600), topic_bytes: 1 << 30, total_bytes: 1 << 30 };
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(1_700_000_000)));
        let log = MemoryLog::new(retention, Arc::<ManualClock>::clone(&clock), 7);
        let fence = log.acquire().await.expect("a fence");
        let (faults, supervisor, over) = (Faults::default(), Supervisor::default(), CancellationToken::new());
        let faulty = FaultyLog { log: log.clone(), faults: faults.clone() };
        let ports = WriterPorts { log: Arc::new(faulty), fence, clock: Arc::<ManualClock>::clone(&clock) };
        let (publisher, _) = TopicPublisher::start(&ports, &supervisor, &over);
        Self { publisher, log, faults, clock, supervisor, over }
    }

    async fn publish(&self, request: PublishRequest) -> Result<PublishedAt, PublishError> {
        self.publisher.publish(request).await
    }

    /// The topic's head and its state.
    async fn state(&self) -> Option<(u64, String)> {
        let found = self.log.state(&Topic::Published(topic())).await.expect("read")?;
        let state = found.state.map(|state| String::from_utf8(state.to_vec()).expect("text"));
        Some((found.position.seq, state.unwrap_or_default()))
    }

    async fn events(&self) -> Vec<(u64, bond_core::log::EventKind, bytes::Bytes)> {
        let run = self.log.read(&Topic::Published(topic()), None, 100_000).await.expect("read");
        let items = run.into_iter().flat_map(|run| run.items);
        let events = items.filter_map(|item| match item {
            Item::Event(entry) => Some((entry.seq, entry.record.kind, entry.record.body)),
            Item::Status(_) => None,
        });
        events.collect()
    }
}

fn topic() -> PublishedTopic {
    TOPIC.parse().expect("a topic")
}

/// A batch for the one topic.
fn request(body: &str) -> PublishRequest {
    let batch = PublishBatch::parse(body).expect("a batch");
    PublishRequest { topic: topic(), batch, key: None, entry: None }
}

fn delta(payload: &str) -> PublishRequest {
    request(&format!(r#"{{"events":[{{"payload":{payload}}}]}}"#))
}

fn by_key(name: &str, request: PublishRequest) -> PublishRequest {
    let digest = request.batch.to_json().into();
    PublishRequest { key: Some(PublishKey { name: name.into(), digest }), ..request }
}
