//! The process's share of the account's posts per second.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// For how long posts may be saved up: the longest burst, in time of the rate.
const BURST: Duration = Duration::from_millis(100);

/// A token bucket in which each taker reserves the next free moment. `governor` only tells a taker to come again, and of hundreds
/// that wait all but one come in vain; a reservation wakes each once, in order, and tells at once that a deadline cannot be met.
pub(super) struct Bucket {
    /// The time between two posts.
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Bucket {
    /// As many a second, one at least.
    pub(super) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(None) }
    }

    /// Waits for a turn. `false`, at once: none before `deadline`.
    pub(super) async fn take(&self, deadline: Instant) -> bool {
        let now = Instant::now();
        let Some(turn) = self.reserve(now, deadline) else { return false };
        if turn > now {
            sleep_until(turn).await;
        }
        true
    }

    fn reserve(&self, now: Instant, deadline: Instant) -> Option<Instant> {
        let mut next = self.next.lock();
        let saved = now.checked_sub(BURST).unwrap_or(now);
        let turn = next.map_or(saved, |next| next.max(saved));
        if turn.max(now) >= deadline {
            return None;
        }
        *next = Some(turn + self.interval);
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(bucket: &Bucket, from: Instant, deadline: Instant) -> Vec<Duration> {
        let turns = std::iter::from_fn(|| bucket.reserve(from, deadline));
        turns.map(|turn| turn.saturating_duration_since(from)).collect()
    }

    #[test]
    fn turns_come_at_the_rate_after_a_burst() {
        let (bucket, now) = (Bucket::new(100), Instant::now() + BURST);
        let turns = turns(&bucket, now, now + Duration::from_millis(50));
        let at_once = turns.iter().filter(|turn| turn.is_zero()).count();
        assert_eq!(at_once, 11, "a tenth of a second's posts and the present one");
        assert_eq!(
            turns.last(),
            Some(&Duration::from_millis(40)),
            "then every 10 ms, and none at the deadline"
        );
        assert_eq!(turns.len(), 15);
    }

    #[test]
    fn what_could_not_be_met_is_not_used_up() {
        let (bucket, now) = (Bucket::new(10), Instant::now() + BURST);
        let deadline = now + Duration::from_millis(1);
        assert_eq!(turns(&bucket, now, deadline).len(), 2);
        assert_eq!(bucket.reserve(now, deadline), None);
        assert_eq!(bucket.reserve(now, now + BURST * 2), Some(now + BURST), "the next turn is still free");
    }

    #[tokio::test(start_paused = true)]
    async fn a_taker_waits_for_its_turn() {
        let (bucket, start) = (Bucket::new(10), Instant::now());
        tokio::time::advance(BURST).await;
        for _ in 0..5 {
            assert!(bucket.take(start + Duration::from_secs(9)).await);
        }
        assert_eq!(start.elapsed(), BURST + Duration::from_millis(300));
        assert!(!bucket.take(Instant::now()).await);
    }
}
