//! How fast messages are written.

use std::time::Duration;

use bond_core::time::UnixNanos;
use parking_lot::Mutex;

/// The shortest time a rate is taken over.
const WINDOW: Duration = Duration::from_secs(1);

/// The rate at which all connections together get messages.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Rate>);

/// Messages sent until a moment, and the rate found then.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    at: UnixNanos,
    messages: u64,
    per_second: f64,
}

impl Traffic {
    /// Messages a second since the rate was last asked for, or since `started`, over one second at least. `messages` were written
    /// until `now`.
    pub fn messages_per_second(&self, messages: u64, started: UnixNanos, now: UnixNanos) -> f64 {
        let mut rate = self.0.lock();
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
    use super::*;

    #[test]
    fn a_rate_is_taken_since_it_was_last_asked_for() {
        let (traffic, begun) = (Traffic::default(), UnixNanos::from_secs(1_700_000_000));
        let after = |millis| begun.plus(Duration::from_millis(millis));
        assert_eq!(traffic.messages_per_second(10, begun, after(2_000)), 5.0);
        assert_eq!(traffic.messages_per_second(14, begun, after(2_500)), 5.0, "too soon for another rate");
        assert_eq!(traffic.messages_per_second(14, begun, after(4_000)), 2.0);
    }
}
