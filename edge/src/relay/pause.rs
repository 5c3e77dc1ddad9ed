//! Pauses that get longer while their cause persists.

use std::time::{Duration, Instant};

use bond_core::backoff::{Backoff, BackoffPolicy};

/// A pause that doubles each time it is needed again, up to a limit.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Pause {
    const fn new(first: Duration, most: Duration) -> Self {
        Self { backoff: Backoff::new(BackoffPolicy::doubling(first, most)), until: None }
    }

    /// The pause of one connection that takes nothing.
    pub(super) const fn connection() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(10))
    }

    /// The pause of a lane whose invocations do not start.
    pub(super) const fn lane() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// The pause of all lanes while the account's quota of posts is used up.
    pub(super) const fn quota() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(5))
    }

    /// Begins a pause at `now`, longer than the last one. Does nothing during a pause.
    pub(super) fn pause(&mut self, now: Instant) {
        if !self.is_over(now) {
            return;
        }
        self.until = Some(now + self.backoff.fail(1.0));
    }

    /// Like [`Pause::pause`], but as short as the first pause, for a partial success.
    pub(super) fn pause_shortly(&mut self, now: Instant) {
        if self.is_over(now) {
            self.reset();
            self.pause(now);
        }
    }

    /// Makes the next pause as short as the first, after a success.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
        self.until = None;
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// When the pause ends, if there was one.
    pub(super) const fn until(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew_after_success() {
        let mut backoff = Pause::connection();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            backoff.pause(now);
            backoff.pause(now + Duration::from_millis(1));
            let until = backoff.until().expect("a pause");
            pauses.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        backoff.pause_shortly(now);
        assert_eq!(backoff.until(), Some(now + Duration::from_millis(500)));
        backoff.reset();
        assert!(backoff.is_over(now));
        backoff.pause(now);
        assert_eq!(backoff.until(), Some(now + Duration::from_millis(500)));
    }
}
