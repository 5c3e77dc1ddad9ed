//! Appends to the log while the engine goes on. One batch is in flight at a time, and it is repeated until the log takes it.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bond_core::log::{EventLog, Fence, LogError, Record};
use bond_core::position::Epoch;
use bond_core::topic::Topic;
use bytes::Bytes;
use futures_util::FutureExt;
use smol_str::SmolStr;
use tokio::time::{Instant, sleep};

use super::outbox::{Batch, Holds, Outbox, Pending, Status};

/// How long to wait before an append that failed is repeated.
const RETRY: Duration = Duration::from_millis(500);

/// The most records of one append. Records that were collected during an outage must not block the log for long.
const MOST_RECORDS: usize = 1024;

type Writing = Pin<Box<dyn Future<Output = Result<Writer, LogError>> + Send>>;

/// The log's writer, with at most one batch in flight. Records that arrive meanwhile are collected in the [`Outbox`], so a slow log gets
/// larger batches.
pub(super) enum Appender {
    Idle(Writer),
    Busy(Writing),
    /// Another writer has taken over.
    Fenced,
}

impl Appender {
    /// Appends to `log` under `fence`.
    pub(super) fn new(log: Arc<dyn EventLog>, fence: Fence) -> Self {
        Self::Idle(Writer { log, fence, standing: HashMap::new(), epochs: HashMap::new() })
    }

    /// Begins to append the next batch, unless one is in flight. A log in memory has the whole batch when this returns.
    pub(super) fn take(&mut self, outbox: &mut Outbox) -> Result<(), LogError> {
        while let Self::Idle(_) = self {
            let batch = outbox.take();
            if batch.is_empty() {
                break;
            }
            if let Self::Idle(writer) = std::mem::replace(self, Self::Fenced) {
                *self = Self::Busy(Box::pin(writer.write(batch)));
            }
            self.done().now_or_never().unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Waits until the batch in flight is written. Never returns if there is none. Cancel-safe.
    pub(super) async fn done(&mut self) -> Result<(), LogError> {
        let outcome = match self {
            Self::Busy(writing) => writing.await,
            Self::Idle(_) => std::future::pending().await,
            Self::Fenced => return Err(LogError::Fenced),
        };
        *self = Self::Fenced;
        *self = Self::Idle(outcome?);
        Ok(())
    }

    /// Whether a batch is in flight.
    pub(super) const fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// Writes batches, and remembers the statuses that must be written again when a topic begins a new epoch.
pub(super) struct Writer {
    log: Arc<dyn EventLog>,
    fence: Fence,
    /// The status of each source of a topic that still holds. It is written as soon as the topic begins, and again after the topic has lost
    /// its history.
    standing: HashMap<Topic, BTreeMap<SmolStr, Bytes>>,
    epochs: HashMap<Topic, Epoch>,
}

impl Writer {
    async fn write(mut self, batch: Batch) -> Result<Self, LogError> {
        for (topic, pending) in batch {
            for item in pending {
                match item {
                    Pending::Records(records) => {
                        for records in records.chunks(MOST_RECORDS) {
                            self.append(&topic, records).await?;
                        }
                    }
                    Pending::Status(status) => self.status(&topic, status).await?,
                    Pending::End => self.end(&topic).await?,
                }
            }
        }
        Ok(self)
    }

    async fn append(&mut self, topic: &Topic, records: &[Record]) -> Result<(), LogError> {
        let append = || self.log.append(self.fence, topic, records.to_vec());
        let epoch = insist(append).await?.epoch;
        if self.epochs.get(topic) == Some(&epoch) {
            return Ok(());
        }
        self.epochs.insert(topic.clone(), epoch);
        for body in self.standing.get(topic).into_iter().flat_map(BTreeMap::values) {
            insist(|| self.log.keep(self.fence, topic, body.clone())).await?;
        }
        Ok(())
    }

    async fn status(&mut self, topic: &Topic, status: Status) -> Result<(), LogError> {
        let Status { source, body, holds } = status;
        let standing = self.standing.entry(topic.clone()).or_default();
        match holds {
            Holds::On => drop(standing.insert(source, body.clone())),
            Holds::NoMore => drop(standing.remove(&source)),
            Holds::Once => {}
        }
        if let Some(kept) = insist(|| self.log.keep(self.fence, topic, body.clone())).await? {
            self.epochs.insert(topic.clone(), kept.epoch);
        }
        Ok(())
    }

    async fn end(&mut self, topic: &Topic) -> Result<(), LogError> {
        self.standing.remove(topic);
        self.epochs.remove(topic);
        insist(|| self.log.end(self.fence, topic)).await
    }
}

/// Repeats a request until the log answers. An append whose outcome is unknown is repeated with the same records, which the log
/// recognises.
async fn insist<T, F>(ask: impl Fn() -> F) -> Result<T, LogError>
where
    F: Future<Output = Result<T, LogError>>,
{
    let mut away_since = None;
    loop {
        match ask().await {
            Err(LogError::Unavailable(reason)) => {
                let since = away_since.get_or_insert_with(|| {
                    tracing::error!(%reason, "the event log is away; events wait");
                    Instant::now()
                });
                tracing::debug!(%reason, away = ?since.elapsed(), "the event log is still away");
                sleep(RETRY).await;
            }
            outcome => {
                if let Some(since) = away_since {
                    tracing::info!(away = ?since.elapsed(), "the event log answers again");
                }
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bond_core::log::{EventKind, Item};
    use bond_core::memory::{MemoryLog, Retention};
    use bond_core::time::{ManualClock, UnixNanos};

    use super::*;

    fn said(source: &'static str, state: &str, holds: Holds) -> Status {
        Status {
            source: source.into(),
            body: Bytes::from(format!(r#""source":"{source}","state":"{state}""#)),
            holds,
        }
    }

    fn tweet() -> Record {
        let (ts, body) = (UnixNanos::EPOCH, Bytes::from_static(b"\"a\":1"));
        Record { kind: EventKind::Tweet, ts, order: ts, body, changes: None }
    }

    fn memory() -> Arc<dyn EventLog> {
        let retention =
            Retention { ring: Duration::from_secs(60), topic_bytes: 1 << 20, total_bytes: 1 << 20 };
        Arc::new(MemoryLog::new(retention, Arc::new(ManualClock::new(UnixNanos::EPOCH)), 1))
    }

    async fn statuses(log: &dyn EventLog, topic: &Topic) -> Vec<Bytes> {
        let run = log.read(topic, None, 10).await.expect("read").expect("history");
        let kept = run.items.into_iter().filter_map(|item| match item {
            Item::Status(kept) => Some(kept.body),
            Item::Event(_) => None,
        });
        kept.collect()
    }

    #[tokio::test]
    async fn a_status_before_the_first_event_is_told_once_the_topic_begins_if_it_still_holds() {
        let log = memory();
        let fence = log.acquire().await.expect("fence");
        let topic: Topic = "trades.okx.BTC-USDT".parse().expect("topic");
        let (mut outbox, mut appender) = (Outbox::default(), Appender::new(Arc::clone(&log), fence));
        for status in [
            said("okx", "reconnecting", Holds::On),
            said("okx", "unavailable", Holds::On),
            said("bybit", "failed", Holds::On),
            said("bybit", "connected", Holds::NoMore),
        ] {
            outbox.status(&topic, status);
        }
        appender.take(&mut outbox).expect("kept");
        outbox.event(&topic, tweet());
        outbox.event(&topic, tweet());
        appender.take(&mut outbox).expect("appended");
        let unavailable = said("okx", "unavailable", Holds::On).body;
        assert_eq!(statuses(&*log, &topic).await, vec![unavailable.clone()]);

        log.end(fence, &topic).await.expect("history is lost");
        outbox.event(&topic, tweet());
        appender.take(&mut outbox).expect("appended");
        assert_eq!(statuses(&*log, &topic).await, vec![unavailable], "told again in the new epoch");
    }

    #[tokio::test]
    async fn a_fenced_writer_says_so_from_then_on() {
        let log = memory();
        let fence = log.acquire().await.expect("fence");
        let (mut outbox, mut appender) = (Outbox::default(), Appender::new(Arc::clone(&log), fence));
        log.acquire().await.expect("another writer");
        outbox.event(&"trades.okx.BTC-USDT".parse().expect("topic"), tweet());
        assert_eq!(appender.take(&mut outbox), Err(LogError::Fenced));
        assert_eq!(appender.done().await, Err(LogError::Fenced));
    }
}
