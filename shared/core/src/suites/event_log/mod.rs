//! What every [`EventLog`] must do.

mod publishing;
mod reader;
mod reading;
mod retention;
mod tailing;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::event::Channel;
use crate::instrument::{Instrument, Symbol, Venue};
use crate::log::{EventKind, EventLog, Fence, Item, Record};
use crate::position::Position;
use crate::time::UnixNanos;
use crate::topic::Topic;

/// A log under test, and what can happen to it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A handle on the log, as another process would have it.
    async fn open(&self) -> Arc<dyn EventLog>;

    /// Loses all history, as a restart of the memory it lives in does. Handles opened before are not used again.
    async fn lose_history(&self);

    /// Loses the last `count` events of `topic` without its writer's knowledge, as a failover to a replica that lags does.
    /// `false` where that cannot happen to this log.
    async fn lose_tail(&self, topic: &Topic, count: u64) -> bool;

    /// Moves the log's clock.
    async fn advance(&self, by: Duration);

    /// The log's clock.
    fn now(&self) -> UnixNanos;

    /// How long the log keeps items.
    fn ring(&self) -> Duration;

    /// The most bytes that the log keeps of one topic; at least 1 MB, which no case but that of the bound itself reaches.
    fn topic_bytes(&self) -> usize;
}

/// Runs every case, one after another, each on topics of its own.
///
/// # Panics
/// Where the log does not behave as [`EventLog`] says.
pub async fn run(harness: &impl Harness) {
    writing::run(harness).await;
    publishing::run(harness).await;
    reading::run(harness).await;
    retention::run(harness).await;
    tailing::run(harness).await;
}

/// A handle that holds the log, on a topic that no other case uses.
struct Case {
    log: Arc<dyn EventLog>,
    fence: Fence,
    topic: Topic,
}

impl Case {
    async fn new(harness: &impl Harness, name: &str) -> Self {
        let log = harness.open().await;
        let fence = log.acquire().await.expect("acquire");
        Self { log, fence, topic: topic(name) }
    }

    /// Appends one event for each body, and gives the position after the last.
    async fn append(&self, bodies: &[&str]) -> Position {
        append(&*self.log, self.fence, &self.topic, bodies).await
    }

    async fn keep(&self, body: &str) -> Option<Position> {
        self.log.keep(self.fence, &self.topic, Bytes::copy_from_slice(body.as_bytes())).await.expect("keep")
    }

    /// Everything that is kept after `after`, as texts: `1:a` for event 1, `1+x` for a status after it.
    async fn texts(&self, after: Option<&Position>) -> Vec<String> {
        let run = self.log.read(&self.topic, after, usize::MAX).await.expect("read");
        run.map(|run| texts(&run.items)).unwrap_or_default()
    }
}

/// A topic named after a case.
fn topic(name: &str) -> Topic {
    let symbol = Symbol::parse(&format!("{name}/USDT")).expect("a case is named like an asset");
    Topic::market(Channel::Trades, Instrument { venue: Venue::Binance, symbol }, None)
}

fn record(body: &str) -> Record {
    Record {
        kind: EventKind::Trade,
        ts: UnixNanos::from_secs(1),
        order: UnixNanos::from_secs(2),
        body: Bytes::copy_from_slice(body.as_bytes()),
        changes: body.starts_with("changes").then(|| Bytes::from_static(b"\"bids\":[]")),
    }
}

async fn append(log: &dyn EventLog, fence: Fence, topic: &Topic, bodies: &[&str]) -> Position {
    let records: Vec<Record> = bodies.iter().map(|body| record(body)).collect();
    let appended = log.append(fence, topic, records).await.expect("append");
    Position { epoch: appended.epoch, seq: appended.first_seq + bodies.len() as u64 - 1 }
}

fn texts(items: &[Item]) -> Vec<String> {
    items.iter().map(text).collect()
}

fn text(item: &Item) -> String {
    match item {
        Item::Event(entry) => format!("{}:{}", entry.seq, String::from_utf8_lossy(&entry.record.body)),
        Item::Status(kept) => format!("{}+{}", kept.after_seq, String::from_utf8_lossy(&kept.body)),
    }
}
