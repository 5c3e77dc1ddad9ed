//! What happens in a market, and the sums over it.

use rust_decimal::Decimal;

use super::book::{Level, Side};
use crate::clock::UnixNanos;

/// A trade at the touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trade {
    pub(crate) id: u64,
    pub(crate) ticks: i64,
    pub(crate) lots: i64,
    /// [`Side::Bid`] if the taker bought.
    pub(crate) taker: Side,
    /// Update id of the book after it.
    pub(crate) sequence: u64,
    pub(crate) at: UnixNanos,
}

impl Trade {
    /// What stands for the last trade before there is one.
    pub(super) fn none(id: u64, at: UnixNanos) -> Self {
        Self { id, ticks: 0, lots: 0, taker: Side::Bid, sequence: id, at }
    }
}

/// A forced order and the position it closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Liquidation {
    /// Side of the order: [`Side::Ask`] if a long position was liquidated.
    pub(crate) order: Side,
    pub(crate) ticks: i64,
    pub(crate) lots: i64,
    pub(crate) at: UnixNanos,
}

/// What happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Trade(Trade),
    /// The best bid or ask changed in price or quantity.
    Top {
        at: UnixNanos,
        sequence: u64,
        bid: Level,
        ask: Level,
    },
    Liquidation(Liquidation),
}

/// Totals since the simulator started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) trades: u64,
    pub(crate) lots: i64,
    pub(crate) quote: Decimal,
    pub(crate) high: i64,
    pub(crate) low: i64,
}

impl Totals {
    pub(super) fn add(&mut self, trade: &Trade, quote: Decimal) {
        self.low = if self.trades == 0 { trade.ticks } else { self.low.min(trade.ticks) };
        self.high = self.high.max(trade.ticks);
        self.trades += 1;
        self.lots += trade.lots;
        self.quote += quote;
    }
}
