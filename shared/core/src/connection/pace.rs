//! How often something may be done, by one time that is kept (the generic cell rate algorithm): all that some hosts have between two messages
//! of a client is the connection's item.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

use crate::time::UnixNanos;

/// Clients' messages: 20 a second, 100 at once.
const MESSAGES: Limit = Limit::per_second(20, 100);

/// A pace that may be kept for ever, and how many may come at once before it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The time between two.
    pub interval: Duration,
    /// How many may come at once.
    pub burst: u32,
}

impl Limit {
    /// So many a second, at least one, after a burst.
    pub const fn per_second(rate: u32, burst: u32) -> Self {
        let rate = if rate == 0 { 1 } else { rate };
        Self { interval: Duration::from_nanos(1_000_000_000 / rate as u64), burst }
    }

    /// So many a minute, at least one, after a burst.
    pub const fn per_minute(rate: u32, burst: u32) -> Self {
        let rate = if rate == 0 { 1 } else { rate };
        Self { interval: Duration::from_nanos(60_000_000_000 / rate as u64), burst }
    }

    /// How far ahead of an even pace the last of a burst is.
    fn slack(self) -> Duration {
        self.interval.saturating_mul(self.burst.saturating_sub(1))
    }
}

/// How much of a limit is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateState {
    /// When what was said is paid off. In the past for a client that keeps the pace.
    pub free_at: UnixNanos,
}

impl RateState {
    /// Whether a message made at `now` is within the limit of messages. One that is not changes nothing.
    pub fn admit(&mut self, now: UnixNanos) -> bool {
        self.keep(MESSAGES, now)
    }

    /// Whether something done at `now` is within `limit`. What is not changes nothing.
    pub fn keep(&mut self, limit: Limit, now: UnixNanos) -> bool {
        self.spend(now, limit.interval, limit.interval.saturating_mul(limit.burst))
    }

    /// When something may be done again that keeps to `limit`.
    pub fn opens_at(&self, limit: Limit) -> UnixNanos {
        self.free_at.minus(limit.slack())
    }

    /// Counts something that is done at `now`, whether or not it is within `limit`.
    pub fn charge(&mut self, limit: Limit, now: UnixNanos) {
        self.free_at = self.free_at.max(now).plus(limit.interval);
    }

    /// Has nothing be done within `limit` before `until`.
    pub fn hold(&mut self, limit: Limit, until: UnixNanos) {
        self.free_at = self.free_at.max(until.plus(limit.slack()));
    }

    /// Whether something that is paid off in the time `cost` may be done at `now`, where so much may be owed at `most`. What may not changes
    /// nothing.
    pub fn spend(&mut self, now: UnixNanos, cost: Duration, most: Duration) -> bool {
        let free_at = self.free_at.max(now).plus(cost);
        let admitted = free_at.since(now) <= most;
        if admitted {
            self.free_at = free_at;
        }
        admitted
    }
}

/// The rates of many, each by its key, of whom the quiet are forgotten.
#[derive(Debug)]
pub struct RateTable<K> {
    most: usize,
    states: Mutex<HashMap<K, RateState>>,
}

impl<K: Eq + Hash> RateTable<K> {
    /// An empty table of at most so many keys. While it is full of those that have not been quiet, a further key is refused.
    pub fn new(most: usize) -> Self {
        Self { most, states: Mutex::default() }
    }

    /// Whether something that `key` does at `now` is within `limit`.
    ///
    /// # Errors
    /// The time after which it may be tried again.
    pub fn spend(&self, key: K, limit: Limit, now: UnixNanos) -> Result<(), Duration> {
        let mut states = self.states.lock();
        if !states.contains_key(&key) && states.len() >= self.most {
            states.retain(|_, state| state.free_at > now);
            if states.len() >= self.most {
                return Err(limit.interval);
            }
        }
        let state = states.entry(key).or_default();
        if state.keep(limit, now) { Ok(()) } else { Err(state.opens_at(limit).since(now)) }
    }

    /// Has nothing that `key` does be within `limit` before `until`, as another who counts has found.
    pub fn hold(&self, key: K, limit: Limit, until: UnixNanos) {
        let mut states = self.states.lock();
        if states.contains_key(&key) || states.len() < self.most {
            states.entry(key).or_default().hold(limit, until);
        }
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.states.lock().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_the_pace_holds() {
        let now = UnixNanos::from_secs(1);
        let mut pace = RateState::default();
        assert_eq!((0..1_000).filter(|_| pace.admit(now)).count(), 100);
        assert!(pace.admit(now.plus(MESSAGES.interval)));
        assert!(!pace.admit(now.plus(MESSAGES.interval)));
    }

    #[test]
    fn what_costs_more_is_done_less_often() {
        let (now, most) = (UnixNanos::from_secs(1), Duration::from_secs(10));
        let mut pace = RateState::default();
        assert!(pace.spend(now, Duration::from_secs(9), most));
        assert!(!pace.spend(now, Duration::from_secs(2), most));
        assert!(pace.spend(now, Duration::from_secs(1), most));
    }
}
