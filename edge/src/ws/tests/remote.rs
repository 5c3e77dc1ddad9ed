//! A log in another process, which may fail or be slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bond_core::log::{
    Appended, EventKind, EventLog, Fence, LogError, Publication, PublishOutcome, PublishedHead,
    PublishedState, Record, Run, Tail,
};
use bond_core::memory::MemoryLog;
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::host::Host;

const BTC: &str = "trades.okx.BTC-USDT";

/// Looks at the streams' heads wait for `looks`; the next `failures` of them fail.
struct Remote {
    log: MemoryLog,
    looks: Arc<Semaphore>,
    failures: Arc<AtomicUsize>,
}

#[async_trait]
impl EventLog for Remote {
    async fn acquire(&self) -> Result<Fence, LogError> {
        self.log.acquire().await
    }

    async fn append(&self, fence: Fence, topic: &Topic, records: Vec<Record>) -> Result<Appended, LogError> {
        self.log.append(fence, topic, records).await
    }

    async fn publish(
        &self,
        fence: Fence,
        topic: &Topic,
        publication: Publication,
    ) -> Result<PublishOutcome, LogError> {
        self.log.publish(fence, topic, publication).await
    }

    async fn state(&self, topic: &Topic) -> Result<Option<PublishedState>, LogError> {
        self.log.state(topic).await
    }

    async fn published(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<PublishedHead>, LogError> {
        self.log.published(prefix, after, limit).await
    }

    async fn keep(&self, fence: Fence, topic: &Topic, body: Bytes) -> Result<Option<Position>, LogError> {
        self.log.keep(fence, topic, body).await
    }

    async fn end(&self, fence: Fence, topic: &Topic) -> Result<(), LogError> {
        self.log.end(fence, topic).await
    }

    async fn head(&self, topic: &Topic) -> Result<Option<Position>, LogError> {
        if matches!(topic, Topic::Stream(_)) {
            self.looks.acquire().await.expect("open").forget();
            let has_failed = |left: usize| left.checked_sub(1);
            if self.failures.fetch_update(Ordering::AcqRel, Ordering::Acquire, has_failed).is_ok() {
                return Err(LogError::Unavailable("away for a moment".into()));
            }
        }
        self.log.head(topic).await
    }

    async fn read(
        &self,
        topic: &Topic,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Option<Run>, LogError> {
        self.log.read(topic, after, limit).await
    }

    async fn position_at(&self, topic: &Topic, time: UnixNanos) -> Result<Option<Position>, LogError> {
        self.log.position_at(topic, time).await
    }

    async fn topics(&self) -> Result<Vec<Topic>, LogError> {
        self.log.topics().await
    }

    fn tail(&self) -> Box<dyn Tail> {
        self.log.tail()
    }
}

async fn host(looks: &Arc<Semaphore>, failures: usize) -> Host {
    let (looks, failures) = (Arc::clone(looks), Arc::new(AtomicUsize::new(failures)));
    Host::over(|_| {}, |log| Arc::new(Remote { log, looks, failures })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_read_holds_up_no_other_and_is_read_once_it_can() {
    let looks = Arc::new(Semaphore::new(0));
    let host = host(&looks, 2).await;
    let mut stuck = host.stream("").await;
    let mut feed = host.connect("/raw?channels=trades").await;
    feed.next_of("heartbeat").await;
    host.append(BTC, EventKind::Trade, vec!["\"price\":7".into()]).await;
    assert_eq!(feed.next_of("trade").await["price"], 7);
    host.publish(1).await;
    looks.add_permits(3);
    assert_eq!(stuck.seqs(1).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_followed_while_others_begin_misses_nothing() {
    let looks = Arc::new(Semaphore::new(64));
    let host = host(&looks, 0).await;
    let mut feed = host.connect("/raw?channels=trades&symbol=BTC/USDT").await;
    feed.next_of("heartbeat").await;
    for n in 0..50 {
        let other = format!("trades.okx.X{n}-USDT");
        host.append(&other, EventKind::Trade, vec!["\"price\":1".into()]).await;
        host.append(BTC, EventKind::Trade, vec![format!("\"price\":{n}")]).await;
    }
    for n in 0..50 {
        let trade = feed.next_of("trade").await;
        assert_eq!((&trade["price"], &trade["seq"]), (&n.into(), &(n + 1).into()));
    }
}
