//! What one worker has delivered to clients of topics and not added to the counters of the process yet.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bond_core::log::EventKind;
use bond_core::topic::Family;

use super::counters::{bucket, nanos};
use super::{EVENTS, Figures, SYSTEM, Told, row};
use crate::alerts::{LATENCY_BOUNDS, LATENCY_BUCKETS};
use crate::delivery::follow::Tally;

/// Plain numbers, so that an event costs no more than an addition.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounts {
    has_any: bool,
    sent: [[u64; EVENTS]; SYSTEM],
    latency: [[[u64; LATENCY_BUCKETS]; EVENTS]; SYSTEM],
    nanos: [[u64; EVENTS]; SYSTEM],
    dropped: u64,
    acks: u64,
}

/// The place of an event among what is sent. Events of markets are deltas.
const fn column(kind: EventKind) -> usize {
    match kind {
        EventKind::Snapshot => 0,
        EventKind::Alert => 2,
        _ => 1,
    }
}

impl WorkerCounts {
    /// An event was delivered, so long after it was appended to the log; `None` where the client took it late on purpose.
    pub(crate) fn deliver(&mut self, family: Family, kind: EventKind, latency: Option<Duration>) {
        let (row, column) = (row(Some(family)), column(kind));
        self.has_any = true;
        self.sent[row][column] += 1;
        let Some(latency) = latency else { return };
        self.latency[row][column][bucket(latency, &LATENCY_BOUNDS)] += 1;
        self.nanos[row][column] += nanos(latency);
    }

    /// A look at a topic came to this, besides the events that it chose.
    pub(crate) fn look(&mut self, family: Family, came_to: &Tally, before: &Tally) {
        let counts = |tally: &Tally| [tally.dropped, tally.snapshots, tally.alerts, tally.acks];
        let [now, before] = [came_to, before].map(counts);
        if now == before {
            return;
        }
        self.has_any = true;
        self.dropped += now[0] - before[0];
        self.sent[row(Some(family))][column(EventKind::Snapshot)] += now[1] - before[1];
        self.sent[row(Some(family))][column(EventKind::Alert)] += now[2] - before[2];
        self.acks += now[3] - before[3];
    }

    /// Adds everything to the counters of the process, and begins anew.
    pub(crate) fn flush(&mut self, figures: &Figures) {
        if !self.has_any {
            return;
        }
        for row in 0..SYSTEM {
            self.flush_row(row, figures);
        }
        figures.dropped.fetch_add(self.dropped, Ordering::Relaxed);
        figures.tell_many(Told::Ack, self.acks);
        *self = Self::default();
    }

    fn flush_row(&self, row: usize, figures: &Figures) {
        for (column, count) in self.sent[row].iter().enumerate().filter(|(_, count)| **count > 0) {
            figures.sent.add(row, column, *count);
        }
        for (column, buckets) in self.latency[row].iter().enumerate() {
            let histogram = &figures.latency[row][column];
            for (bucket, count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
                histogram.add(bucket, *count);
            }
            if self.nanos[row][column] > 0 {
                histogram.add_nanos(self.nanos[row][column]);
            }
        }
    }
}
