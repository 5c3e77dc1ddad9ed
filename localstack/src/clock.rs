//! Wall time, and the virtual clock on which connections age.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time in Unix milliseconds: what a function's deadline is told in, for the function has no other clock.
#[expect(clippy::disallowed_methods, reason = "the simulator's one call of the system's clock")]
pub(crate) fn wall_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Wall time plus what it was advanced by. Events carry it, and connections' limits are judged by it.
#[derive(Debug, Default)]
pub(crate) struct VirtualClock {
    ahead_ms: AtomicU64,
}

impl VirtualClock {
    /// Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        wall_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Advances it, for good.
    pub(crate) fn advance(&self, by_ms: u64) {
        self.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}
