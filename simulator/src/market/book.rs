//! A limit order book in whole ticks and lots, which remembers what changed.

use std::collections::BTreeMap;

/// A side of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Bid,
    Ask,
}

impl Side {
    /// Whom an order of this side trades with.
    pub(crate) fn opposite(self) -> Self {
        match self {
            Side::Bid => Side::Ask,
            Side::Ask => Side::Bid,
        }
    }
}

/// A price in ticks and the quantity resting there in lots; 0 lots means that the level is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Level {
    pub(crate) ticks: i64,
    pub(crate) lots: i64,
}

/// One level set to a quantity. Each has an update id of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) side: Side,
    pub(crate) level: Level,
}

/// The book. It never crosses: `set` refuses a bid at or above the best ask, and the reverse.
#[derive(Debug, Default)]
pub(crate) struct Book {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    /// Id of the last change.
    pub(crate) sequence: u64,
}

impl Book {
    pub(crate) fn new(sequence: u64) -> Self {
        Self { sequence, ..Self::default() }
    }

    /// Sets a level; answers whether anything changed.
    pub(crate) fn set(&mut self, side: Side, ticks: i64, lots: i64) -> bool {
        if lots > 0 && self.would_cross(side, ticks) {
            return false;
        }
        let levels = self.side_mut(side);
        let before = if lots > 0 { levels.insert(ticks, lots) } else { levels.remove(&ticks) };
        let changed = before.unwrap_or(0) != lots;
        self.sequence += u64::from(changed);
        changed
    }

    fn would_cross(&self, side: Side, ticks: i64) -> bool {
        match side {
            Side::Bid => self.best(Side::Ask).is_some_and(|ask| ticks >= ask.ticks),
            Side::Ask => self.best(Side::Bid).is_some_and(|bid| ticks <= bid.ticks),
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut BTreeMap<i64, i64> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    pub(crate) fn len(&self, side: Side) -> usize {
        match side {
            Side::Bid => self.bids.len(),
            Side::Ask => self.asks.len(),
        }
    }

    pub(crate) fn quantity(&self, side: Side, ticks: i64) -> i64 {
        let levels = match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        };
        levels.get(&ticks).copied().unwrap_or(0)
    }

    pub(crate) fn best(&self, side: Side) -> Option<Level> {
        let entry = match side {
            Side::Bid => self.bids.last_key_value(),
            Side::Ask => self.asks.first_key_value(),
        };
        entry.map(level)
    }

    pub(crate) fn worst(&self, side: Side) -> Option<Level> {
        let entry = match side {
            Side::Bid => self.bids.first_key_value(),
            Side::Ask => self.asks.last_key_value(),
        };
        entry.map(level)
    }

    /// The best `depth` levels, best first.
    pub(crate) fn top(&self, side: Side, depth: usize) -> Vec<Level> {
        match side {
            Side::Bid => self.bids.iter().rev().take(depth).map(level).collect(),
            Side::Ask => self.asks.iter().take(depth).map(level).collect(),
        }
    }
}

fn level((ticks, lots): (&i64, &i64)) -> Level {
    Level { ticks: *ticks, lots: *lots }
}

/// What turns the levels `old` into `new`: both sorted the same way, by `before`.
pub(crate) fn difference(old: &[Level], new: &[Level], before: fn(i64, i64) -> bool) -> Vec<Level> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        match (old.get(i), new.get(j)) {
            (Some(o), Some(n)) if o.ticks == n.ticks => {
                out.extend((o.lots != n.lots).then_some(*n));
                (i, j) = (i + 1, j + 1);
            }
            (Some(o), n) if n.is_none_or(|n| before(o.ticks, n.ticks)) => {
                out.push(Level { ticks: o.ticks, lots: 0 });
                i += 1;
            }
            (_, Some(n)) => {
                out.push(*n);
                j += 1;
            }
            (_, None) => break,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(pairs: &[(i64, i64)]) -> Vec<Level> {
        pairs.iter().map(|(ticks, lots)| Level { ticks: *ticks, lots: *lots }).collect()
    }

    #[test]
    fn a_book_does_not_cross() {
        let mut book = Book::new(0);
        assert!(book.set(Side::Bid, 100, 1));
        assert!(!book.set(Side::Ask, 100, 1));
        assert!(book.set(Side::Ask, 101, 1));
        assert!(!book.set(Side::Bid, 101, 1));
        assert_eq!(book.sequence, 2);
    }

    #[test]
    fn a_difference_adds_changes_and_deletes() {
        let old = levels(&[(10, 1), (9, 2), (7, 3)]);
        let new = levels(&[(11, 5), (9, 2), (7, 4)]);
        let expected = levels(&[(11, 5), (10, 0), (7, 4)]);
        assert_eq!(difference(&old, &new, |a, b| a > b), expected);
        assert_eq!(difference(&old, &[], |a, b| a > b).len(), 3);
        assert_eq!(difference(&[], &new, |a, b| a > b), new);
    }
}
