//! How often a client may speak, for hosts that keep nothing between two messages but the connection's item.

use std::time::Duration;

use crate::time::UnixNanos;

/// Messages are taken at this pace, after a burst: 20 a second.
const INTERVAL: Duration = Duration::from_millis(50);

/// How many messages may come at once.
const BURST: u32 = 100;

/// A limit on how often a client may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// When what was said is paid off. In the past for a client that keeps the pace.
    pub free_at: UnixNanos,
}

impl Pace {
    /// Whether a message made at `now` is within the limit. One that is not changes nothing.
    pub fn admit(&mut self, now: UnixNanos) -> bool {
        let free_at = self.free_at.max(now).plus(INTERVAL);
        let admitted = free_at.since(now) <= INTERVAL * BURST;
        if admitted {
            self.free_at = free_at;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_pace_holds() {
        let now = UnixNanos::from_secs(1);
        let mut pace = Pace::default();
        assert_eq!((0..1_000).filter(|_| pace.admit(now)).count(), 100);
        assert!(pace.admit(now.plus(INTERVAL)));
        assert!(!pace.admit(now.plus(INTERVAL)));
    }
}
