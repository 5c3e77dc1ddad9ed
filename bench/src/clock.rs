//! Wall time, the one clock that a server and the load generator share.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch (`CLOCK_REALTIME`); zero on a clock set before it.
#[expect(clippy::disallowed_methods, reason = "send times must mean the same in two processes")]
pub fn unix_nanos() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| elapsed.as_nanos() as u64)
}
