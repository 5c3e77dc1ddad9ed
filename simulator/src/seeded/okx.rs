//! OKX v5 public channels over the seeded market.
//!
//! Source of shapes and periods: OKX API v5 docs, read 2026-11. A book's `checksum` is 0, as it has been since 2026-06-23.

mod encode;

use serde_json::json;

use self::encode::{
    LEVEL_REST, liquidation_push, name, put_funding, put_mark_price, put_open_interest, put_short_book,
    put_snapshot, put_ticker, trade_push, update,
};
use super::list::okx_error;
use super::view::{Delta, View};
use super::{Listing, Wire, levels, okx_info};
use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::frame::Outlet;
use crate::market::{Event, Instrument, Side, Spec};
use crate::rest::{Answer, Request};

/// Levels of `books`.
const BOOK_DEPTH: usize = 400;
/// An unchanged book is confirmed by an empty update.
const IDLE_UPDATE: u64 = 60_000 * MILLI;
#[derive(Debug)]
pub(super) struct SeededOkx {
    channels: Vec<Channels>,
}

/// What the channels of one instrument published last.
#[derive(Debug)]
struct Channels {
    book: View,
    best_five: View,
    best: View,
    ticker: u64,
    /// Id of the last trade published. It grows by the fills in a trade.
    trade_id: u64,
}

impl Channels {
    fn new(instrument: &Instrument) -> Self {
        Self {
            book: View::new(instrument, BOOK_DEPTH, 100 * MILLI),
            best_five: View::new(instrument, 5, 100 * MILLI),
            best: View::new(instrument, 1, 10 * MILLI),
            ticker: instrument.book.sequence,
            trade_id: instrument.last.id,
        }
    }
}

impl SeededOkx {
    pub(super) fn new(instruments: &[Instrument]) -> Self {
        Self { channels: instruments.iter().map(Channels::new).collect() }
    }

    /// The finest channel first, so that a best price is known when the book that shows it comes.
    fn books(&mut self, index: usize, instrument: &Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
        let (spec, channels) = (&instrument.spec, &mut self.channels[index]);
        for (channel, view) in [("bbo-tbt", &mut channels.best), ("books5", &mut channels.best_five)] {
            if view.publish(instrument, at).is_some() {
                put_short_book(channel, spec, view, outlet);
            }
        }
        let view = &mut channels.book;
        if let Some(delta) = view.publish(instrument, at) {
            outlet.plain(&name("books", spec), view.sequence, || update(spec, view, &delta));
        } else if at >= view.at + IDLE_UPDATE {
            view.at = at;
            let nothing = Delta { bids: Vec::new(), asks: Vec::new(), previous_sequence: view.sequence };
            outlet.plain(&name("books", spec), view.sequence, || update(spec, view, &nothing));
        }
    }

    fn ticker(&mut self, index: usize, instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
        let last = &mut self.channels[index].ticker;
        if at.is_multiple_of(100 * MILLI) && *last != instrument.book.sequence {
            *last = instrument.book.sequence;
            put_ticker(instrument, at, outlet);
        }
    }
}

impl Wire for SeededOkx {
    fn event(&mut self, index: usize, instrument: &Instrument, event: &Event, outlet: &mut Outlet<'_>) {
        let spec = &instrument.spec;
        match event {
            Event::Trade(trade) => {
                let count = 1 + trade.id % 3;
                let id = &mut self.channels[index].trade_id;
                *id += count;
                outlet.plain(&name("trades", spec), *id, || trade_push(spec, trade, *id, count));
            }
            Event::Liquidation(liquidation) => {
                let id = liquidation.at / MILLI;
                outlet.plain("liquidation-orders/SWAP", id, || liquidation_push(spec, liquidation));
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
        self.books(index, instrument, at, outlet);
        self.ticker(index, instrument, at, outlet);
        if instrument.spec.market == Market::Perpetual {
            perpetual_boundary(instrument, at, outlet);
        }
    }

    /// A new subscriber gets the channel's state; trades and liquidations have none.
    fn greet(
        &mut self,
        instruments: &mut [Instrument],
        stream: &str,
        now: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        let Some((channel, symbol)) = stream.split_once('/') else {
            return;
        };
        let Some(index) = instruments.iter().position(|instrument| instrument.spec.symbol == symbol) else {
            return;
        };
        let (instrument, channels) = (&mut instruments[index], &self.channels[index]);
        let perpetual = instrument.spec.market == Market::Perpetual;
        match channel {
            "books" => put_snapshot(&instrument.spec, &channels.book, outlet),
            "books5" => put_short_book(channel, &instrument.spec, &channels.best_five, outlet),
            "bbo-tbt" => put_short_book(channel, &instrument.spec, &channels.best, outlet),
            "tickers" => put_ticker(instrument, now, outlet),
            "funding-rate" if perpetual => put_funding(instrument, now, outlet),
            "mark-price" if perpetual => put_mark_price(instrument, now, outlet),
            "open-interest" if perpetual => put_open_interest(&instrument.spec, now, outlet),
            _ => {}
        }
    }

    fn answer(&mut self, instruments: &mut [Instrument], request: &Request, now: UnixNanos) -> Answer {
        match request.path.as_str() {
            "/api/v5/public/time" => Answer::json(
                200,
                json!({"code": "0", "msg": "", "data": [{"ts": (now / MILLI).to_string()}]}),
            ),
            "/api/v5/public/instruments" => {
                let listings = instruments.iter().map(|instrument| Listing::of(&instrument.spec)).collect();
                okx_info(listings, request)
            }
            "/api/v5/market/books" => rest_book(instruments, request, now),
            _ => Answer::new(404, r#"{"msg":"Not Found"}"#),
        }
    }

    fn jump(&mut self, index: usize, instrument: &mut Instrument, by: u64) {
        instrument.jump(by);
        self.channels[index].book.jump(by);
    }

    fn book_stream(&self, spec: &Spec) -> String {
        name("books", spec)
    }
}

/// Mark price each second, open interest each 3 s, funding each 30 s.
fn perpetual_boundary(instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
    if at.is_multiple_of(1_000 * MILLI) {
        put_mark_price(instrument, at, outlet);
    }
    if at.is_multiple_of(3_000 * MILLI) {
        put_open_interest(&instrument.spec, at, outlet);
    }
    if at.is_multiple_of(30_000 * MILLI) {
        put_funding(instrument, at, outlet);
    }
}

fn rest_book(instruments: &[Instrument], request: &Request, now: UnixNanos) -> Answer {
    let wanted = request.get("instId").unwrap_or_default();
    let Some(instrument) = instruments.iter().find(|instrument| instrument.spec.symbol == wanted) else {
        return okx_error("51001", "Instrument ID or Spread ID doesn't exist.");
    };
    let Some(depth) = request.number("sz", 1).filter(|depth| (1..=400).contains(depth)) else {
        return okx_error("51000", "Parameter sz error");
    };
    let side = |side| levels(&instrument.spec, &instrument.book.top(side, depth), LEVEL_REST);
    let (asks, bids) = (side(Side::Ask), side(Side::Bid));
    let (ms, id) = (now / MILLI, instrument.book.sequence);
    let datum = format!("{{\"asks\":{asks},\"bids\":{bids},\"ts\":\"{ms}\",\"seqId\":{id}}}");
    Answer::new(200, format!("{{\"code\":\"0\",\"msg\":\"\",\"data\":[{datum}]}}"))
}
