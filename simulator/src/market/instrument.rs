//! One instrument: a book that traders keep near the fair price, by quoting, cancelling and trading at the touch.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;

use super::ASSETS;
use super::book::{Book, Change, Level, Side};
use super::event::{Event, Liquidation, Totals, Trade};
use super::fair::Fair;
use super::spec::Spec;
use crate::clock::{MILLI, UnixNanos};
use crate::config::Venue;

/// Levels that each side is kept at: more than a REST seed of 1000.
pub(crate) const LEVELS: usize = 1_200;
/// A side may grow this far over [`LEVELS`] before its worst are taken away.
const SLACK: usize = 50;
/// Mean distance of neighbouring levels, relative to the price.
const LEVEL_GAP: f64 = 3e-6;
/// A sweep trades with this many levels; those beyond are cancelled by their owners.
const SWEEP: usize = 3;
/// Ids rise by less than this per millisecond, so that those of a later run lie above those of an earlier.
const IDS_PER_MS: u64 = 100;

#[derive(Debug)]
pub(crate) struct Instrument {
    pub(crate) spec: Spec,
    pub(crate) book: Book,
    pub(crate) last: Trade,
    pub(crate) totals: Totals,
    pub(crate) fair: Fair,
    /// Every change since the last [`Instrument::take_changes`], which each boundary calls.
    changes: Vec<Change>,
    /// Lots worth about 20 USDT.
    unit: i64,
}

impl Instrument {
    pub(crate) fn new(seed: u64, venue: Venue, spec: Spec, start: UnixNanos, rng: &mut ChaCha8Rng) -> Self {
        let first_id = start / MILLI * IDS_PER_MS;
        let mut instrument = Self {
            unit: unit(&spec),
            book: Book::new(first_id),
            last: Trade::none(first_id, start),
            totals: Totals::default(),
            changes: Vec::new(),
            fair: Fair::new(seed, venue, &spec),
            spec,
        };
        instrument.open(start, rng);
        instrument
    }

    /// Fills the book and prints a first trade.
    fn open(&mut self, start: UnixNanos, rng: &mut ChaCha8Rng) {
        let (bid, ask) = self.fair.targets(start);
        for (side, ticks) in [(Side::Bid, bid), (Side::Ask, ask)] {
            let lots = self.random_lots(rng);
            self.set(side, ticks, lots);
            while self.book.len(side) < LEVELS && self.extend(side, rng) {}
        }
        self.trade(Side::Bid, 1, start);
        self.changes.clear();
    }

    /// One event: a trade or a quote, after which the book lies around the fair price again.
    pub(crate) fn act(&mut self, at: UnixNanos, liquidation: bool, rng: &mut ChaCha8Rng) -> Vec<Event> {
        let before = self.touch();
        let (bid, ask) = self.fair.targets(at);
        let mut events = self.follow(at, bid, ask, rng);
        if events.is_empty() && (liquidation || rng.random_bool(0.5)) {
            events.push(Event::Trade(self.trade_at_touch(at, rng)));
        } else if events.is_empty() {
            self.quote(bid, ask, rng);
        }
        self.restore(bid, ask, rng);
        self.add_liquidation(liquidation, &mut events);
        self.add_top(before, at, &mut events);
        events
    }

    /// Takers sweep what the price has left behind.
    fn follow(&mut self, at: UnixNanos, bid: i64, ask: i64, rng: &mut ChaCha8Rng) -> Vec<Event> {
        let stale = |book: &Book, side: Side| match side {
            Side::Ask => book.best(side).filter(|best| best.ticks <= bid),
            Side::Bid => book.best(side).filter(|best| best.ticks >= ask),
        };
        let mut events = Vec::new();
        for (side, taker) in [(Side::Ask, Side::Bid), (Side::Bid, Side::Ask)] {
            while let Some(level) = stale(&self.book, side) {
                if self.book.len(side) < 2 {
                    self.extend(side, rng);
                }
                if events.len() < SWEEP {
                    events.push(Event::Trade(self.trade(taker, level.lots, at)));
                } else {
                    self.set(side, level.ticks, 0);
                }
            }
        }
        events
    }

    fn trade_at_touch(&mut self, at: UnixNanos, rng: &mut ChaCha8Rng) -> Trade {
        let taker = if rng.random_bool(0.5) { Side::Bid } else { Side::Ask };
        let resting = self.book.best(taker.opposite()).map_or(1, |level| level.lots);
        let whole = self.book.len(taker.opposite()) > 1 && rng.random_bool(0.2);
        let lots = if whole { resting } else { rng.random_range(1..=resting).min(self.random_lots(rng)) };
        self.trade(taker, lots.min(resting), at)
    }

    /// A trade against the best level, which it reduces.
    fn trade(&mut self, taker: Side, lots: i64, at: UnixNanos) -> Trade {
        let maker = taker.opposite();
        let level = self.book.best(maker).unwrap_or(Level { ticks: self.last.ticks, lots });
        self.set(maker, level.ticks, level.lots - lots);
        let id = self.last.id + 1;
        self.last = Trade { id, ticks: level.ticks, lots, taker, sequence: self.book.sequence, at };
        self.totals.add(&self.last, self.spec.price(level.ticks) * self.spec.coins(lots));
        self.last.clone()
    }

    /// A level near the touch appears, changes or is cancelled; the nearer the likelier.
    fn quote(&mut self, bid: i64, ask: i64, rng: &mut ChaCha8Rng) {
        let side = if rng.random_bool(0.5) { Side::Bid } else { Side::Ask };
        let reach = 1_i64 << rng.random_range(0..10);
        let steps = rng.random_range(0..reach);
        let away = steps * self.level_gap(1);
        let ticks = if side == Side::Bid { bid - away } else { ask + away };
        let lots = self.random_lots(rng);
        let cancel = self.book.quantity(side, ticks) > 0 && rng.random_bool(0.4);
        self.set(side, ticks, if cancel { 0 } else { lots });
    }

    /// Quotes return to the target prices, and each side to its number of levels.
    fn restore(&mut self, bid: i64, ask: i64, rng: &mut ChaCha8Rng) {
        for (side, ticks) in [(Side::Bid, bid), (Side::Ask, ask)] {
            if self.book.quantity(side, ticks) == 0 && rng.random_bool(0.5) {
                let lots = self.random_lots(rng);
                self.set(side, ticks, lots);
            }
            while self.book.len(side) < LEVELS && self.extend(side, rng) {}
            while self.book.len(side) > LEVELS + SLACK {
                let Some(worst) = self.book.worst(side) else {
                    break;
                };
                self.set(side, worst.ticks, 0);
            }
        }
    }

    /// Adds a level beyond the worst; answers whether there was room for one.
    fn extend(&mut self, side: Side, rng: &mut ChaCha8Rng) -> bool {
        let Some(worst) = self.book.worst(side) else {
            return false;
        };
        let gap = rng.random_range(1..=2 * self.level_gap(2));
        let ticks = if side == Side::Bid { worst.ticks - gap } else { worst.ticks + gap };
        let lots = self.random_lots(rng);
        ticks > 0 && self.set(side, ticks, lots)
    }

    /// Mean gap in ticks between levels, divided.
    fn level_gap(&self, divisor: i64) -> i64 {
        let reference =
            self.book.best(Side::Bid).or(self.book.best(Side::Ask)).map_or(1, |level| level.ticks);
        ((reference as f64 * LEVEL_GAP) as i64 / divisor).max(1)
    }

    fn random_lots(&self, rng: &mut ChaCha8Rng) -> i64 {
        let size = 1_i64 << rng.random_range(0..10);
        let spread = rng.random_range(50..150);
        (self.unit * size * spread / 100).max(1)
    }

    fn set(&mut self, side: Side, ticks: i64, lots: i64) -> bool {
        let changed = self.book.set(side, ticks, lots);
        if changed {
            self.changes.push(Change { side, level: Level { ticks, lots } });
        }
        changed
    }

    /// Changes since the last call, in order of their update ids.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Best bid and ask.
    pub(crate) fn touch(&self) -> (Level, Level) {
        let nothing = Level { ticks: 0, lots: 0 };
        (self.book.best(Side::Bid).unwrap_or(nothing), self.book.best(Side::Ask).unwrap_or(nothing))
    }

    fn add_top(&self, before: (Level, Level), at: UnixNanos, events: &mut Vec<Event>) {
        let (bid, ask) = self.touch();
        if (bid, ask) != before {
            events.push(Event::Top { at, sequence: self.book.sequence, bid, ask });
        }
    }

    fn add_liquidation(&self, wanted: bool, events: &mut Vec<Event>) {
        let Some(Event::Trade(trade)) = events.last() else {
            return;
        };
        if wanted {
            let (order, ticks, lots, at) = (trade.taker, trade.ticks, trade.lots, trade.at);
            events.push(Event::Liquidation(Liquidation { order, ticks, lots, at }));
        }
    }

    /// Moves the update id forward without a change, as if updates had been lost.
    pub(crate) fn jump(&mut self, by: u64) {
        self.book.sequence += by;
    }
}

fn unit(spec: &Spec) -> i64 {
    let lot_in_coins = spec.coins(1);
    let price = Decimal::try_from(ASSETS[spec.asset].price).unwrap_or(Decimal::ONE);
    let lots = Decimal::from(20) / (lot_in_coins * price);
    i64::try_from(lots.trunc()).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use rand::SeedableRng;

    use super::*;
    use crate::config::Market;

    type Levels = BTreeMap<(Side, i64), i64>;

    fn best(levels: &Levels, side: Side) -> Option<i64> {
        let mut ticks = levels.keys().filter(|(of, _)| *of == side).map(|(_, ticks)| *ticks);
        if side == Side::Bid { ticks.next_back() } else { ticks.next() }
    }

    fn opened(rng: &mut ChaCha8Rng) -> (Instrument, Levels) {
        let spec = Spec::new(Venue::Binance, Market::Spot, 0);
        let instrument = Instrument::new(4, Venue::Binance, spec, 1_795_000_000_000 * MILLI, rng);
        let of = |side| {
            instrument
                .book
                .top(side, usize::MAX)
                .into_iter()
                .map(move |level| ((side, level.ticks), level.lots))
        };
        let levels = of(Side::Bid).chain(of(Side::Ask)).collect();
        (instrument, levels)
    }

    /// Applies changes to `levels`; each trade must be among them, in order, at what was then the best price.
    fn check(levels: &mut Levels, changes: &[Change], mut trades: VecDeque<Trade>) {
        for Change { side, level } in changes {
            let before = levels.get(&(*side, level.ticks)).copied().unwrap_or(0);
            let fits = |trade: &Trade| {
                (trade.taker.opposite(), trade.ticks, before - trade.lots) == (*side, level.ticks, level.lots)
            };
            if trades.front().is_some_and(fits) {
                trades.pop_front();
                assert_eq!(best(levels, *side), Some(level.ticks), "not at the touch");
            }
            if level.lots == 0 {
                levels.remove(&(*side, level.ticks));
            } else {
                levels.insert((*side, level.ticks), level.lots);
            }
        }
        assert!(trades.is_empty(), "no level was reduced by {trades:?}");
    }

    #[test]
    fn trades_print_at_the_touch_and_take_from_the_book_what_they_say() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (mut instrument, mut levels) = opened(&mut rng);
        let mut printed = 0;
        for step in 0..2_000 {
            let events = instrument.act((1_795_000_000_000 + step * 50) * MILLI, false, &mut rng);
            let of = |event| {
                if let Event::Trade(trade) = event { Some(trade) } else { None }
            };
            let trades: VecDeque<Trade> = events.into_iter().filter_map(of).collect();
            printed += trades.len();
            check(&mut levels, &instrument.take_changes(), trades);
        }
        assert!(printed > 500, "{printed} trades");
    }
}
