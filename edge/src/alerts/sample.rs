//! Counters at one time, and what happened between two.

use std::time::Duration;

use bond_core::time::UnixNanos;

/// The upper bounds of the buckets of latencies, in seconds.
pub const LATENCY_BOUNDS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// How many buckets there are: the last is for what is above all bounds.
pub const LATENCY_BUCKETS: usize = LATENCY_BOUNDS.len() + 1;

/// Of how many a rate is taken at least: of fewer, one alone would say too much.
const LEAST: u64 = 20;

/// What was counted until some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// When it was sampled.
    pub at: UnixNanos,
    /// Handshakes that succeeded.
    pub established: u64,
    /// Handshakes that failed through no fault of the client.
    pub failed: u64,
    /// Events that were delivered, one for each event and client.
    pub delivered: u64,
    /// Events that slow clients missed.
    pub dropped: u64,
    /// Messages of clients.
    pub received: u64,
    /// Those of them that were answered with an error.
    pub errors: u64,
    /// The times from append to delivery, by bucket.
    pub latency: [u64; LATENCY_BUCKETS],
    /// The most events that a client has lagged behind since the sample before.
    pub queue: u64,
    /// Whether the log answers.
    pub log_answers: bool,
}

/// What happened between two samples.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) since: Sample,
    pub(super) now: Sample,
    /// The most events that a client has lagged behind in between.
    pub(super) queue: u64,
}

/// The share of `part` in `whole`; none where the whole is nothing.
pub(super) fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Span {
    fn between(&self, counter: impl Fn(&Sample) -> u64) -> u64 {
        counter(&self.now).saturating_sub(counter(&self.since))
    }

    pub(super) fn failure_rate(&self) -> f64 {
        let failed = self.between(|sample| sample.failed);
        share(failed, failed + self.between(|sample| sample.established))
    }

    pub(super) fn drop_rate(&self) -> f64 {
        let dropped = self.between(|sample| sample.dropped);
        share(dropped, dropped + self.between(|sample| sample.delivered))
    }

    pub(super) fn error_rate(&self) -> f64 {
        share(self.between(|sample| sample.errors), self.between(|sample| sample.received))
    }

    pub(super) fn delivered_per_second(&self) -> f64 {
        let elapsed: Duration = self.now.at.since(self.since.at);
        let delivered = rate(self.between(|sample| sample.delivered), 1);
        if elapsed.is_zero() { 0.0 } else { delivered / elapsed.as_secs_f64() }
    }

    /// The 95th percentile of the latencies in seconds, by a straight line within its bucket; zero where there are too few.
    pub(super) fn latency_p95(&self) -> f64 {
        let buckets: [u64; LATENCY_BUCKETS] =
            std::array::from_fn(|bucket| self.between(|sample| sample.latency[bucket]));
        let all: u64 = buckets.iter().sum();
        if all < LEAST {
            return 0.0;
        }
        let (mut below, wanted) = (0.0, 0.95 * rate(all, 1));
        let mut lower = 0.0;
        for (count, upper) in buckets.into_iter().zip(LATENCY_BOUNDS) {
            let count = rate(count, 1);
            if below + count >= wanted {
                return lower + (upper - lower) * (wanted - below) / count;
            }
            (below, lower) = (below + count, upper);
        }
        lower
    }
}

/// As [`rate`], where the whole is enough to tell.
fn share(part: u64, whole: u64) -> f64 {
    if whole < LEAST { 0.0 } else { rate(part, whole) }
}
