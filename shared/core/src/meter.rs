//! Counters of streams: ingest and edges write them, the stream's metrics endpoint reads them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::topic::StreamId;
use crate::vitals::StreamFigures;

/// How many of the latest latencies the percentiles cover.
const SAMPLES: usize = 1024;

/// Counters of one stream since it began to run.
#[derive(Debug, Default)]
pub struct StreamMeter {
    msgs_in: AtomicU64,
    msgs_out: AtomicU64,
    dropped: AtomicU64,
    latencies: Mutex<VecDeque<Duration>>,
}

/// Latencies from a log's append to the write on a client's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LatencySummary {
    /// The median.
    pub p50: Duration,
    /// The 95th percentile.
    pub p95: Duration,
    /// The number of samples, at most 1024.
    pub samples: usize,
}

impl LatencySummary {
    /// The percentiles of `latencies`, which may be in any order; zero if there are none.
    pub fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        let last = latencies.len().saturating_sub(1);
        let at = |percent: usize| latencies.get((latencies.len() * percent / 100).min(last)).copied();
        Self { p50: at(50).unwrap_or_default(), p95: at(95).unwrap_or_default(), samples: latencies.len() }
    }
}

impl StreamMeter {
    /// Counts events received from sources.
    pub fn add_in(&self, count: u64) {
        self.msgs_in.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts events written to clients. An event that goes to three clients counts three times.
    pub fn add_out(&self, count: u64) {
        self.msgs_out.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts events that a slow client missed.
    pub fn add_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds a latency. The oldest is dropped if there are 1024 already.
    pub fn add_latency(&self, latency: Duration) {
        let mut latencies = self.latencies.lock();
        if latencies.len() == SAMPLES {
            latencies.pop_front();
        }
        latencies.push_back(latency);
    }

    /// Events received from sources.
    pub fn msgs_in(&self) -> u64 {
        self.msgs_in.load(Ordering::Relaxed)
    }

    /// Events written to clients.
    pub fn msgs_out(&self) -> u64 {
        self.msgs_out.load(Ordering::Relaxed)
    }

    /// Events that slow clients missed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The percentiles of the latest latencies; zero if there are none.
    pub fn latency(&self) -> LatencySummary {
        LatencySummary::of(self.latencies.lock().iter().copied().collect())
    }

    /// All counters and latencies.
    pub fn figures(&self) -> StreamFigures {
        StreamFigures {
            msgs_in: self.msgs_in(),
            msgs_out: self.msgs_out(),
            dropped: self.dropped(),
            latencies: self.latencies.lock().iter().copied().collect(),
        }
    }
}

/// The meters of all running streams.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<RwLock<HashMap<StreamId, Arc<StreamMeter>>>>);

impl Meters {
    /// The meter of `stream`, made when it is first asked for.
    pub fn of(&self, stream: &StreamId) -> Arc<StreamMeter> {
        if let Some(meter) = self.0.read().get(stream) {
            return Arc::clone(meter);
        }
        Arc::clone(self.0.write().entry(stream.clone()).or_default())
    }

    /// The figures of all streams.
    pub fn figures(&self) -> BTreeMap<StreamId, StreamFigures> {
        self.0.read().iter().map(|(id, meter)| (id.clone(), meter.figures())).collect()
    }

    /// Removes the meter of a stream that has ended.
    pub fn remove(&self, stream: &StreamId) {
        self.0.write().remove(stream);
    }
}
