//! What one client may send, by frames and bytes, whatever they are: fragments and control frames included.

use std::time::Duration;

use bond_core::connection::{ANSWERED, RateState, TOLERATED};
use bond_core::time::UnixNanos;

/// What a frame costs: 200 a second are taken.
const FRAME: Duration = Duration::from_millis(5);

/// What a byte costs: 256 KiB a second are taken.
const BYTE: Duration = Duration::from_nanos(3_815);

/// How much may be owed: a burst of 400 frames, or of 512 KiB.
const SAVED: Duration = Duration::from_secs(2);

/// The budget of one connection. Times are of a clock of the worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    frames: RateState,
    messages: RateState,
    /// How many frames or messages were refused in this bout, which is over once the client may send in a burst again.
    refused: u32,
}

/// What becomes of a client that was refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusing {
    /// It is told.
    Told,
    /// It was told often enough.
    Untold,
    /// It is sent away.
    Dismissed,
}

impl Budget {
    /// Whether a frame of so many bytes is within the budget.
    pub(crate) fn admit_frame(&mut self, bytes: usize, now: UnixNanos) -> bool {
        if self.frames.free_at <= now && self.messages.free_at <= now {
            self.refused = 0;
        }
        let cost = FRAME + BYTE * u32::try_from(bytes).unwrap_or(u32::MAX);
        self.frames.spend(now, cost, SAVED)
    }

    /// Whether a message that is so many bytes once inflated is within the budget; its frames were counted already.
    pub(crate) fn admit_inflated(&mut self, bytes: usize, now: UnixNanos) -> bool {
        self.frames.spend(now, BYTE * u32::try_from(bytes).unwrap_or(u32::MAX), SAVED)
    }

    /// Whether a text message is.
    pub(crate) fn admit_message(&mut self, now: UnixNanos) -> bool {
        self.messages.admit(now)
    }

    /// Counts something that was refused.
    pub(crate) fn refuse(&mut self) -> Refusing {
        self.refused = self.refused.saturating_add(1);
        match self.refused {
            ..=ANSWERED => Refusing::Told,
            TOLERATED.. => Refusing::Dismissed,
            _ => Refusing::Untold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_bytes_are_taken_in_a_burst_and_then_at_their_pace() {
        let now = UnixNanos::from_secs(1);
        let taken = |bytes| {
            let mut budget = Budget::default();
            let burst = (0..10_000).filter(|_| budget.admit_frame(bytes, now)).count();
            let next = now.plus(Duration::from_secs(1));
            (burst, (0..10_000).filter(|_| budget.admit_frame(bytes, next)).count())
        };
        assert_eq!(taken(0), (400, 200));
        assert_eq!(taken(64 * 1024), (7, 4));
    }

    #[test]
    fn the_hundredth_refusal_in_a_bout_is_the_last_and_a_pause_ends_a_bout() {
        let now = UnixNanos::from_secs(1);
        let mut budget = Budget::default();
        let refused: Vec<_> = (0..99).map(|_| budget.refuse()).collect();
        assert_eq!(refused.iter().filter(|refused| **refused == Refusing::Told).count(), 8);
        assert!(!refused.contains(&Refusing::Dismissed));
        let mut paused = budget;
        assert_eq!(budget.refuse(), Refusing::Dismissed);
        assert!(paused.admit_frame(0, now));
        assert_eq!(paused.refuse(), Refusing::Told);
    }
}
