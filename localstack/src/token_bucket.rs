//! How much is taken in a time.

use std::time::Instant;

/// A token bucket as API Gateway's.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: f64,
    capacity: f64,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket: filled at `rate` in tokens per second, holding at most `burst`.
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let capacity = f64::from(burst.max(1));
        Self { rate: f64::from(rate), capacity, tokens: capacity, filled_at: now }
    }

    /// An account's quota: it holds half a second's worth. AWS's defaults are 10,000 requests per second and a bucket of 5,000 (API Gateway
    /// quotas, read 2026-11).
    pub(crate) fn quota(rate: u32, now: Instant) -> Self {
        Self::new(rate, rate / 2, now)
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.rate).min(self.capacity);
        self.filled_at = now;
        let taken = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(taken));
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_quota_holds_half_a_seconds_worth_and_refills_at_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::quota(10, start);
        let mut take = |at_ms| bucket.take(start + Duration::from_millis(at_ms));
        assert_eq!([0; 6].map(&mut take), [true, true, true, true, true, false]);
        assert_eq!([100, 100].map(&mut take), [true, false]);
        assert_eq!((0..8).filter(|_| take(60_000)).count(), 5);
    }
}
