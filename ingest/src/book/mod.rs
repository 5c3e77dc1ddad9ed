//! Order books: levels, and the proof that no update is missing.

mod continuity;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use bond_core::decimal::Price;
use bond_core::event::{BookUpdate, BookUpdateKind, Level};

pub use continuity::{Continuity, UpdateIds, Verdict};

/// Levels kept on each side; the worst beyond them are dropped.
const MAX_LEVELS: usize = 10_000;

/// A snapshot with this many levels on a side was cut by the venue's limit (Binance gives 1,000 or 5,000); a smaller one is taken
/// for the whole of what the venue serves.
const CUT_SNAPSHOT: usize = 1_000;

/// An order book with exact levels. It applies what it is given: whether that is contiguous is for [`Continuity`] to say.
#[derive(Clone, Debug)]
pub struct Book {
    bids: BookSide,
    asks: BookSide,
    last_id: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            bids: BookSide::new(|price, other| price.cmp(&other)),
            asks: BookSide::new(|price, other| other.cmp(&price)),
            last_id: 0,
        }
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

    /// Whether the best bid is not below the best ask, which no venue's continuous trading shows.
    pub fn is_crossed(&self) -> bool {
        match (self.best_bid(), self.best_ask()) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
    }

    /// Whether the best `depth` levels of both sides lie within the prices that the snapshot covered. Beyond them levels are
    /// unknown until they change, so a book should be seeded anew before this turns false.
    pub fn covers(&self, depth: usize) -> bool {
        self.bids.covers(depth) && self.asks.covers(depth)
    }
}

/// One side, sorted with the best level last: most changes happen near the best price, where little has to be moved.
#[derive(Clone, Debug)]
struct BookSide {
    levels: Vec<Level>,
    /// The worst price that the snapshot covered; `None` where it was not cut.
    horizon: Option<Price>,
    /// How two prices compare from worse to better.
    order: fn(Price, Price) -> Ordering,
}

impl BookSide {
    const fn new(order: fn(Price, Price) -> Ordering) -> Self {
        Self { levels: Vec::new(), horizon: None, order }
    }

    fn replace(&mut self, levels: &[Level]) {
        self.levels.clear();
        self.horizon = None;
        levels.iter().rev().for_each(|level| self.set(*level));
        if levels.len() >= CUT_SNAPSHOT {
            self.horizon = self.levels.first().map(|worst| worst.price);
        }
    }

    fn set(&mut self, level: Level) {
        let place = self.levels.binary_search_by(|held| (self.order)(held.price, level.price));
        match place {
            Ok(at) if level.size.is_zero() => drop(self.levels.remove(at)),
            Ok(at) => self.levels[at] = level,
            Err(_) if level.size.is_zero() => {}
            Err(at) => self.insert(at, level),
        }
    }

    fn insert(&mut self, at: usize, level: Level) {
        self.levels.insert(at, level);
        if self.levels.len() > MAX_LEVELS {
            self.levels.remove(0);
            let worst = self.levels[0].price;
            let nearer = self.horizon.is_none_or(|horizon| (self.order)(horizon, worst).is_lt());
            self.horizon = if nearer { Some(worst) } else { self.horizon };
        }
    }

    fn best_first(&self) -> impl Iterator<Item = Level> + '_ {
        self.levels.iter().rev().copied()
    }

    fn covers(&self, depth: usize) -> bool {
        let Some(horizon) = self.horizon else { return true };
        let Some(place) = self.levels.len().checked_sub(depth.max(1)) else { return false };
        (self.order)(self.levels[place].price, horizon).is_ge()
    }
}
