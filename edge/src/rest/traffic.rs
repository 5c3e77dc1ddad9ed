//! What all connections together get.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use bond_core::time::UnixNanos;
use parking_lot::Mutex;

/// The shortest time a rate is taken over.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts of what serves the WebSockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that are open.
    pub subscriptions: u64,
    /// Messages written since the start.
    pub messages: u64,
}

/// Reads these counts, and the rate at which messages are written. Zero until it is attached to what serves them.
#[derive(Default)]
pub struct Traffic {
    source: OnceLock<Box<dyn Fn() -> Totals + Send + Sync>>,
    rate: Mutex<Rate>,
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traffic").field(&self.totals()).finish()
    }
}

/// Messages sent until a moment, and the rate found then.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    at: UnixNanos,
    messages: u64,
    per_second: f64,
}

impl Traffic {
    /// Reads counts from `source` from here on. Only the first source is taken.
    pub fn attach(&self, source: impl Fn() -> Totals + Send + Sync + 'static) {
        self.source.get_or_init(|| Box::new(source));
    }

    /// The counts now.
    pub fn totals(&self) -> Totals {
        self.source.get().map(|source| source()).unwrap_or_default()
    }

    /// Messages a second since the rate was last asked for, or since `started`, over one second at least.
    pub fn messages_per_second(&self, started: UnixNanos, now: UnixNanos) -> f64 {
        let messages = self.totals().messages;
        let mut rate = self.rate.lock();
        let since = rate.at.max(started);
        let elapsed = now.since(since);
        if elapsed >= WINDOW {
            let per_second = messages.saturating_sub(rate.messages) as f64 / elapsed.as_secs_f64();
            *rate = Rate { at: now, messages, per_second };
        }
        rate.per_second
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_rate_is_taken_since_it_was_last_asked_for() {
        let (traffic, begun) = (Traffic::default(), UnixNanos::from_secs(1_700_000_000));
        let messages = Arc::new(AtomicU64::new(10));
        let counted = Arc::clone(&messages);
        traffic.attach(move || Totals { subscriptions: 1, messages: counted.load(Ordering::Relaxed) });
        let after = |millis| begun.plus(Duration::from_millis(millis));
        assert_eq!(traffic.messages_per_second(begun, after(2_000)), 5.0);
        messages.store(14, Ordering::Relaxed);
        assert_eq!(traffic.messages_per_second(begun, after(2_500)), 5.0, "too soon for another rate");
        assert_eq!(traffic.messages_per_second(begun, after(4_000)), 2.0);
    }
}
