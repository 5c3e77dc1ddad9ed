//! Detects trades that a venue numbered but never sent, for venues that number trades without holes.

use std::time::Duration;

use bond_core::time::UnixNanos;

/// How long a missing number may still arrive. Venues send in order, but old and new connections may overlap after a reconnect.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most gaps that are watched at one time. Beyond it the oldest counts as lost at once.
const OPEN: usize = 32;

/// Numbers `from` to `to`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Watches the numbers of one instrument's trades.
#[derive(Debug, Default)]
pub(super) struct Losses {
    greatest: Option<u64>,
    open: Vec<(Range, UnixNanos)>,
    lost: Vec<Range>,
}

impl Losses {
    /// Records that trade `number` arrived at `now`.
    pub(super) fn observe(&mut self, number: u64, now: UnixNanos) {
        match self.greatest {
            Some(greatest) if number > greatest => {
                if number > greatest + 1 {
                    self.watch(Range { from: greatest + 1, to: number - 1 }, now);
                }
                self.greatest = Some(number);
            }
            Some(_) => self.fill(number),
            None => self.greatest = Some(number),
        }
    }

    /// Whether any number may be missing.
    pub(super) fn is_open(&self) -> bool {
        !(self.open.is_empty() && self.lost.is_empty())
    }

    fn watch(&mut self, range: Range, now: UnixNanos) {
        if self.open.len() == OPEN {
            self.lost.push(self.open.remove(0).0);
        }
        self.open.push((range, now.plus(PATIENCE)));
    }

    /// Records that a missing number has arrived after all.
    fn fill(&mut self, number: u64) {
        let Some(at) = self.open.iter().position(|(r, _)| (r.from..=r.to).contains(&number)) else { return };
        let (range, deadline) = self.open.remove(at);
        let rest = [Range { to: number.saturating_sub(1), ..range }, Range { from: number + 1, ..range }];
        self.open.extend(rest.into_iter().filter(|r| r.from <= r.to).map(|r| (r, deadline)));
    }

    /// Removes and returns the numbers that count as lost at `now`.
    pub(super) fn due(&mut self, now: UnixNanos) -> Vec<Range> {
        let mut lost = std::mem::take(&mut self.lost);
        self.open.retain(|(range, deadline)| {
            let waits = *deadline > now;
            if !waits {
                lost.push(*range);
            }
            waits
        });
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: UnixNanos = UnixNanos::from_secs(10);

    fn losses(numbers: &[u64]) -> Vec<Range> {
        let mut losses = Losses::default();
        numbers.iter().for_each(|number| losses.observe(*number, UnixNanos::EPOCH));
        assert_eq!(losses.due(UnixNanos::EPOCH), [], "nothing is lost before it was waited for");
        losses.due(LATER)
    }

    #[test]
    fn a_jump_is_a_loss_and_repeats_are_none() {
        assert_eq!(losses(&[5, 6, 6, 7]), []);
        assert_eq!(losses(&[5, 9, 10]), [Range { from: 6, to: 8 }]);
    }

    #[test]
    fn what_comes_out_of_order_is_not_lost() {
        assert_eq!(losses(&[5, 7, 6, 8]), []);
        assert_eq!(losses(&[5, 9, 7]), [Range { from: 6, to: 6 }, Range { from: 8, to: 8 }]);
    }
}
