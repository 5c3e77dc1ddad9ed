//! How long a client waits before it connects again.

use std::time::Duration;

use bond_core::backoff::{Backoff, BackoffPolicy};

/// The wait after the first loss.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait between two attempts that nobody asked for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait that a server may ask for; what it asks beyond is cut.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// A wait that doubles with every attempt that got nowhere.
#[derive(Debug)]
pub(super) struct ReconnectWait(Backoff);

impl ReconnectWait {
    /// A wait that begins anew.
    pub(super) const fn new() -> Self {
        Self(Backoff::new(BackoffPolicy::doubling(FIRST_WAIT, LONGEST_WAIT)))
    }

    /// An event of the stream came. That something else came, such as a heartbeat, says nothing of the stream.
    pub(super) const fn progress(&mut self) {
        self.0.reset();
    }

    /// How long to wait now: what the server asked for, and a part of our own wait by `chance`, at least half of it. The chance
    /// keeps clients that were lost together from coming back together.
    pub(super) fn wait(&mut self, chance: u32, asked: Duration) -> Duration {
        let share = 0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX);
        asked.min(LONGEST_ASKED) + self.0.fail(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_a_bound_until_there_is_progress() {
        let mut backoff = ReconnectWait::new();
        let waits: Vec<u128> = (0..10).map(|_| backoff.wait(u32::MAX, Duration::ZERO).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(backoff.wait(0, Duration::ZERO), LONGEST_WAIT / 2);
        backoff.progress();
        assert_eq!(backoff.wait(0, Duration::ZERO), FIRST_WAIT / 2);
    }

    #[test]
    fn a_server_may_ask_for_more_up_to_a_bound() {
        let asked = |seconds| ReconnectWait::new().wait(0, Duration::from_secs(seconds)).as_millis();
        assert_eq!((asked(7), asked(86_400)), (7_100, 300_100));
    }
}
