//! The best levels of a book as they were last published, for channels of snapshot and deltas.

use crate::clock::UnixNanos;
use crate::market::{Instrument, Level, Side, difference};

/// A channel's copy of the book. All connections see the same copies, so that they see the same ids.
#[derive(Debug)]
pub(super) struct View {
    depth: usize,
    period: u64,
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
    /// Update id of the book when it was last published.
    pub(super) sequence: u64,
    /// Messages published, for venues that number them.
    pub(super) updates: u64,
    /// When it was last published.
    pub(super) at: UnixNanos,
}

/// What changed since the last publication.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) bids: Vec<Level>,
    pub(super) asks: Vec<Level>,
    pub(super) previous_sequence: u64,
}

impl View {
    /// The book as it is now, to be looked at every `period` nanoseconds.
    pub(super) fn new(instrument: &Instrument, depth: usize, period: u64) -> Self {
        Self {
            depth,
            period,
            bids: instrument.book.top(Side::Bid, depth),
            asks: instrument.book.top(Side::Ask, depth),
            sequence: instrument.book.sequence,
            updates: instrument.book.sequence,
            at: instrument.last.at,
        }
    }

    /// Publishes at a boundary; `None` if it is not this channel's, or its levels are as they were.
    pub(super) fn publish(&mut self, instrument: &Instrument, at: UnixNanos) -> Option<Delta> {
        if !at.is_multiple_of(self.period) || instrument.book.sequence == self.sequence {
            return None;
        }
        let bids = instrument.book.top(Side::Bid, self.depth);
        let asks = instrument.book.top(Side::Ask, self.depth);
        let delta = Delta {
            bids: difference(&self.bids, &bids, |a, b| a > b),
            asks: difference(&self.asks, &asks, |a, b| a < b),
            previous_sequence: self.sequence,
        };
        if delta.bids.is_empty() && delta.asks.is_empty() {
            return None;
        }
        (self.bids, self.asks) = (bids, asks);
        (self.sequence, self.at) = (instrument.book.sequence, at);
        self.updates += 1;
        Some(delta)
    }

    /// The next delta will not follow the last.
    pub(super) fn jump(&mut self, by: u64) {
        self.sequence += by;
        self.updates += by;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::MILLI;
    use crate::config::{Market, Venue};
    use crate::market::{Exchange, Step};

    const START: u64 = 1_795_000_000_000 * MILLI;

    fn apply(levels: &mut BTreeMap<i64, i64>, changes: &[Level]) {
        for Level { ticks, lots } in changes {
            if *lots == 0 {
                assert!(levels.remove(ticks).is_some(), "deleted a level that was not there");
            } else {
                levels.insert(*ticks, *lots);
            }
        }
    }

    fn as_map(levels: &[Level]) -> BTreeMap<i64, i64> {
        levels.iter().map(|level| (level.ticks, level.lots)).collect()
    }

    /// Follows the views of one instrument for two seconds.
    fn follow(seed: u64, depth: usize) {
        let mut exchange = Exchange::new(seed, Venue::Bybit, Market::Perpetual, 2_000.0, START);
        let mut view = View::new(&exchange.instruments[0], depth, 20 * MILLI);
        let (mut bids, mut asks) = (as_map(&view.bids), as_map(&view.asks));
        while exchange.due() < START + 2_000 * MILLI {
            let Step::Boundary { at } = exchange.step() else {
                continue;
            };
            let before = view.sequence;
            let Some(delta) = view.publish(&exchange.instruments[0], at) else {
                continue;
            };
            assert_eq!(delta.previous_sequence, before);
            apply(&mut bids, &delta.bids);
            apply(&mut asks, &delta.asks);
            assert_eq!(bids, as_map(&exchange.instruments[0].book.top(Side::Bid, depth)));
            assert_eq!(asks, as_map(&exchange.instruments[0].book.top(Side::Ask, depth)));
            assert!(bids.last_key_value().unwrap().0 < asks.first_key_value().unwrap().0);
        }
        assert_ne!(view.sequence, view.updates, "nothing was published");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn deltas_turn_the_snapshot_into_the_book(seed: u64, depth in 1_usize..400) {
            follow(seed, depth);
        }
    }
}
