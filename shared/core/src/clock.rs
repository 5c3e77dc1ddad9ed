//! The adapter of the system's clock. Nothing else in this crate reads that clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{Clock, UnixNanos};

/// Wall time as the operating system keeps it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock port's adapter")]
    fn now(&self) -> UnixNanos {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixNanos::from_nanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }
}
