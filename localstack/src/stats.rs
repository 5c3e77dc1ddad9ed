//! What happened, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Serialize, Serializer};

/// What API Gateway bills as one message: 32 KB or a part of it (API Gateway pricing, WebSocket APIs, read 2026-11).
const BILLED_BYTES: usize = 32 * 1024;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(crate) fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub(crate) fn add(&self, many: usize) {
        self.0.fetch_add(many as u64, Ordering::Relaxed);
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0.load(Ordering::Relaxed))
    }
}

/// How long something took: count, total, least and most, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Durations(Mutex<Summary>);

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Summary {
    count: u64,
    total: f64,
    min: f64,
    max: f64,
}

impl Durations {
    /// Adds one.
    pub(crate) fn add(&self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        let mut summary = self.0.lock();
        let min = if summary.count == 0 { ms } else { summary.min.min(ms) };
        *summary =
            Summary { count: summary.count + 1, total: summary.total + ms, min, max: summary.max.max(ms) };
    }
}

impl Serialize for Durations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.lock().serialize(serializer)
    }
}

/// A function's.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FunctionStats {
    /// Invocations begun.
    pub invocations: Counter,
    /// Those that failed, timeouts included.
    pub errors: Counter,
    /// Those that ran out of time.
    pub timeouts: Counter,
    /// Those refused because all concurrency was used up.
    pub throttles: Counter,
    /// Those that were begun a second time by the fault.
    pub duplicates: Counter,
    /// Processes started.
    pub cold_starts: Counter,
    /// From a process's start to its first request for work.
    pub init_ms: Durations,
    /// From a process's start to its first answer.
    pub first_answer_ms: Durations,
    /// From handing work out to its answer.
    pub duration_ms: Durations,
}

/// Posts to connections, by outcome.
#[derive(Debug, Default, Serialize)]
pub(crate) struct PostStats {
    /// 200.
    pub accepted: Counter,
    /// 410.
    pub gone: Counter,
    /// 429 for the account.
    pub quota: Counter,
    /// 429 for the connection.
    pub slow: Counter,
    /// 413.
    pub too_large: Counter,
    /// 403.
    pub forbidden: Counter,
    /// 400.
    pub invalid: Counter,
}

/// One direction of the WebSocket API.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Traffic {
    /// Messages.
    pub messages: Counter,
    /// Their frames; 0 for those received, which arrive put together.
    pub frames: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// What they are billed as: units of 32 KB, begun ones full.
    pub billed: Counter,
}

impl Traffic {
    /// Adds a message of so many bytes in so many frames.
    pub(crate) fn add(&self, bytes: usize, frames: usize) {
        self.messages.count();
        self.frames.add(frames);
        self.bytes.add(bytes);
        self.billed.add(bytes.div_ceil(BILLED_BYTES).max(1));
    }
}

/// Connections.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ConnectionStats {
    /// Those that became open.
    pub opened: Counter,
    /// Those refused.
    pub refused: Counter,
    /// Those that ended.
    pub closed: Counter,
}

/// All that is not a function's.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stats {
    /// Posts by outcome.
    pub posts: PostStats,
    /// From clients.
    pub received: Traffic,
    /// To clients.
    pub sent: Traffic,
    /// Connections.
    pub connections: ConnectionStats,
    /// What clients of either API asked for beyond a route's limit.
    pub throttled: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_billed_by_begun_units_of_32_kb() {
        let traffic = Traffic::default();
        for bytes in [0, 1, 32 * 1024, 32 * 1024 + 1] {
            traffic.add(bytes, 1);
        }
        assert_eq!(serde_json::to_value(&traffic).unwrap()["billed"], 5);
    }

    #[test]
    fn durations_keep_the_least_and_the_most() {
        let durations = Durations::default();
        for ms in [3, 1, 2] {
            durations.add(Duration::from_millis(ms));
        }
        let json = serde_json::to_value(&durations).unwrap();
        assert_eq!(json, serde_json::json!({"count": 3, "total": 6.0, "min": 1.0, "max": 3.0}));
    }
}
