//! Pushes of OKX.

use serde_json::json;

use super::super::levels;
use super::super::view::{Delta, View};
use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::frame::Outlet;
use crate::market::{Instrument, Level, Liquidation, Side, Spec, Trade};

/// The stream's name in this crate.
pub(super) fn name(channel: &str, spec: &Spec) -> String {
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
    if spec.market == Market::Spot { "SPOT" } else { "SWAP" }
}

fn snapshot(spec: &Spec, view: &View) -> String {
    let datum = book_datum(spec, &view.bids, &view.asks, view.at, "-1", view.sequence);
    push("books", spec, "\"action\":\"snapshot\",", &datum)
}

pub(super) fn update(spec: &Spec, view: &View, delta: &Delta) -> String {
    let previous = delta.previous_sequence.to_string();
    let datum = book_datum(spec, &delta.bids, &delta.asks, view.at, &previous, view.sequence);
    push("books", spec, "\"action\":\"update\",", &datum)
}

fn book_datum(spec: &Spec, bids: &[Level], asks: &[Level], at: UnixNanos, previous: &str, id: u64) -> String {
    format!(
        "{{\"asks\":{},\"bids\":{},\"ts\":\"{}\",\"checksum\":0,\"prevSeqId\":{previous},\"seqId\":{id}}}",
        levels(spec, asks, LEVEL_REST),
        levels(spec, bids, LEVEL_REST),
        at / MILLI,
    )
}

/// `books5` and `bbo-tbt`: always whole, without action and predecessor.
fn short_book(channel: &str, spec: &Spec, view: &View) -> String {
    let (asks, bids) = (levels(spec, &view.asks, LEVEL_REST), levels(spec, &view.bids, LEVEL_REST));
    let (ms, id) = (view.at / MILLI, view.sequence);
    let instrument =
        if channel == "books5" { format!("\"instId\":\"{}\",", spec.symbol) } else { String::new() };
    push(
        channel,
        spec,
        "",
        &format!("{{\"asks\":{asks},\"bids\":{bids},{instrument}\"ts\":\"{ms}\",\"seqId\":{id}}}"),
    )
}

pub(super) fn trade_push(spec: &Spec, trade: &Trade, id: u64, count: u64) -> String {
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

pub(super) fn liquidation_push(spec: &Spec, liquidation: &Liquidation) -> String {
    let position = if liquidation.order == Side::Ask { "long" } else { "short" };
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

pub(super) fn put_ticker(instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
    let stream = name("tickers", &instrument.spec);
    if outlet.interest.wanted(&stream).is_some() {
        let open = instrument.fair.day_open(at);
        outlet.plain(&stream, instrument.book.sequence, || ticker(instrument, open, at));
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

pub(super) fn put_funding(instrument: &Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
    let spec = &instrument.spec;
    let (next, rate) = instrument.fair.funding(at);
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

pub(super) fn put_mark_price(instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
    let mark = instrument.fair.mark(at);
    let spec = &instrument.spec;
    outlet.plain(&name("mark-price", spec), at / MILLI, || {
        let (price, ms) = (spec.price(mark).to_string(), (at / MILLI).to_string());
        let datum = json!({"instType": kind(spec), "instId": spec.symbol, "markPx": price, "ts": ms});
        push("mark-price", spec, "", &datum.to_string())
    });
}

/// Open interest in lots.
const OPEN_INTEREST: i64 = 250_000_000;
/// What follows price and size of a level: a field without meaning, and the number of orders.
pub(super) const LEVEL_REST: &str = ",\"0\",\"1\"";

pub(super) fn put_snapshot(spec: &Spec, view: &View, outlet: &mut Outlet<'_>) {
    outlet.plain(&name("books", spec), view.sequence, || snapshot(spec, view));
}

pub(super) fn put_short_book(channel: &str, spec: &Spec, view: &View, outlet: &mut Outlet<'_>) {
    outlet.plain(&name(channel, spec), view.sequence, || short_book(channel, spec, view));
}

/// Positions do not move in this market: the open interest is a constant number of contracts.
pub(super) fn put_open_interest(spec: &Spec, at: UnixNanos, outlet: &mut Outlet<'_>) {
    outlet.plain(&name("open-interest", spec), at / MILLI, || {
        let lots = OPEN_INTEREST;
        let (contracts, coins) = (spec.size(lots).to_string(), spec.coins(lots).normalize().to_string());
        let ms = (at / MILLI).to_string();
        let datum =
            json!({"instType": kind(spec), "instId": spec.symbol, "oi": contracts, "oiCcy": coins, "ts": ms});
        push("open-interest", spec, "", &datum.to_string())
    });
}
