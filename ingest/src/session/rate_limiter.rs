//! Limits the rate of requests to what a venue allows, and makes them one at a time.

use std::time::Duration;

use bond_core::connection::{Limit, RateState};
use bond_core::time::UnixNanos;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

/// Callers pass in the order of arrival: a few in a burst, then one per interval.
#[derive(Debug)]
pub(super) struct RateLimiter {
    state: Mutex<RateState>,
    limit: Limit,
    /// The origin of the times in `state`.
    began: Instant,
}

/// The right to make a request. The next caller waits until it is dropped.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    state: MutexGuard<'a, RateState>,
    limiter: &'a RateLimiter,
}

impl RateLimiter {
    /// A limiter that lets `burst` callers (at least one) pass at once after a pause, and one per `interval` in the long run.
    pub(super) fn new(interval: Duration, burst: u32) -> Self {
        Self { state: Mutex::default(), limit: Limit { interval, burst }, began: Instant::now() }
    }

    /// Waits until the caller may pass. Cancel-safe: giving up the wait changes nothing.
    pub(super) async fn pass(&self) -> Pass<'_> {
        let mut state = self.state.lock().await;
        sleep_until(self.began + state.opens_at(self.limit).since(UnixNanos::EPOCH)).await;
        state.charge(self.limit, self.now());
        Pass { state, limiter: self }
    }

    fn now(&self) -> UnixNanos {
        UnixNanos::EPOCH.plus(self.began.elapsed())
    }
}

impl Pass<'_> {
    /// Lets nobody pass for at least `pause` from now on.
    pub(super) fn hold(&mut self, pause: Duration) {
        let limit = self.limiter.limit;
        self.state.hold(limit, self.limiter.now().plus(pause.max(limit.interval)));
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
