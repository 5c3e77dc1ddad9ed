//! OKX v5 public channels over the seeded market.
//!
//! Source of shapes and periods: OKX API v5 docs, read 2026-11. A book's `checksum` is 0, as it has been since 2026-06-23.

use serde_json::json;

use super::list::okx_error;
use super::view::{Delta, View};
use super::{Listing, Wire, levels, okx_info};
use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::frame::Outlet;
use crate::market::{Event, Instrument, Level, Liquidation, Side, Spec, Trade};
use crate::rest::{Answer, Request};

/// Levels of `books`.
const BOOK_DEPTH: usize = 400;
/// An unchanged book is confirmed by an empty update.
const IDLE_UPDATE: u64 = 60_000 * MILLI;
/// What follows price and size of a level: a field without meaning, and the number of orders.
const LEVEL_REST: &str = ",\"0\",\"1\"";

#[derive(Debug)]
pub(super) struct Okx {
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

impl Okx {
    pub(super) fn new(instruments: &[Instrument]) -> Self {
        Self {
            channels: instruments.iter().map(Channels::new).collect(),
        }
    }

    /// The finest channel first, so that a best price is known when the book that shows it comes.
    fn books(
        &mut self,
        index: usize,
        instrument: &Instrument,
        at: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        let (spec, channels) = (&instrument.spec, &mut self.channels[index]);
        for (channel, view) in [
            ("bbo-tbt", &mut channels.best),
            ("books5", &mut channels.best_five),
        ] {
            if view.publish(instrument, at).is_some() {
                outlet.plain(&name(channel, spec), view.sequence, || {
                    short_book(channel, spec, view)
                });
            }
        }
        let view = &mut channels.book;
        if let Some(delta) = view.publish(instrument, at) {
            outlet.plain(&name("books", spec), view.sequence, || {
                update(spec, view, &delta)
            });
        } else if at >= view.at + IDLE_UPDATE {
            view.at = at;
            let nothing = Delta {
                bids: Vec::new(),
                asks: Vec::new(),
                previous_sequence: view.sequence,
            };
            outlet.plain(&name("books", spec), view.sequence, || {
                update(spec, view, &nothing)
            });
        }
    }

    fn ticker(
        &mut self,
        index: usize,
        instrument: &mut Instrument,
        at: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        let last = &mut self.channels[index].ticker;
        if at.is_multiple_of(100 * MILLI) && *last != instrument.book.sequence {
            *last = instrument.book.sequence;
            put_ticker(instrument, at, outlet);
        }
    }
}

/// The stream's name in this crate.
fn name(channel: &str, spec: &Spec) -> String {
    format!("{channel}/{}", spec.symbol)
}

/// A push: its argument, then what comes between, then one datum.
fn push(channel: &str, spec: &Spec, between: &str, datum: &str) -> String {
    format!(
        "{{\"arg\":{{\"channel\":\"{channel}\",\"instId\":\"{}\"}},{between}\"data\":[{datum}]}}",
        spec.symbol
    )
}

fn kind(spec: &Spec) -> &'static str {
    if spec.market == Market::Spot {
        "SPOT"
    } else {
        "SWAP"
    }
}

fn snapshot(spec: &Spec, view: &View) -> String {
    let datum = book_datum(spec, &view.bids, &view.asks, view.at, "-1", view.sequence);
    push("books", spec, "\"action\":\"snapshot\",", &datum)
}

fn update(spec: &Spec, view: &View, delta: &Delta) -> String {
    let previous = delta.previous_sequence.to_string();
    let datum = book_datum(
        spec,
        &delta.bids,
        &delta.asks,
        view.at,
        &previous,
        view.sequence,
    );
    push("books", spec, "\"action\":\"update\",", &datum)
}

fn book_datum(
    spec: &Spec,
    bids: &[Level],
    asks: &[Level],
    at: UnixNanos,
    previous: &str,
    id: u64,
) -> String {
    format!(
        "{{\"asks\":{},\"bids\":{},\"ts\":\"{}\",\"checksum\":0,\"prevSeqId\":{previous},\"seqId\":{id}}}",
        levels(spec, asks, LEVEL_REST),
        levels(spec, bids, LEVEL_REST),
        at / MILLI,
    )
}

/// `books5` and `bbo-tbt`: always whole, without action and predecessor.
fn short_book(channel: &str, spec: &Spec, view: &View) -> String {
    let (asks, bids) = (
        levels(spec, &view.asks, LEVEL_REST),
        levels(spec, &view.bids, LEVEL_REST),
    );
    let (ms, id) = (view.at / MILLI, view.sequence);
    let instrument = if channel == "books5" {
        format!("\"instId\":\"{}\",", spec.symbol)
    } else {
        String::new()
    };
    push(
        channel,
        spec,
        "",
        &format!("{{\"asks\":{asks},\"bids\":{bids},{instrument}\"ts\":\"{ms}\",\"seqId\":{id}}}"),
    )
}

fn trade_push(spec: &Spec, trade: &Trade, id: u64, count: u64) -> String {
    let datum = format!(
        "{{\"instId\":\"{}\",\"tradeId\":\"{id}\",\"px\":\"{}\",\"sz\":\"{}\",\"side\":\"{}\",\"ts\":\"{}\",\"count\":\"{count}\",\"source\":\"0\",\"seqId\":{}}}",
        spec.symbol,
        spec.price(trade.ticks),
        spec.size(trade.lots),
        side(trade.taker),
        trade.at / MILLI,
        trade.sequence,
    );
    push("trades", spec, "", &datum)
}

fn side(side: Side) -> &'static str {
    if side == Side::Bid { "buy" } else { "sell" }
}

fn liquidation_push(spec: &Spec, liquidation: &Liquidation) -> String {
    let position = if liquidation.order == Side::Ask {
        "long"
    } else {
        "short"
    };
    let family = format!("{}-USDT", spec.base());
    json!({
        "arg": {"channel": "liquidation-orders", "instType": "SWAP"},
        "data": [{
            "instType": "SWAP", "instId": spec.symbol, "uly": family, "instFamily": family,
            "details": [{
                "side": side(liquidation.order), "posSide": position,
                "bkPx": spec.price(liquidation.ticks).to_string(), "sz": spec.size(liquidation.lots).to_string(),
                "bkLoss": "0", "ccy": "", "ts": (liquidation.at / MILLI).to_string(),
            }],
        }],
    })
    .to_string()
}

fn put_ticker(instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
    let stream = name("tickers", &instrument.spec);
    if outlet.interest.wanted(&stream).is_some() {
        let open = instrument.day_open_ticks(at);
        outlet.plain(&stream, instrument.book.sequence, || {
            ticker(instrument, open, at)
        });
    }
}

fn ticker(instrument: &Instrument, open: i64, at: UnixNanos) -> String {
    let (spec, last, totals) = (&instrument.spec, &instrument.last, &instrument.totals);
    let (bid, ask) = instrument.touch();
    let coins = spec.coins(totals.lots).normalize().to_string();
    let (volume, volume_currency) = match spec.market {
        Market::Spot => (coins, totals.quote.normalize().to_string()),
        Market::Perpetual => (spec.size(totals.lots).to_string(), coins),
    };
    let datum = json!({
        "instType": kind(spec), "instId": spec.symbol,
        "last": spec.price(last.ticks).to_string(), "lastSz": spec.size(last.lots).to_string(),
        "askPx": spec.price(ask.ticks).to_string(), "askSz": spec.size(ask.lots).to_string(),
        "bidPx": spec.price(bid.ticks).to_string(), "bidSz": spec.size(bid.lots).to_string(),
        "open24h": spec.price(open).to_string(),
        "high24h": spec.price(totals.high.max(open)).to_string(),
        "low24h": spec.price(totals.low.min(open)).to_string(),
        "sodUtc0": spec.price(open).to_string(), "sodUtc8": spec.price(open).to_string(),
        "volCcy24h": volume_currency, "vol24h": volume, "ts": (at / MILLI).to_string(),
    });
    push("tickers", spec, "", &datum.to_string())
}

fn put_funding(instrument: &Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
    let spec = &instrument.spec;
    let (next, rate) = instrument.funding(at);
    outlet.plain(&name("funding-rate", spec), at / MILLI, || {
        let datum = json!({
            "instType": "SWAP", "instId": spec.symbol, "method": "current_period", "formulaType": "withRate",
            "fundingRate": rate.normalize().to_string(), "fundingTime": next.to_string(),
            "nextFundingTime": (next + 28_800_000).to_string(), "nextFundingRate": "",
            "settState": "settled", "ts": (at / MILLI).to_string(),
        });
        push("funding-rate", spec, "", &datum.to_string())
    });
}

fn put_mark_price(instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
    let mark = instrument.mark_ticks(at);
    let spec = &instrument.spec;
    outlet.plain(&name("mark-price", spec), at / MILLI, || {
        let (price, ms) = (spec.price(mark).to_string(), (at / MILLI).to_string());
        let datum =
            json!({"instType": kind(spec), "instId": spec.symbol, "markPx": price, "ts": ms});
        push("mark-price", spec, "", &datum.to_string())
    });
}

impl Wire for Okx {
    fn event(
        &mut self,
        index: usize,
        instrument: &Instrument,
        event: &Event,
        outlet: &mut Outlet<'_>,
    ) {
        let spec = &instrument.spec;
        match event {
            Event::Trade(trade) => {
                let count = 1 + trade.id % 3;
                let id = &mut self.channels[index].trade_id;
                *id += count;
                outlet.plain(&name("trades", spec), *id, || {
                    trade_push(spec, trade, *id, count)
                });
            }
            Event::Liquidation(liquidation) => {
                let id = liquidation.at / MILLI;
                outlet.plain("liquidation-orders/SWAP", id, || {
                    liquidation_push(spec, liquidation)
                });
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
        if instrument.spec.market == Market::Perpetual && at.is_multiple_of(1_000 * MILLI) {
            put_mark_price(instrument, at, outlet);
        }
        if instrument.spec.market == Market::Perpetual && at.is_multiple_of(30_000 * MILLI) {
            put_funding(instrument, at, outlet);
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
        let Some(index) = instruments
            .iter()
            .position(|instrument| instrument.spec.symbol == symbol)
        else {
            return;
        };
        let (instrument, channels) = (&mut instruments[index], &self.channels[index]);
        match channel {
            "books" => outlet.plain(stream, channels.book.sequence, || {
                snapshot(&instrument.spec, &channels.book)
            }),
            "books5" => {
                let view = &channels.best_five;
                outlet.plain(stream, view.sequence, || {
                    short_book(channel, &instrument.spec, view)
                });
            }
            "bbo-tbt" => {
                let view = &channels.best;
                outlet.plain(stream, view.sequence, || {
                    short_book(channel, &instrument.spec, view)
                });
            }
            "tickers" => put_ticker(instrument, now, outlet),
            "funding-rate" if instrument.spec.market == Market::Perpetual => {
                put_funding(instrument, now, outlet)
            }
            "mark-price" => put_mark_price(instrument, now, outlet),
            _ => {}
        }
    }

    fn answer(
        &mut self,
        instruments: &mut [Instrument],
        request: &Request,
        now: UnixNanos,
    ) -> Answer {
        match request.path.as_str() {
            "/api/v5/public/time" => Answer::json(
                200,
                json!({"code": "0", "msg": "", "data": [{"ts": (now / MILLI).to_string()}]}),
            ),
            "/api/v5/public/instruments" => {
                let listings = instruments
                    .iter()
                    .map(|instrument| Listing::of(&instrument.spec))
                    .collect();
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

fn rest_book(instruments: &[Instrument], request: &Request, now: UnixNanos) -> Answer {
    let wanted = request.get("instId").unwrap_or_default();
    let Some(instrument) = instruments
        .iter()
        .find(|instrument| instrument.spec.symbol == wanted)
    else {
        return okx_error("51001", "Instrument ID or Spread ID doesn't exist.");
    };
    let Some(depth) = request
        .number("sz", 1)
        .filter(|depth| (1..=400).contains(depth))
    else {
        return okx_error("51000", "Parameter sz error");
    };
    let side = |side| {
        levels(
            &instrument.spec,
            &instrument.book.top(side, depth),
            LEVEL_REST,
        )
    };
    let (asks, bids) = (side(Side::Ask), side(Side::Bid));
    let (ms, id) = (now / MILLI, instrument.book.sequence);
    let datum = format!("{{\"asks\":{asks},\"bids\":{bids},\"ts\":\"{ms}\",\"seqId\":{id}}}");
    Answer::new(
        200,
        format!("{{\"code\":\"0\",\"msg\":\"\",\"data\":[{datum}]}}"),
    )
}
