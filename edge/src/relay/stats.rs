//! The figures of a relay that become metrics each minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bond_core::time::UnixNanos;
use parking_lot::Mutex;

use super::shared::RelayShared;
use crate::delivery::feed::Picked;

/// The number of classes in which latencies are counted. There are eight classes per doubling, from one microsecond to about a day, so
/// that a latency is exact to within 9 %.
const STEPS: usize = 8 * 37;

/// The figures of a relay since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayFigures {
    /// Events taken by clients. An event that goes to three clients counts three times.
    pub delivered: u64,
    /// Events that slow clients missed, counted in the same way.
    pub dropped: u64,
    /// The 95th percentile of the time from an event's append to the receipt of its post; zero if no event was taken.
    pub delivery_p95: Duration,
    /// The largest number of events that one connection waited for.
    pub queue_depth: u64,
    /// The greatest age of an event that a connection had not taken, less the time for which the connection lets events wait.
    /// Connections in a pause do not count.
    pub lag: Duration,
}

/// The figures that are collected until they are taken.
#[derive(Debug)]
pub(super) struct Gathered {
    delivered: AtomicU64,
    dropped: AtomicU64,
    queue_depth: AtomicU64,
    lag_micros: AtomicU64,
    latencies: Mutex<[u64; STEPS]>,
}

impl Default for Gathered {
    fn default() -> Self {
        let [delivered, dropped, queue_depth, lag_micros] = std::array::from_fn(|_| AtomicU64::new(0));
        Self { delivered, dropped, queue_depth, lag_micros, latencies: Mutex::new([0; STEPS]) }
    }
}

impl Gathered {
    /// Counts events that were taken and events that were missed.
    pub(super) fn count(&self, delivered: u64, dropped: u64) {
        self.delivered.fetch_add(delivered, Ordering::Relaxed);
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    /// Records the queue depth and the lag of a lane.
    pub(super) fn note(&self, queue_depth: u64, lag: Duration) {
        self.queue_depth.fetch_max(queue_depth, Ordering::Relaxed);
        self.lag_micros.fetch_max(micros(lag), Ordering::Relaxed);
    }

    /// Records the latencies of events that were appended at these times and are known at `now` to be taken.
    pub(super) fn taken(&self, now: UnixNanos, appended: impl Iterator<Item = UnixNanos>) {
        let mut latencies = self.latencies.lock();
        for at in appended {
            latencies[step(now.since(at))] += 1;
        }
    }

    /// Returns the figures, and starts again from zero.
    pub(super) fn take(&self) -> RelayFigures {
        let latencies = std::mem::replace(&mut *self.latencies.lock(), [0; STEPS]);
        let take = |figure: &AtomicU64| figure.swap(0, Ordering::Relaxed);
        RelayFigures {
            delivered: take(&self.delivered),
            dropped: take(&self.dropped),
            delivery_p95: p95(&latencies),
            queue_depth: take(&self.queue_depth),
            lag: Duration::from_micros(take(&self.lag_micros)),
        }
    }
}

impl RelayShared {
    /// Records the latencies of items that a client has taken.
    pub(super) fn note_taken(&self, picks: &[Picked]) {
        let events = picks.iter().filter(|(_, pick)| pick.kind.is_some()).map(|(_, pick)| pick.at);
        self.gathered.taken(self.parts.ports.clock.now(), events);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn step(latency: Duration) -> usize {
    let steps = (micros(latency).max(1) as f64).log2() * 8.0;
    (steps as usize).min(STEPS - 1)
}

fn p95(latencies: &[u64; STEPS]) -> Duration {
    let all: u64 = latencies.iter().sum();
    let mut below = 0;
    let step = latencies.iter().position(|count| {
        below += count;
        all > 0 && below * 100 >= all * 95
    });
    step.map_or(Duration::ZERO, |step| Duration::from_micros(((step + 1) as f64 / 8.0).exp2() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_that_of_the_events_since_it_was_last_asked_for() {
        let (gathered, now) = (Gathered::default(), UnixNanos::from_secs(100));
        assert_eq!(gathered.take(), RelayFigures::default());
        let appended = |ms: u64| now.minus(Duration::from_millis(ms));
        gathered
            .taken(now, std::iter::repeat_n(appended(20), 94).chain(std::iter::repeat_n(appended(300), 6)));
        let p95 = gathered.take().delivery_p95.as_millis();
        assert!((300..330).contains(&p95), "{p95}");
        gathered
            .taken(now, std::iter::repeat_n(appended(20), 96).chain(std::iter::repeat_n(appended(300), 4)));
        let p95 = gathered.take().delivery_p95.as_millis();
        assert!((20..22).contains(&p95), "{p95}");
    }
}
