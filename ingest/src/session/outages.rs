//! What is logged of a venue that cannot be reached.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets one line through for all that fails at a venue, and the next when the wait is over that this one has announced.
///
/// A venue has two markets with a list and several connections each: one that is down would write a line for each of them, again and again.
#[derive(Debug, Default)]
pub struct OutageLog(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// The end of the wait that was told last.
    until: Option<Instant>,
    /// Failures since that were not.
    untold: u32,
}

impl OutageLog {
    /// Takes a failure that is followed by `wait`. Where it is to be logged: how many were not, since the last that was.
    pub(super) fn tell(&self, wait: Duration, now: Instant) -> Option<u32> {
        let mut told = self.0.lock();
        if told.until.is_some_and(|until| now < until) {
            told.untold = told.untold.saturating_add(1);
            return None;
        }
        told.until = now.checked_add(wait);
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_for_each_wait_and_it_counts_those_left_out() {
        let (outages, start) = (OutageLog::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let wait = Duration::from_secs;
        let told: Vec<_> = [(0, 10), (1, 3), (9, 60), (10, 20), (20, 1), (30, 5)]
            .map(|(second, waits)| outages.tell(wait(waits), at(second)))
            .into();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
