//! Records on their way into the log: gathered while a batch of reports is worked through, then appended topic by topic.

use std::collections::HashMap;

use bond_core::log::{EventLog, Fence, LogError, Record};
use bond_core::topic::Topic;
use bytes::Bytes;

/// What is to be appended to one topic, in order.
#[derive(Debug)]
enum Pending {
    Records(Vec<Record>),
    Status(Bytes),
}

/// Appends waiting for [`Outbox::flush`]. Bounded by the batch that fills it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    topics: HashMap<Topic, Vec<Pending>>,
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
    pub(super) fn status(&mut self, topic: &Topic, body: Bytes) {
        self.of(topic).push(Pending::Status(body));
    }

    /// Drops what waits for a topic that has ended.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.topics.remove(topic);
    }

    fn of(&mut self, topic: &Topic) -> &mut Vec<Pending> {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.clone(), Vec::new());
        }
        self.topics.entry(topic.clone()).or_default()
    }

    /// Appends everything. On an error the rest is kept for the next call, except what may have been appended already.
    pub(super) async fn flush(&mut self, log: &dyn EventLog, fence: Fence) -> Result<(), LogError> {
        for (topic, pending) in self.topics.drain() {
            for item in pending {
                match item {
                    Pending::Records(records) => {
                        log.append(fence, &topic, records).await?;
                    }
                    Pending::Status(body) => {
                        log.keep(fence, &topic, body).await?;
                    }
                }
            }
        }
        Ok(())
    }
}
