//! Binance's two kinds of depth stream: differences, and the best few levels.

use std::collections::BTreeMap;

use super::super::levels;
use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::frame::Outlet;
use crate::market::{Change, Instrument, Level, Side};

/// `<symbol>@depth[@…ms]`: every level touched since the last event, with its quantity now.
///
/// A level that changed and changed back is sent too: a snapshot may have been taken in between.
#[derive(Debug)]
pub(super) struct Diff {
    stream: String,
    period: u64,
    /// `u` of the last event.
    last_u: u64,
    touched: BTreeMap<(Side, i64), i64>,
}

/// `<symbol>@depth<5|10|20>[@…ms]`.
#[derive(Debug)]
pub(super) struct Partial {
    stream: String,
    depth: usize,
    period: u64,
    last_u: u64,
}

/// Spot publishes each second or, with `@100ms`, ten times; USD-M each 250 ms, 500 ms or 100 ms.
fn periods(market: Market) -> &'static [(&'static str, u64)] {
    match market {
        Market::Spot => &[("", 1_000), ("@100ms", 100)],
        Market::Perpetual => &[("", 250), ("@500ms", 500), ("@100ms", 100)],
    }
}

pub(super) fn diffs(market: Market, symbol: &str, sequence: u64) -> Vec<Diff> {
    let diff = |(suffix, ms): &(&str, u64)| Diff {
        stream: format!("{symbol}@depth{suffix}"),
        period: ms * MILLI,
        last_u: sequence,
        touched: BTreeMap::new(),
    };
    periods(market).iter().map(diff).collect()
}

pub(super) fn partials(market: Market, symbol: &str, sequence: u64) -> Vec<Partial> {
    let with_depth = |depth: usize| {
        periods(market).iter().map(move |(suffix, ms)| Partial {
            stream: format!("{symbol}@depth{depth}{suffix}"),
            depth,
            period: ms * MILLI,
            last_u: sequence,
        })
    };
    [5, 10, 20].into_iter().flat_map(with_depth).collect()
}

impl Diff {
    pub(super) fn boundary(
        &mut self,
        market: Market,
        instrument: &Instrument,
        changes: &[Change],
        at: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        self.touched
            .extend(changes.iter().map(|change| ((change.side, change.level.ticks), change.level.lots)));
        if !at.is_multiple_of(self.period) || instrument.book.sequence == self.last_u {
            return;
        }
        outlet.binance(&self.stream, instrument.book.sequence, || self.encode(market, instrument, at));
        self.last_u = instrument.book.sequence;
        self.touched.clear();
    }

    fn encode(&self, market: Market, instrument: &Instrument, at: UnixNanos) -> String {
        let spec = &instrument.spec;
        let (ms, first, last) = (at / MILLI, self.last_u + 1, instrument.book.sequence);
        let (time, previous) = match market {
            Market::Spot => (String::new(), String::new()),
            Market::Perpetual => (format!("\"T\":{ms},"), format!("\"pu\":{},", self.last_u)),
        };
        format!(
            "{{\"e\":\"depthUpdate\",\"E\":{ms},{time}\"s\":\"{}\",\"U\":{first},\"u\":{last},{previous}\"b\":{},\"a\":{}}}",
            spec.symbol,
            levels(spec, &self.of(Side::Bid), ""),
            levels(spec, &self.of(Side::Ask), ""),
        )
    }

    fn of(&self, side: Side) -> Vec<Level> {
        let of_side = self.touched.iter().filter(|((touched, _), _)| *touched == side);
        of_side.map(|((_, ticks), lots)| Level { ticks: *ticks, lots: *lots }).collect()
    }

    pub(super) fn jump(&mut self, by: u64) {
        self.last_u += by;
    }
}

impl Partial {
    pub(super) fn boundary(
        &mut self,
        market: Market,
        instrument: &Instrument,
        at: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        let sequence = instrument.book.sequence;
        if !at.is_multiple_of(self.period) || sequence == self.last_u {
            return;
        }
        let side = |side| levels(&instrument.spec, &instrument.book.top(side, self.depth), "");
        let (ms, symbol, previous) = (at / MILLI, &instrument.spec.symbol, self.last_u);
        outlet.binance(&self.stream, sequence, || {
            let (bids, asks) = (side(Side::Bid), side(Side::Ask));
            match market {
                Market::Spot => format!("{{\"lastUpdateId\":{sequence},\"bids\":{bids},\"asks\":{asks}}}"),
                Market::Perpetual => format!(
                    "{{\"e\":\"depthUpdate\",\"E\":{ms},\"T\":{ms},\"s\":\"{symbol}\",\"U\":{},\"u\":{sequence},\"pu\":{previous},\"b\":{bids},\"a\":{asks}}}",
                    previous + 1,
                ),
            }
        });
        self.last_u = sequence;
    }
}
