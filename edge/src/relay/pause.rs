//! Pauses that get longer while what made them necessary goes on.

use std::time::{Duration, Instant};

use bond_core::backoff::{Backoff, BackoffPolicy};

/// A pause that doubles each time it is needed again.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Pause {
    const fn new(first: Duration, most: Duration) -> Self {
        Self { backoff: Backoff::new(BackoffPolicy::doubling(first, most)), until: None }
    }

    /// For one connection that takes nothing.
    pub(super) const fn connection() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(10))
    }

    /// For a lane whose invocations are not begun.
    pub(super) const fn lane() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    /// For the account's quota of posts.
    pub(super) const fn quota() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(5))
    }

    /// Pauses from `now` on, longer than the time before. One pause is not lengthened while it lasts.
    pub(super) fn pause(&mut self, now: Instant) {
        if !self.is_over(now) {
            return;
        }
        self.until = Some(now + self.backoff.fail(1.0));
    }

    /// As [`Pause::pause`], but as short as the first time: some of it went well.
    pub(super) fn pause_shortly(&mut self, now: Instant) {
        if self.is_over(now) {
            self.reset();
            self.pause(now);
        }
    }

    /// Begins anew: it went well again.
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
