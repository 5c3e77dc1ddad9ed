//! A gate that lets through one at a time, and no more in a while than a venue allows.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

/// Passes in the order of arrival: a few in a burst, then spaced by an interval (the generic cell rate algorithm).
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// When all that has passed would have passed had it come evenly.
    theoretical_arrival: Mutex<Instant>,
    interval: Duration,
    slack: Duration,
}

/// The right to act; the next one waits for its end.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    even: MutexGuard<'a, Instant>,
    interval: Duration,
    slack: Duration,
}

impl RateLimiter {
    /// Lets `burst` pass at once after a pause, at least one, and one each `interval` in the long run.
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        let slack = interval.saturating_mul(burst.saturating_sub(1));
        Self { theoretical_arrival: Mutex::new(Instant::now()), interval, slack }
    }

    /// Waits for one's turn. Whoever gives up waiting changes nothing.
    pub(super) async fn pass(&self) -> Pass<'_> {
        let mut even = self.theoretical_arrival.lock().await;
        if let Some(opens) = even.checked_sub(self.slack) {
            sleep_until(opens).await;
        }
        *even = (*even).max(Instant::now()) + self.interval;
        Pass { even, interval: self.interval, slack: self.slack }
    }
}

impl Pass<'_> {
    /// Keeps the gate shut for at least `pause` from now on.
    pub(super) fn hold(&mut self, pause: Duration) {
        *self.even = (*self.even).max(Instant::now() + pause.max(self.interval) + self.slack);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_is_spaced() {
        let gate = RateLimiter::new(Duration::from_secs(3), 2);
        let start = Instant::now();
        let mut passed = Vec::new();
        for _ in 0..4 {
            drop(gate.pass().await);
            passed.push(start.elapsed().as_secs());
        }
        assert_eq!(passed, [0, 0, 3, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_delays_the_next_and_nobody_passes_during_a_pass() {
        let gate = RateLimiter::new(Duration::from_secs(1), 5);
        let start = Instant::now();
        let mut first = gate.pass().await;
        let other = async {
            drop(gate.pass().await);
            start.elapsed()
        };
        let holder = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            first.hold(Duration::from_secs(60));
            drop(first);
        };
        let (passed, ()) = tokio::join!(other, holder);
        assert_eq!(passed, Duration::from_secs(70));
    }
}
