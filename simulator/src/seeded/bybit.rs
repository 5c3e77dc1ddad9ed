//! Bybit v5 public topics over the seeded market.
//!
//! Source of shapes and periods: Bybit v5 WebSocket docs, read 2026-11.

mod encode;
mod ticker;

use serde_json::{Value, json};

use self::encode::{liquidation_datum, message, trade_id, trade_message};
use self::ticker::Ticker;
use super::list::{bybit_answer, bybit_category};
use super::view::View;
use super::{Listing, Wire, bybit_info, levels};
use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::frame::Outlet;
use crate::market::{Event, Instrument, Liquidation, Side, Spec};
use crate::rest::{Answer, Request};

/// Depths of `orderbook` and how often each is published.
const BOOKS: [(usize, u64); 4] = [(1, 10), (50, 20), (200, 100), (1_000, 200)];
/// Level 1 is sent again after so long without change.
const REPEAT: u64 = 3_000 * MILLI;

#[derive(Debug)]
pub(super) struct SeededBybit {
    market: Market,
    topics: Vec<Topics>,
}

/// What the topics of one instrument published last.
#[derive(Debug)]
struct Topics {
    books: Vec<SeededBook>,
    ticker: Ticker,
    /// Liquidations of the present half second.
    liquidations: Vec<Liquidation>,
}

#[derive(Debug)]
struct SeededBook {
    topic: String,
    view: View,
}

impl Topics {
    fn new(instrument: &Instrument) -> Self {
        let symbol = &instrument.spec.symbol;
        let books = BOOKS.iter().map(|(depth, ms)| SeededBook {
            topic: format!("orderbook.{depth}.{symbol}"),
            view: View::new(instrument, *depth, ms * MILLI),
        });
        Self { books: books.collect(), ticker: Ticker::default(), liquidations: Vec::new() }
    }
}

impl SeededBybit {
    pub(super) fn new(market: Market, instruments: &[Instrument]) -> Self {
        Self { market, topics: instruments.iter().map(Topics::new).collect() }
    }

    fn liquidations(&mut self, index: usize, spec: &Spec, at: UnixNanos, outlet: &mut Outlet<'_>) {
        let waiting = &mut self.topics[index].liquidations;
        if waiting.is_empty() || !at.is_multiple_of(500 * MILLI) {
            return;
        }
        let data: Vec<Value> =
            waiting.drain(..).map(|liquidation| liquidation_datum(spec, &liquidation)).collect();
        let topic = format!("allLiquidation.{}", spec.symbol);
        outlet.plain(&topic, at / MILLI, || {
            json!({"topic": topic, "type": "snapshot", "ts": at / MILLI, "data": data}).to_string()
        });
    }
}

impl SeededBook {
    fn boundary(&mut self, instrument: &Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
        let first_level = self.topic.starts_with("orderbook.1.");
        let delta = self.view.publish(instrument, at);
        let (topic, view) = (&self.topic, &self.view);
        match delta {
            Some(delta) if !first_level => outlet.plain(topic, view.updates, || {
                message(topic, "delta", &instrument.spec, &delta.bids, &delta.asks, view)
            }),
            Some(_) => self.send_snapshot(&instrument.spec, outlet),
            None if first_level && at >= view.at + REPEAT => {
                self.view.at = at;
                self.send_snapshot(&instrument.spec, outlet);
            }
            None => {}
        }
    }

    fn send_snapshot(&self, spec: &Spec, outlet: &mut Outlet<'_>) {
        let (topic, view) = (&self.topic, &self.view);
        outlet.plain(topic, view.updates, || message(topic, "snapshot", spec, &view.bids, &view.asks, view));
    }
}

impl Wire for SeededBybit {
    fn event(&mut self, index: usize, instrument: &Instrument, event: &Event, outlet: &mut Outlet<'_>) {
        let spec = &instrument.spec;
        match event {
            Event::Trade(trade) => {
                let topic = format!("publicTrade.{}", spec.symbol);
                outlet.plain(&topic, trade_id(spec, trade.id), || trade_message(&topic, spec, trade));
            }
            Event::Liquidation(liquidation) => {
                self.topics[index].liquidations.push(liquidation.clone());
            }
            Event::Top { .. } => {}
        }
    }

    fn boundary(
        &mut self,
        index: usize,
        instrument: &mut Instrument,
        at: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        instrument.take_changes();
        for book in &mut self.topics[index].books {
            book.boundary(instrument, at, outlet);
        }
        self.topics[index].ticker.boundary(instrument, at, outlet);
        self.liquidations(index, &instrument.spec, at, outlet);
    }

    fn greet(
        &mut self,
        instruments: &mut [Instrument],
        stream: &str,
        now: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        let Some((channel, symbol)) = stream.rsplit_once('.') else {
            return;
        };
        let Some(index) = instruments.iter().position(|instrument| instrument.spec.symbol == symbol) else {
            return;
        };
        if channel == "tickers" {
            return self.topics[index].ticker.greet(&mut instruments[index], now, outlet);
        }
        if let Some(book) = self.topics[index].books.iter().find(|book| book.topic == stream) {
            book.send_snapshot(&instruments[index].spec, outlet);
        }
    }

    fn answer(&mut self, instruments: &mut [Instrument], request: &Request, now: UnixNanos) -> Answer {
        match request.path.as_str() {
            "/v5/market/time" => {
                let seconds =
                    json!({"timeSecond": (now / 1_000 / MILLI).to_string(), "timeNano": now.to_string()});
                bybit_answer(0, "OK", seconds, now)
            }
            "/v5/market/instruments-info" => {
                let listings: Vec<Listing> =
                    instruments.iter().map(|instrument| Listing::of(&instrument.spec)).collect();
                bybit_info(self.market, &listings, request, now)
            }
            "/v5/market/orderbook" => self.rest_book(instruments, request, now),
            _ => Answer::new(404, r#"{"msg":"Not Found"}"#),
        }
    }

    fn jump(&mut self, index: usize, instrument: &mut Instrument, by: u64) {
        instrument.jump(by);
        self.topics[index].books.iter_mut().for_each(|book| book.view.jump(by));
    }

    fn book_stream(&self, spec: &Spec) -> String {
        format!("orderbook.50.{}", spec.symbol)
    }
}

impl SeededBybit {
    fn rest_book(&self, instruments: &[Instrument], request: &Request, now: UnixNanos) -> Answer {
        let error = |message: &str| bybit_answer(10001, message, json!({}), now);
        if request.get("category") != Some(bybit_category(self.market)) {
            return error("params error: category is invalid or not simulated here");
        }
        let wanted = request.get("symbol").unwrap_or_default();
        let Some(index) = instruments.iter().position(|instrument| instrument.spec.symbol == wanted) else {
            return error("params error: symbol invalid");
        };
        let most = if self.market == Market::Spot { 200 } else { 500 };
        let default = if self.market == Market::Spot { 1 } else { 25 };
        let Some(depth) = request.number("limit", default).filter(|depth| (1..=most).contains(depth)) else {
            return error("params error: limit invalid");
        };
        self.book_answer(index, &instruments[index], depth, now)
    }

    fn book_answer(&self, index: usize, instrument: &Instrument, depth: usize, now: UnixNanos) -> Answer {
        let spec = &instrument.spec;
        let side = |side| levels(spec, &instrument.book.top(side, depth), "");
        let (bids, asks, ms) = (side(Side::Bid), side(Side::Ask), now / MILLI);
        let updates = self.topics[index].books.last().map_or(1, |book| book.view.updates);
        Answer::new(
            200,
            format!(
                "{{\"retCode\":0,\"retMsg\":\"OK\",\"result\":{{\"s\":\"{}\",\"b\":{bids},\"a\":{asks},\"ts\":{ms},\"u\":{updates},\"seq\":{},\"cts\":{ms}}},\"retExtInfo\":{{}},\"time\":{ms}}}",
                spec.symbol, instrument.book.sequence,
            ),
        )
    }
}
