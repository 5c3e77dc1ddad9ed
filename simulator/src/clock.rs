//! Wall time for a simulator: read once, then carried forward by the monotonic clock so that it never runs back.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch.
pub(crate) type UnixNanos = u64;

/// Nanoseconds in a millisecond.
pub(crate) const MILLI: u64 = 1_000_000;

/// Nanoseconds of a duration, as far as 64 bits reach.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    epoch: UnixNanos,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the simulator's one reading of the wall clock")]
    pub(crate) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), epoch: nanos(epoch) }
    }

    pub(crate) fn now(&self) -> UnixNanos {
        self.epoch + nanos(self.started.elapsed())
    }

    /// The monotonic instant of a wall time; a time already past is `started` at the earliest.
    pub(crate) fn instant(&self, at: UnixNanos) -> Instant {
        self.started + Duration::from_nanos(at.saturating_sub(self.epoch))
    }
}
