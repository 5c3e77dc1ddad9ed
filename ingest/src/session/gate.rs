//! A gate that lets through one at a time, and no faster than a venue allows.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until};

/// Passes in the order of arrival, spaced by an interval.
#[derive(Debug)]
pub(super) struct Gate {
    opens: Mutex<Instant>,
    interval: Duration,
}

/// The right to act; the next one waits for its end, and then for the interval.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    opens: MutexGuard<'a, Instant>,
    interval: Duration,
}

impl Gate {
    pub(super) fn new(interval: Duration) -> Self {
        Self { opens: Mutex::new(Instant::now()), interval }
    }

    /// Waits for one's turn. Whoever gives up waiting changes nothing.
    pub(super) async fn pass(&self) -> Pass<'_> {
        let opens = self.opens.lock().await;
        sleep_until(*opens).await;
        Pass { opens, interval: self.interval }
    }
}

impl Pass<'_> {
    /// Keeps the gate shut for at least `pause` after this pass.
    pub(super) fn hold(&mut self, pause: Duration) {
        self.interval = self.interval.max(pause);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.opens = Instant::now() + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn passes_are_spaced_and_a_hold_delays_the_next() {
        let gate = Gate::new(Duration::from_secs(1));
        let start = Instant::now();
        drop(gate.pass().await);
        let mut second = gate.pass().await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        second.hold(Duration::from_secs(60));
        drop(second);
        drop(gate.pass().await);
        assert_eq!(start.elapsed(), Duration::from_secs(61));
    }
}
