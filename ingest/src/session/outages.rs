//! Limits what is logged about a venue that cannot be reached.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets one line through for all failures at a venue. The next line may come when the wait is over that the last one has announced.
///
/// A venue has two markets, each with a list and several connections. Without a limit, a venue that is down would cause a line for each of
/// them, again and again.
#[derive(Debug, Default)]
pub struct OutageLog(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// The end of the wait that was logged last.
    until: Option<Instant>,
    /// The number of failures since then, which were not logged.
    untold: u32,
}

impl OutageLog {
    /// Records a failure that is followed by `wait`. If it is to be logged, returns how many failures were not logged before it.
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
