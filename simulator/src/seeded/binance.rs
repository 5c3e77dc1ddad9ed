//! Binance: spot streams and USD-M futures, over the seeded market.
//!
//! Source of shapes and periods: Binance spot `web-socket-streams.md`, `rest-api.md` and the USD-M docs, read 2026-11.

mod depth;
mod encode;

use serde_json::json;

use self::depth::{Diff, Partial};
use self::encode::{agg_trade, force_order, mark_price, mini_ticker, spot_trade, ticker};
use super::{Listing, Wire, binance_info, levels};
use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::frame::Outlet;
use crate::market::{Event, Instrument, Level, Side, Spec, Trade};
use crate::rest::{Answer, Request};

#[derive(Debug)]
pub(super) struct SeededBinance {
    market: Market,
    symbols: Vec<Symbol>,
}

/// Names and depth streams of one instrument.
#[derive(Debug)]
struct Symbol {
    /// `btcusdt`, as stream names begin.
    lower: String,
    trade: String,
    agg_trade: String,
    book_ticker: String,
    diffs: Vec<Diff>,
    partials: Vec<Partial>,
}

impl SeededBinance {
    pub(super) fn new(market: Market, instruments: &[Instrument]) -> Self {
        let symbols = instruments.iter().map(|instrument| Symbol::new(market, instrument)).collect();
        Self { market, symbols }
    }

    fn book_ticker(&self, spec: &Spec, at: UnixNanos, sequence: u64, bid: Level, ask: Level) -> String {
        let ms = at / MILLI;
        let (before, after) = match self.market {
            Market::Spot => (String::new(), String::new()),
            Market::Perpetual => ("\"e\":\"bookTicker\",".to_owned(), format!(",\"T\":{ms},\"E\":{ms}")),
        };
        format!(
            "{{{before}\"u\":{sequence},\"s\":\"{}\",\"b\":\"{}\",\"B\":\"{}\",\"a\":\"{}\",\"A\":\"{}\"{after}}}",
            spec.symbol,
            spec.price(bid.ticks),
            spec.size(bid.lots),
            spec.price(ask.ticks),
            spec.size(ask.lots),
        )
    }

    fn trade(&self, symbol: &Symbol, spec: &Spec, trade: &Trade, outlet: &mut Outlet<'_>) {
        if self.market == Market::Spot {
            outlet.binance(&symbol.trade, trade.id, || spot_trade(spec, trade));
        }
        outlet.binance(&symbol.agg_trade, trade.id, || agg_trade(self.market, spec, trade));
    }

    fn tickers(&self, index: usize, instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
        let lower = &self.symbols[index].lower;
        let open = instrument.fair.day_open(at);
        outlet.binance(&format!("{lower}@ticker"), instrument.last.id, || ticker(instrument, open, at));
        outlet.binance(&format!("{lower}@miniTicker"), instrument.last.id, || {
            mini_ticker(instrument, open, at)
        });
    }

    fn mark_price(&self, index: usize, instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
        let lower = &self.symbols[index].lower;
        let mark = mark_price(instrument, at);
        outlet.binance(&format!("{lower}@markPrice@1s"), at / MILLI, || mark.clone());
        if at.is_multiple_of(3_000 * MILLI) {
            outlet.binance(&format!("{lower}@markPrice"), at / MILLI, || mark);
        }
    }

    /// Limits that the REST depth accepts: any up to 5000 on spot, a fixed set on USD-M.
    fn depth_limit(&self, request: &Request) -> Option<usize> {
        let limit = request.number("limit", if self.market == Market::Spot { 100 } else { 500 })?;
        let valid = match self.market {
            Market::Spot => (1..=5_000).contains(&limit),
            Market::Perpetual => [5, 10, 20, 50, 100, 500, 1_000].contains(&limit),
        };
        valid.then_some(limit)
    }

    fn depth(&self, instruments: &[Instrument], request: &Request, now: UnixNanos) -> Answer {
        let Some(name) = request.get("symbol") else {
            return error(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.");
        };
        let Some(instrument) = instruments.iter().find(|instrument| instrument.spec.symbol == name) else {
            return error(-1121, "Invalid symbol.");
        };
        let Some(limit) = self.depth_limit(request) else {
            return error(-1130, "Data sent for parameter 'limit' is not valid.");
        };
        let ms = now / MILLI;
        let times =
            if self.market == Market::Spot { String::new() } else { format!("\"E\":{ms},\"T\":{ms},") };
        let side = |side| levels(&instrument.spec, &instrument.book.top(side, limit), "");
        let (id, bids, asks) = (instrument.book.sequence, side(Side::Bid), side(Side::Ask));
        Answer::new(200, format!("{{\"lastUpdateId\":{id},{times}\"bids\":{bids},\"asks\":{asks}}}"))
    }
}

fn error(code: i32, message: &str) -> Answer {
    Answer::json(400, json!({"code": code, "msg": message}))
}

impl Wire for SeededBinance {
    fn event(&mut self, index: usize, instrument: &Instrument, event: &Event, outlet: &mut Outlet<'_>) {
        let (symbol, spec) = (&self.symbols[index], &instrument.spec);
        match event {
            Event::Trade(trade) => self.trade(symbol, spec, trade, outlet),
            Event::Top { at, sequence, bid, ask } => {
                let encode = || self.book_ticker(spec, *at, *sequence, *bid, *ask);
                outlet.binance(&symbol.book_ticker, sequence, encode);
            }
            Event::Liquidation(liquidation) => {
                let stream = format!("{}@forceOrder", symbol.lower);
                outlet.binance(&stream, liquidation.at / MILLI, || force_order(spec, liquidation));
            }
        }
    }

    fn boundary(
        &mut self,
        index: usize,
        instrument: &mut Instrument,
        at: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        let changes = instrument.take_changes();
        let symbol = &mut self.symbols[index];
        for diff in &mut symbol.diffs {
            diff.boundary(self.market, instrument, &changes, at, outlet);
        }
        for partial in &mut symbol.partials {
            partial.boundary(self.market, instrument, at, outlet);
        }
        if at.is_multiple_of(1_000 * MILLI) {
            self.tickers(index, instrument, at, outlet);
            if self.market == Market::Perpetual {
                self.mark_price(index, instrument, at, outlet);
            }
        }
    }

    /// Binance greets nobody: a stream begins with its next event.
    fn greet(&mut self, _: &mut [Instrument], _: &str, _: UnixNanos, _: &mut Outlet<'_>) {}

    fn answer(&mut self, instruments: &mut [Instrument], request: &Request, now: UnixNanos) -> Answer {
        let base = if self.market == Market::Spot { "/api/v3" } else { "/fapi/v1" };
        match request.path.strip_prefix(base) {
            Some("/ping") => Answer::new(200, "{}"),
            Some("/time") => Answer::json(200, json!({"serverTime": now / MILLI})),
            Some("/depth") => self.depth(instruments, request, now),
            Some("/exchangeInfo") => {
                let listings: Vec<Listing> =
                    instruments.iter().map(|instrument| Listing::of(&instrument.spec)).collect();
                binance_info(self.market, listings, request, now)
            }
            _ => Answer::new(404, r#"{"msg":"Not Found"}"#),
        }
    }

    fn jump(&mut self, index: usize, instrument: &mut Instrument, by: u64) {
        instrument.jump(by);
        self.symbols[index].diffs.iter_mut().for_each(|diff| diff.jump(by));
    }

    fn book_stream(&self, spec: &Spec) -> String {
        format!("{}@depth@100ms", spec.symbol.to_lowercase())
    }
}

impl Symbol {
    fn new(market: Market, instrument: &Instrument) -> Self {
        let lower = instrument.spec.symbol.to_lowercase();
        let name = |suffix: &str| format!("{lower}@{suffix}");
        let sequence = instrument.book.sequence;
        Self {
            trade: name("trade"),
            agg_trade: name("aggTrade"),
            book_ticker: name("bookTicker"),
            diffs: depth::diffs(market, &lower, sequence),
            partials: depth::partials(market, &lower, sequence),
            lower,
        }
    }
}
