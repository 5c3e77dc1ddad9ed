//! What all connections together get.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bond_core::time::UnixNanos;
use parking_lot::Mutex;

/// The shortest time a rate is taken over.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts subscriptions and messages. A clone counts into the same.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    subscriptions: AtomicU64,
    messages: AtomicU64,
    rate: Mutex<Rate>,
}

/// Messages sent until a moment, and the rate found then.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    at: UnixNanos,
    messages: u64,
    per_second: f64,
}

impl Traffic {
    /// A connection or topic subscription began.
    pub fn subscribed(&self) {
        self.0.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection or topic subscription ended.
    pub fn unsubscribed(&self) {
        self.0.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    /// This many messages were written to clients.
    pub fn sent(&self, messages: u64) {
        self.0.messages.fetch_add(messages, Ordering::Relaxed);
    }

    /// Subscriptions that are open.
    pub fn active_subscriptions(&self) -> u64 {
        self.0.subscriptions.load(Ordering::Relaxed)
    }

    /// Messages a second since the rate was last asked for, or since `started`, over one second at least.
    pub fn messages_per_second(&self, started: UnixNanos, now: UnixNanos) -> f64 {
        let messages = self.0.messages.load(Ordering::Relaxed);
        let mut rate = self.0.rate.lock();
        let since = rate.at.max(started);
        let elapsed = now.since(since);
        if elapsed >= WINDOW {
            let per_second = (messages - rate.messages) as f64 / elapsed.as_secs_f64();
            *rate = Rate { at: now, messages, per_second };
        }
        rate.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_taken_since_it_was_last_asked_for() {
        let (traffic, begun) = (Traffic::default(), UnixNanos::from_secs(1_700_000_000));
        let after = |millis| begun.plus(Duration::from_millis(millis));
        traffic.sent(10);
        assert_eq!(traffic.messages_per_second(begun, after(2_000)), 5.0);
        traffic.sent(30);
        assert_eq!(traffic.messages_per_second(begun, after(2_500)), 5.0, "too early for a new one");
        assert_eq!(traffic.messages_per_second(begun, after(12_000)), 3.0);
    }
}
