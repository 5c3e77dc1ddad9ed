//! Collects what a frame means.

use std::sync::Arc;

use bond_core::decimal::Price;
use bond_core::event::{MarketData, MarketEvent};
use bond_core::time::UnixNanos;

use super::wire::{Time, is_above_zero};
use super::{Decoded, Listing, NoTrade, Reject};

/// The two lists that a decoder fills.
pub(super) struct Sink<'a> {
    received: UnixNanos,
    out: &'a mut Vec<Decoded>,
    rejects: &'a mut Vec<Reject>,
}

impl<'a> Sink<'a> {
    pub(super) const fn new(
        received: UnixNanos,
        out: &'a mut Vec<Decoded>,
        rejects: &'a mut Vec<Reject>,
    ) -> Self {
        Self { received, out, rejects }
    }

    /// Reads one frame. If `read` adds nothing, the frame is recorded as a sign of life, so that no frame goes unnoticed.
    pub(super) fn frame(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Reject>) {
        let before = self.out.len() + self.rejects.len();
        if let Err(reject) = read(self) {
            self.rejects.push(reject);
        }
        if self.out.len() + self.rejects.len() == before {
            self.out.push(Decoded::Alive);
        }
    }

    /// The time, if there is one. A value that cannot be a time is counted as a rejection.
    pub(super) fn time(&mut self, time: Time) -> Option<UnixNanos> {
        time.unwrap_or_else(|reject| {
            self.reject(reject);
            None
        })
    }

    /// Adds an event, after the checks that apply to every venue: a print without a price or an amount is not a trade, a figure that is not
    /// above zero counts as unknown, and a liquidation without an amount is left out.
    pub(super) fn event(&mut self, listing: &Listing, ts_exchange: Option<UnixNanos>, mut data: MarketData) {
        let instrument = Arc::clone(&listing.instrument);
        match &mut data {
            MarketData::Trade(trade) => {
                if !is_above_zero(trade.price.get()) || !is_above_zero(trade.size.get()) {
                    let number = trade.trade_id.parse().ok();
                    return self.push(Decoded::Print { instrument, kind: NoTrade::NotAboveZero, number });
                }
            }
            MarketData::Liquidation(liquidation) if !is_above_zero(liquidation.size.get()) => {
                return self.push(Decoded::Ignored("a liquidation of nothing"));
            }
            MarketData::Ticker(ticker) => {
                [&mut ticker.last, &mut ticker.mark, &mut ticker.index].into_iter().for_each(only_above_zero);
            }
            MarketData::Funding(funding) => {
                [&mut funding.mark, &mut funding.index].into_iter().for_each(only_above_zero);
            }
            MarketData::Liquidation(_) | MarketData::Book(_) => {}
        }
        self.out.push(Decoded::Event(MarketEvent { instrument, ts_event: self.received, ts_exchange, data }));
    }

    /// Adds an event with a time that is not checked yet.
    pub(super) fn event_at(&mut self, listing: &Listing, time: Time, data: MarketData) {
        let ts_exchange = self.time(time);
        self.event(listing, ts_exchange, data);
    }

    pub(super) fn push(&mut self, decoded: Decoded) {
        self.out.push(decoded);
    }

    pub(super) fn reject(&mut self, reject: Reject) {
        self.rejects.push(reject);
    }
}

fn only_above_zero(price: &mut Option<Price>) {
    *price = price.filter(|price| is_above_zero(price.get()));
}
