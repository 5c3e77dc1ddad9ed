//! Order books: the levels, and the check that no update is missing.

mod continuity;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bond_core::decimal::{Price, Quantity};
use bond_core::event::{BookUpdate, BookUpdateKind, Level};

pub use continuity::{Continuity, UpdateIds, Verdict};

/// The most levels that are kept on each side. Beyond it the worst are dropped.
const MAX_LEVELS: usize = 10_000;

/// A snapshot with at least this many levels on a side counts as cut off by the venue's limit (Binance gives 1,000 or 5,000). A smaller one
/// counts as the whole book.
const CUT_SNAPSHOT: usize = 1_000;

/// An order book with exact levels. It applies every update; [`Continuity`] checks before whether updates are missing.
#[derive(Clone, Debug)]
pub struct Book {
    bids: BookSide<Reverse<Price>>,
    asks: BookSide<Price>,
    last_id: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self { bids: BookSide::new(), asks: BookSide::new(), last_id: 0 }
    }
}

impl Book {
    /// Applies an update: a snapshot replaces everything, a delta sets levels and removes those of size zero.
    pub fn apply(&mut self, update: &BookUpdate) {
        match update.kind {
            BookUpdateKind::Snapshot => {
                self.bids.replace(&update.bids);
                self.asks.replace(&update.asks);
            }
            BookUpdateKind::Delta => {
                update.bids.iter().for_each(|level| self.bids.set(*level));
                update.asks.iter().for_each(|level| self.asks.set(*level));
            }
        }
        self.last_id = update.last_id;
    }

    /// The venue's id after the last update.
    pub const fn last_id(&self) -> u64 {
        self.last_id
    }

    /// The highest bid.
    pub fn best_bid(&self) -> Option<Level> {
        self.bids.best_first().next()
    }

    /// The lowest ask.
    pub fn best_ask(&self) -> Option<Level> {
        self.asks.best_first().next()
    }

    /// The best `depth` bids, best first.
    pub fn bids(&self, depth: usize) -> Vec<Level> {
        self.bids.best_first().take(depth).collect()
    }

    /// The best `depth` asks, best first.
    pub fn asks(&self, depth: usize) -> Vec<Level> {
        self.asks.best_first().take(depth).collect()
    }

    /// Whether the best bid is at or above the best ask. In continuous trading this does not happen, so the book must be wrong.
    pub fn is_crossed(&self) -> bool {
        match (self.best_bid(), self.best_ask()) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
    }

    /// Whether the best `depth` levels of both sides lie within the prices that the snapshot covered. Levels beyond these prices are unknown
    /// until they change. A book therefore needs a new snapshot before this becomes false.
    pub fn covers(&self, depth: usize) -> bool {
        self.bids.covers(depth) && self.asks.covers(depth)
    }
}

/// A price as a key that sorts a side best first.
trait Rank: Copy + Ord {
    fn of(price: Price) -> Self;
    fn price(self) -> Price;
}

impl Rank for Price {
    fn of(price: Price) -> Self {
        price
    }

    fn price(self) -> Price {
        self
    }
}

impl Rank for Reverse<Price> {
    fn of(price: Price) -> Self {
        Self(price)
    }

    fn price(self) -> Price {
        self.0
    }
}

/// One side, best first. A tree took 115 ns a level on captures, a sorted vector 185 ns.
#[derive(Clone, Debug)]
struct BookSide<K> {
    levels: BTreeMap<K, Quantity>,
    /// The worst price that the snapshot covered; `None` if the snapshot was not cut off.
    horizon: Option<K>,
}

impl<K: Rank> BookSide<K> {
    const fn new() -> Self {
        Self { levels: BTreeMap::new(), horizon: None }
    }

    fn replace(&mut self, levels: &[Level]) {
        *self = Self::new();
        levels.iter().for_each(|level| self.set(*level));
        if levels.len() >= CUT_SNAPSHOT {
            self.horizon = self.worst();
        }
    }

    fn set(&mut self, level: Level) {
        if level.size.is_zero() {
            self.levels.remove(&K::of(level.price));
            return;
        }
        self.levels.insert(K::of(level.price), level.size);
        if self.levels.len() > MAX_LEVELS {
            self.levels.pop_last();
            self.horizon = self.horizon.into_iter().chain(self.worst()).min();
        }
    }

    fn worst(&self) -> Option<K> {
        self.levels.last_key_value().map(|(rank, _)| *rank)
    }

    fn best_first(&self) -> impl Iterator<Item = Level> + '_ {
        self.levels.iter().map(|(rank, size)| Level { price: rank.price(), size: *size })
    }

    fn covers(&self, depth: usize) -> bool {
        let Some(horizon) = self.horizon else { return true };
        self.levels.keys().nth(depth.saturating_sub(1)).is_some_and(|deepest| *deepest <= horizon)
    }
}
