//! How long to wait before trying again: exponential, with full jitter.

use std::time::Duration;

/// How waits grow from one failed attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// The upper limit of the wait. Each failure doubles the wait up to this.
    pub most: Duration,
    /// After this many failures in a row the source counts as failed. It is still tried again, at the longest wait.
    pub failed_after: u32,
}

impl BackoffPolicy {
    /// A policy whose waits double from `first` to `most`, and under which nothing ever counts as failed.
    pub const fn doubling(first: Duration, most: Duration) -> Self {
        Self { first, most, failed_after: u32::MAX }
    }
}

impl Default for BackoffPolicy {
    /// 5 s, doubling up to 300 s; failed after 10 attempts.
    fn default() -> Self {
        Self { first: Duration::from_secs(5), most: Duration::from_secs(300), failed_after: 10 }
    }
}

/// The number of failures in a row, and the wait that follows from it.
///
/// Only [`Backoff::reset`] sets the number back to zero. Callers must call it when data arrive, not when a connection opens: a
/// connection that opens and closes again without data is one more failure.
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub const fn new(policy: BackoffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// Counts a failure and returns the wait before the next attempt: `unit`, a random number from 0 to 1, times the longest wait that
    /// is due now ("full jitter").
    pub fn fail(&mut self, unit: f64) -> Duration {
        let longest = self.longest();
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(unit.clamp(0.0, 1.0))
    }

    /// Sets the number of failures back to zero.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// The number of failures in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the policy's number of failures in a row is reached.
    pub const fn has_failed(&self) -> bool {
        self.failures >= self.policy.failed_after
    }

    fn longest(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).filter(|_| !self.has_failed());
        let grown = factor.and_then(|factor| self.policy.first.checked_mul(factor));
        grown.unwrap_or(self.policy.most).min(self.policy.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_five_seconds_to_three_hundred() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        let waits: Vec<u64> = (0..12).map(|_| backoff.fail(1.0).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300]);
    }

    #[test]
    fn counts_as_failed_after_the_tenth_and_then_waits_longest() {
        let policy = BackoffPolicy { first: Duration::from_millis(1), ..BackoffPolicy::default() };
        let mut backoff = Backoff::new(policy);
        for _ in 0..9 {
            backoff.fail(1.0);
        }
        assert!(!backoff.has_failed());
        backoff.fail(1.0);
        assert!(backoff.has_failed());
        assert_eq!(backoff.fail(1.0), policy.most);
        backoff.reset();
        assert!(!backoff.has_failed());
        assert_eq!(backoff.fail(1.0), policy.first);
    }

    #[test]
    fn jitter_spans_the_whole_wait() {
        let mut backoff = Backoff::new(BackoffPolicy::default());
        assert_eq!(backoff.fail(0.0), Duration::ZERO);
        assert_eq!(backoff.fail(0.5), Duration::from_secs(5));
    }
}
