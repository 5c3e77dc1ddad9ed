//! Records that wait for the log. They are collected while the log takes the previous batch.

use std::collections::{HashMap, VecDeque};

use bond_core::log::Record;
use bond_core::topic::Topic;
use bytes::Bytes;
use metrics::counter;
use smol_str::SmolStr;

/// The most bytes that wait for the log. Above it, the topic with the most bytes loses the older half of its records.
const MOST_BYTES: usize = 64 << 20;

/// How many topics with statuses but no events go with one batch. A log on another machine needs a request for each topic. If thousands of
/// topics have a new status, events must not wait for all of them.
const QUIET: usize = 256;

/// The size of a record without its text.
const RECORD_BYTES: usize = size_of::<Record>();

/// What is to be done with one topic, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pending {
    /// Events to append.
    Records(Vec<Record>),
    /// A status to keep.
    Status(Status),
    /// The end of the topic.
    End,
}

/// A status on its way into a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The name of the source.
    pub(super) source: SmolStr,
    /// The JSON fields, without the braces.
    pub(super) body: Bytes,
    /// Whether the status still holds later on.
    pub(super) holds: Holds,
}

/// How long a status holds. A status that still holds is written again when its topic begins a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Until the source's next status.
    On,
    /// Clears the previous status. No status means healthy.
    NoMore,
    /// Not at all: the status reports an event, such as lost trades.
    Once,
}

/// What is to be done with each topic of a batch.
pub(super) type Batch = HashMap<Topic, Vec<Pending>>;

/// Everything that waits for the log. It is bounded. If the log is unreachable for long, the busiest topics lose their oldest events, and a
/// status in each of these topics says so.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The topics for which events wait.
    topics: Batch,
    /// The topics for which only statuses or their end wait, and the order of these topics.
    quiet: Batch,
    order: VecDeque<Topic>,
    bytes: usize,
    most_bytes: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            topics: Batch::new(),
            quiet: Batch::new(),
            order: VecDeque::new(),
            bytes: 0,
            most_bytes: MOST_BYTES,
        }
    }
}

impl Outbox {
    /// Adds an event to `topic`.
    pub(super) fn event(&mut self, topic: &Topic, record: Record) {
        self.bytes += size(&record);
        let pending = self.busy(topic);
        match pending.last_mut() {
            Some(Pending::Records(records)) => records.push(record),
            _ => pending.push(Pending::Records(vec![record])),
        }
        if self.bytes > self.most_bytes {
            self.give_way();
        }
    }

    /// Keeps a status in `topic`, after the events added so far.
    pub(super) fn status(&mut self, topic: &Topic, status: Status) {
        self.of(topic).push(Pending::Status(status));
    }

    /// Ends `topic`. Whatever waits for it is dropped.
    pub(super) fn end(&mut self, topic: &Topic) {
        let dropped = std::mem::replace(self.of(topic), vec![Pending::End]);
        self.bytes -= dropped.iter().map(Pending::bytes).sum::<usize>();
    }

    /// Takes the next batch: all topics with events, and up to [`QUIET`] of the others.
    pub(super) fn take(&mut self) -> Batch {
        self.bytes = 0;
        let mut batch = std::mem::take(&mut self.topics);
        let mut quiet = 0;
        while quiet < QUIET
            && let Some(topic) = self.order.pop_front()
        {
            // A topic that has got events since then is in the batch already.
            if let Some(pending) = self.quiet.remove(&topic) {
                batch.insert(topic, pending);
                quiet += 1;
            }
        }
        batch
    }

    fn busy(&mut self, topic: &Topic) -> &mut Vec<Pending> {
        if !self.topics.contains_key(topic) {
            let before = self.quiet.remove(topic).unwrap_or_default();
            self.topics.insert(topic.clone(), before);
        }
        self.topics.entry(topic.clone()).or_default()
    }

    fn of(&mut self, topic: &Topic) -> &mut Vec<Pending> {
        if self.topics.contains_key(topic) {
            return self.busy(topic);
        }
        if !self.quiet.contains_key(topic) {
            self.order.push_back(topic.clone());
        }
        self.quiet.entry(topic.clone()).or_default()
    }

    /// Drops the older half of the records of the topic that has the most bytes. The log numbers what is left, so clients see no hole in the
    /// numbers. A status says at this place how many events are missing.
    fn give_way(&mut self) {
        let bytes = |pending: &Vec<Pending>| pending.iter().map(Pending::bytes).sum::<usize>();
        let Some((topic, pending)) = self.topics.iter_mut().max_by_key(|(_, pending)| bytes(pending)) else {
            return;
        };
        let (count, freed) = drop_oldest_half(pending, bytes);
        self.bytes -= freed;
        counter!("bond_ingest_dropped_events_total").increment(count);
        tracing::error!(%topic, count, "events dropped: the event log is away for too long");
    }
}

/// Drops the older half of the records. Returns how many were dropped, and their size.
fn drop_oldest_half(pending: &mut Vec<Pending>, bytes: impl Fn(&Vec<Pending>) -> usize) -> (u64, usize) {
    let before = bytes(pending);
    let (mut count, mut left) = (0, before / 2);
    for item in pending.iter_mut() {
        if let Pending::Records(records) = item {
            let fits = |record: &&Record| left.checked_sub(size(record)).map(|rest| left = rest).is_some();
            let dropped = records.iter().take_while(fits).count().max(usize::from(count == 0));
            records.drain(..dropped);
            count += dropped as u64;
        }
        if left == 0 {
            break;
        }
    }
    pending.retain(|item| !matches!(item, Pending::Records(records) if records.is_empty()));
    let first_event = pending.iter().position(|item| matches!(item, Pending::Records(_)));
    let freed = before - bytes(pending);
    pending.insert(first_event.unwrap_or(pending.len()), Pending::Status(dropped_status(count)));
    (count, freed)
}

/// The status that says how many events were dropped. Its state is `connected`, since the log works again when a client reads it.
fn dropped_status(count: u64) -> Status {
    let body = format!(
        r#""source":"ingest","state":"connected","reason":"{count} events were dropped while the event log was away""#
    );
    Status { source: SmolStr::new_static("ingest"), body: body.into(), holds: Holds::Once }
}

impl Pending {
    fn bytes(&self) -> usize {
        match self {
            Self::Records(records) => records.iter().map(size).sum(),
            Self::Status(_) | Self::End => 0,
        }
    }
}

fn size(record: &Record) -> usize {
    RECORD_BYTES + record.body.len() + record.changes.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use bond_core::log::EventKind;
    use bond_core::time::UnixNanos;

    use super::*;

    fn record(number: i64) -> Record {
        let ts = UnixNanos::from_secs(number);
        Record { kind: EventKind::Tweet, ts, order: ts, body: Bytes::from_static(b"\"a\":1"), changes: None }
    }

    fn topic(name: &str) -> Topic {
        name.parse().expect("topic")
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_of_the_largest_topic_and_says_so_in_their_place() {
        let mut outbox = Outbox { most_bytes: 10 * size(&record(0)), ..Outbox::default() };
        let (busy, calm) = (topic("trades.okx.BTC-USDT"), topic("trades.okx.ETH-USDT"));
        (1..=2).for_each(|number| outbox.event(&calm, record(number)));
        (1..=9).for_each(|number| outbox.event(&busy, record(number)));
        let mut batch = outbox.take();
        assert_eq!(batch.remove(&calm), Some(vec![Pending::Records(vec![record(1), record(2)])]));
        let busy = batch.remove(&busy).expect("busy topic");
        let [Pending::Status(told), Pending::Records(kept)] = &busy[..] else { panic!("{busy:?}") };
        assert!(std::str::from_utf8(&told.body).is_ok_and(|body| body.contains("4 events were dropped")));
        assert_eq!(
            kept.iter().map(|record| record.ts.as_nanos() / 1_000_000_000).collect::<Vec<_>>(),
            [5, 6, 7, 8, 9]
        );
    }

    #[test]
    fn events_do_not_wait_for_the_statuses_of_thousands_of_topics() {
        let mut outbox = Outbox::default();
        let status = || Status { source: "okx".into(), body: Bytes::new(), holds: Holds::On };
        let quiet = |number: usize| topic(&format!("trades.okx.A{number}-USDT"));
        (0..QUIET + 2).for_each(|number| outbox.status(&quiet(number), status()));
        let busy = quiet(QUIET);
        outbox.event(&busy, record(1));
        let first = outbox.take();
        assert_eq!(first.len(), QUIET + 1, "as many as go with one batch, and the one with an event");
        assert_eq!(first[&busy].len(), 2, "its status, then the event");
        assert_eq!(outbox.take().into_keys().collect::<Vec<_>>(), [quiet(QUIET + 1)], "the rest comes next");
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn one_event_larger_than_the_bound_is_dropped_and_told() {
        let mut outbox = Outbox { most_bytes: 1, ..Outbox::default() };
        outbox.event(&topic("trades.okx.BTC-USDT"), record(1));
        assert_eq!(outbox.bytes, 0);
        assert!(matches!(outbox.take().into_values().next().as_deref(), Some([Pending::Status(_)])));
    }
}
