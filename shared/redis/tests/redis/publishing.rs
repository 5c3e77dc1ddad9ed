//! Publishing over the stream: what other processes and producers add, across the writer's death.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bond_core::code::Code;
use bond_core::log::{EventLog, Fence, Item, Publication, PublishKey, PublishOutcome};
use bond_core::position::Position;
use bond_core::publish::{PublishBatch, PublishError, PublishRequest, PublishedAt, Publisher, fold};
use bond_core::time::{Clock, ManualClock};
use bond_core::topic::{PublishedTopic, Topic};
use bond_redis::{Redis, RedisLog, RedisPublisher, take_in};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::server::{Server, clock, log};

const PATIENCE: Duration = Duration::from_secs(20);

/// A writer that does nothing but what the log asks for, and may be told to die.
pub(crate) struct Writer {
    pub(crate) log: RedisLog,
    pub(crate) fence: Fence,
    clock: Arc<ManualClock>,
    /// With which append it stops answering.
    dies_with: u32,
    appends: AtomicU32,
}

impl Writer {
    pub(crate) async fn begin(redis: &Redis, dies_with: u32) -> Arc<Self> {
        let clock = clock();
        let log = log(redis, &clock);
        let fence = log.acquire().await.expect("acquire");
        Arc::new(Self { log, fence, clock, dies_with, appends: AtomicU32::new(0) })
    }

    async fn publication(&self, request: &PublishRequest) -> Result<Publication, PublishError> {
        let found = self.log.state(&Topic::Published(request.topic.clone())).await.expect("a state");
        if let (Some(entry), Some(taken)) =
            (&request.entry, found.as_ref().and_then(|found| found.entry.as_ref()))
            && id(entry) <= id(taken)
        {
            return Err(PublishError::Taken(entry.clone()));
        }
        let head = found.as_ref().map(|found| found.position.clone());
        let PublishBatch { events, if_seq } = &request.batch;
        if if_seq.is_some_and(|seq| seq != head.as_ref().map_or(0, |head| head.seq)) {
            return Err(PublishError::Conflict(head));
        }
        let before: Option<Bytes> = found.and_then(|found| found.state);
        let state = events.iter().fold(before, |state, event| fold(state, event.kind, &event.payload));
        let records = request.batch.records(self.clock.now());
        let (key, entry) = (request.key.clone(), request.entry.clone());
        Ok(Publication { after: head, records, state, key, entry })
    }
}

fn id(entry: &str) -> (u64, u64) {
    let (ms, n) = entry.split_once('-').expect("an id");
    (ms.parse().expect("a number"), n.parse().expect("a number"))
}

#[async_trait]
impl Publisher for Writer {
    async fn publish(&self, request: PublishRequest) -> Result<PublishedAt, PublishError> {
        let publication = self.publication(&request).await?;
        let last = publication.records.len() as u64 - 1;
        let topic = Topic::Published(request.topic);
        let outcome = self.log.publish(self.fence, &topic, publication).await;
        if self.appends.fetch_add(1, Ordering::SeqCst) + 1 >= self.dies_with {
            std::future::pending::<()>().await;
        }
        match outcome.map_err(|error| PublishError::Unavailable(error.to_string()))? {
            PublishOutcome::Appended(at) => {
                Ok(PublishedAt { epoch: at.epoch, first_seq: at.first_seq, last_seq: at.first_seq + last })
            }
            PublishOutcome::Repeated(at, last_seq) => {
                Ok(PublishedAt { epoch: at.epoch, first_seq: at.first_seq, last_seq })
            }
            PublishOutcome::KeyReused => Err(PublishError::KeyReused),
            PublishOutcome::Moved => Err(PublishError::Unavailable("moved".into())),
        }
    }

    async fn end(&self, topic: &PublishedTopic) -> Result<bool, PublishError> {
        let topic = Topic::Published(topic.clone());
        let was_there = self.log.head(&topic).await.expect("a head").is_some();
        self.log.end(self.fence, &topic).await.expect("ended");
        Ok(was_there)
    }
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
fn leads(redis: &Redis, writer: &Arc<Writer>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(take_in(redis.clone(), Arc::clone(writer) as Arc<dyn Publisher>)))
}

fn request(topic: &str, batch: &str, key: Option<&str>) -> PublishRequest {
    PublishRequest {
        topic: topic.parse().expect("a topic"),
        batch: PublishBatch::parse(batch).expect("a batch"),
        key: key.map(|name| PublishKey { name: name.into(), digest: batch.len().to_string().into() }),
        entry: None,
    }
}

const ONE: &str = r#"{"events":[{"payload":{"n":1}}]}"#;

async fn bodies(log: &RedisLog, topic: &str) -> Vec<String> {
    let topic = topic.parse().expect("a topic");
    let run = log.read(&topic, None, usize::MAX).await.expect("read");
    let body = |item: &Item| match item {
        Item::Event(entry) => String::from_utf8_lossy(&entry.record.body).into_owned(),
        Item::Status(kept) => String::from_utf8_lossy(&kept.body).into_owned(),
    };
    run.map(|run| run.items.iter().map(body).collect()).unwrap_or_default()
}

async fn emptied(server: &Server) {
    let empty = async {
        while server.command(&["XLEN", "bond:publish"]) != "0" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, empty).await.expect("every entry is answered and removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_publishes_and_is_answered() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = Writer::begin(&redis, u32::MAX).await;
    let _leads = leads(&redis, &writer);
    let publisher = RedisPublisher::new(server.connect().await, "edge-1");
    let two = r#"{"events":[{"payload":{"n":1}},{"payload":{"n":2}}],"if_seq":0}"#;
    let at = publisher.publish(request("prices.X", two, Some("k"))).await.expect("published");
    assert_eq!((at.first_seq, at.last_seq), (1, 2));
    assert_eq!(writer.log.head(&"prices.X".parse().expect("a topic")).await.expect("a head"), {
        Some(Position { epoch: at.epoch.clone(), seq: 2 })
    });
    let conflict = publisher.publish(request("prices.X", two, None)).await;
    assert_eq!(conflict, Err(PublishError::Conflict(Some(Position { epoch: at.epoch, seq: 2 }))));
    assert_eq!(publisher.publish(request("prices.X", ONE, Some("k"))).await, Err(PublishError::KeyReused));
    assert_eq!(publisher.end(&"prices.X".parse().expect("a topic")).await, Ok(true));
    assert_eq!(publisher.end(&"prices.X".parse().expect("a topic")).await, Ok(false));
    emptied(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_lost_by_a_killed_writer_is_given_again_and_the_batch_is_there_once() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = Writer::begin(&redis, 1).await;
    let leading = leads(&redis, &writer);
    let publisher = RedisPublisher::new(server.connect().await, "edge-1");
    let lost = publisher.publish(request("prices.X", ONE, Some("k"))).await.expect_err("no answer");
    assert_eq!(lost.code(), Code::ConnectionError);
    assert_eq!(bodies(&writer.log, "prices.X").await.len(), 1, "it was appended, and nobody was told");
    drop((leading, writer));
    let next = Writer::begin(&redis, u32::MAX).await;
    let _leads = leads(&redis, &next);
    let at = publisher.publish(request("prices.X", ONE, Some("k"))).await.expect("the first answer");
    assert_eq!((at.first_seq, at.last_seq), (1, 1));
    emptied(&server).await;
    assert_eq!(bodies(&next.log, "prices.X").await.len(), 1, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_producers_are_there_once_and_in_order_across_takeovers() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let add = async |from: u32, to: u32| {
        for n in from..to {
            let (topic, payload) = (format!("prices.{}", n % 3), format!("{{\"n\":{n}}}"));
            let entry = ["topic", topic.as_str(), "type", "delta", "payload", payload.as_str()];
            server.command(&[&["XADD", "bond:publish", "*"], &entry[..]].concat());
        }
    };
    add(0, 30).await;
    // Killed three times between an append and the removal of its entry.
    for _ in 0..3 {
        let writer = Writer::begin(&redis, 7).await;
        let leading = leads(&redis, &writer);
        let died = async {
            while writer.appends.load(Ordering::SeqCst) < 7 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, died).await.expect("it takes entries");
        drop(leading);
    }
    add(30, 60).await;
    let writer = Writer::begin(&redis, u32::MAX).await;
    let _leads = leads(&redis, &writer);
    emptied(&server).await;
    for topic in 0..3 {
        let expected = (0..20).map(|n| 3 * n + topic);
        let expected: Vec<String> = expected
            .map(|n| format!("\"payload\":{{\"n\":{n}}},\"meta\":{{}},\"correlation_id\":null"))
            .collect();
        assert_eq!(bodies(&writer.log, &format!("prices.{topic}")).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_published_is_kept_with_the_reason() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let large = "x".repeat(30_000);
    server.command(&["XADD", "bond:publish", "*", "topic", "prices.X", "payload", "{"]);
    server.command(&["XADD", "bond:publish", "*", "topic", "prices.X", "payload", &format!("\"{large}\"")]);
    server.command(&["XADD", "bond:publish", "*", "topic", "prices.X", "payload", "{\"good\":1}"]);
    let writer = Writer::begin(&redis, u32::MAX).await;
    let _leads = leads(&redis, &writer);
    emptied(&server).await;
    let rejected = server.command(&["XRANGE", "bond:publish:rejected", "-", "+"]);
    assert!(rejected.contains("payload: ") && rejected.contains("at most 24576 bytes"), "{rejected:.3000}");
    assert!(rejected.len() < 5_000, "what is large is cut");
    assert_eq!(bodies(&writer.log, "prices.X").await.len(), 1, "what is good goes on");
}

const FILL: &str = "for n = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'x', '') end";

#[tokio::test]
async fn a_stream_that_nobody_reads_is_refused_before_it_grows() {
    let server = Server::start(&[]).await;
    let publisher = RedisPublisher::new(server.connect().await, "edge-1");
    server.command(&["EVAL", FILL, "1", "bond:publish"]);
    let refused = publisher.publish(request("prices.X", ONE, None)).await.expect_err("refused");
    assert!(refused.to_string().contains("100000 entries wait"), "{refused}");
    assert_eq!(server.command(&["XLEN", "bond:publish"]), "100000");
}
