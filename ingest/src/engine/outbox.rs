//! Records on their way into the log: gathered while a batch of reports is worked through, then appended topic by topic.

use std::collections::{BTreeMap, HashMap};

use bond_core::log::{EventLog, Fence, LogError, Record};
use bond_core::topic::Topic;
use bytes::Bytes;

/// What is to be appended to one topic, in order.
#[derive(Debug)]
enum Pending {
    Records(Vec<Record>),
    Status(Status),
}

/// A status on its way into a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Whose it is.
    pub(super) source: &'static str,
    /// Its fields, without their braces.
    pub(super) body: Bytes,
    /// Whether it still holds when the topic begins, so that it has to be told then.
    pub(super) lasts: bool,
}

/// Appends waiting for [`Outbox::flush`]. Bounded by the batch that fills it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    topics: HashMap<Topic, Vec<Pending>>,
    /// What is to be told of each source once a topic has begun: a log keeps no status before its first event.
    early: HashMap<Topic, BTreeMap<&'static str, Bytes>>,
}

impl Outbox {
    /// Adds an event to `topic`.
    pub(super) fn event(&mut self, topic: &Topic, record: Record) {
        let pending = self.of(topic);
        match pending.last_mut() {
            Some(Pending::Records(records)) => records.push(record),
            _ => pending.push(Pending::Records(vec![record])),
        }
    }

    /// Keeps a status in `topic`, after the events added so far.
    pub(super) fn status(&mut self, topic: &Topic, status: Status) {
        self.of(topic).push(Pending::Status(status));
    }

    /// Drops what waits for a topic that has ended.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.topics.remove(topic);
        self.early.remove(topic);
    }

    fn of(&mut self, topic: &Topic) -> &mut Vec<Pending> {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.clone(), Vec::new());
        }
        self.topics.entry(topic.clone()).or_default()
    }

    /// Appends everything. On an error what is not appended yet is lost: its caller says so.
    pub(super) async fn flush(&mut self, log: &dyn EventLog, fence: Fence) -> Result<(), LogError> {
        for (topic, pending) in self.topics.drain() {
            for item in pending {
                match item {
                    Pending::Records(records) => {
                        log.append(fence, &topic, records).await?;
                        for body in self.early.remove(&topic).into_iter().flat_map(BTreeMap::into_values) {
                            log.keep(fence, &topic, body).await?;
                        }
                    }
                    Pending::Status(status) => {
                        if log.keep(fence, &topic, status.body.clone()).await?.is_none() {
                            put_by(self.early.entry(topic.clone()).or_default(), status);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Puts a status by until its topic begins, in the place of what its source said before.
fn put_by(early: &mut BTreeMap<&'static str, Bytes>, status: Status) {
    if status.lasts {
        early.insert(status.source, status.body);
    } else {
        early.remove(status.source);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bond_core::log::{EventKind, Item};
    use bond_core::memory::{MemoryLog, Retention};
    use bond_core::time::{ManualClock, UnixNanos};

    use super::*;

    fn said(source: &'static str, state: &str, lasts: bool) -> Status {
        Status { source, body: Bytes::from(format!(r#""source":"{source}","state":"{state}""#)), lasts }
    }

    fn tweet() -> Record {
        let ts = UnixNanos::EPOCH;
        let body = Bytes::from_static(br#""text":"a""#);
        Record { kind: EventKind::Tweet, ts, order: ts, body, changes: None }
    }

    #[tokio::test]
    async fn what_still_holds_of_each_source_is_told_after_a_topics_first_event() {
        let retention =
            Retention { ring: Duration::from_secs(60), topic_bytes: 1 << 20, total_bytes: 1 << 20 };
        let log = MemoryLog::new(retention, Arc::new(ManualClock::new(UnixNanos::EPOCH)), 1);
        let fence = log.acquire().await.expect("fence");
        let topic: Topic = "trades.okx.BTC-USDT".parse().expect("topic");
        let mut outbox = Outbox::default();
        for status in [
            said("okx", "reconnecting", true),
            said("okx", "unavailable", true),
            said("bybit", "failed", true),
            said("bybit", "connected", false),
        ] {
            outbox.status(&topic, status);
        }
        outbox.flush(&log, fence).await.expect("flush");
        outbox.event(&topic, tweet());
        outbox.event(&topic, tweet());
        outbox.flush(&log, fence).await.expect("flush");
        let run = log.read(&topic, None, 10).await.expect("read").expect("history");
        let statuses: Vec<_> = run
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Status(kept) => Some(kept.body.clone()),
                Item::Event(_) => None,
            })
            .collect();
        assert_eq!(statuses, [said("okx", "unavailable", true).body]);
    }
}
