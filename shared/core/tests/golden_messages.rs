//! The flat events that clients are promised, byte for byte. The SDKs read the same file.

use std::collections::BTreeMap;
use std::time::Duration;

use bond_core::decimal::{Price, Quantity, Rate, parse_decimal};
use bond_core::event::{
    BookUpdateKind, Channel, Custom, Funding, Level, Liquidation, MarketData, MarketEvent, Side, Ticker,
    Trade, Tweet,
};
use bond_core::event_clock::ClockPace;
use bond_core::instrument::{Instrument, Symbol, Venue};
use bond_core::log::EventKind;
use bond_core::position::Epoch;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bond_core::window::{Config, Subject, Windows};
use bond_core::wire::{self, BookView, Stamp};
use serde_json::value::RawValue;

const GOLDEN: &str = include_str!("golden/messages.json");

const RECEIVED: UnixNanos = UnixNanos::from_millis(1_732_186_800_125);
const HAPPENED: Option<UnixNanos> = Some(UnixNanos::from_millis(1_732_186_800_100));

fn price(text: &str) -> Price {
    Price::parse(text).expect("price")
}

fn size(text: &str) -> Quantity {
    Quantity::parse(text).expect("quantity")
}

fn level(at: &str, amount: &str) -> Level {
    Level { price: price(at), size: size(amount) }
}

/// The golden message of this name is `body` in its frame.
#[track_caller]
fn assert_golden(name: &str, topic: &str, kind: EventKind, write: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    write(&mut body);
    assert_golden_at(RECEIVED, name, topic, kind, &body);
}

#[track_caller]
fn assert_golden_at(ts: UnixNanos, name: &str, topic: &str, kind: EventKind, body: &[u8]) {
    let golden: BTreeMap<String, Box<RawValue>> = serde_json::from_str(GOLDEN).expect("golden messages");
    let (topic, epoch) = (topic.parse::<Topic>().expect("topic"), Epoch::new("18f5a1x0").expect("epoch"));
    let frame = wire::frame(&topic.to_string(), &epoch, 42, ts, kind, body);
    assert_eq!(String::from_utf8(frame).expect("UTF-8"), golden[name].get());
}

fn instrument(venue: Venue, symbol: &str) -> Instrument {
    Instrument { venue, symbol: Symbol::parse(symbol).expect("symbol") }
}

#[test]
fn trade() {
    let instrument = instrument(Venue::Binance, "BTC/USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: HAPPENED };
    let trade = Trade {
        price: price("61837.63000000"),
        size: size("0.02"),
        side: Side::Sell,
        trade_id: "3735683259".into(),
    };
    let write = |out: &mut Vec<u8>| wire::trade(&stamp, &trade, out);
    assert_golden("trade", "trades.binance.BTC-USDT", EventKind::Trade, write);
}

#[test]
fn ticker() {
    let instrument = instrument(Venue::Bybit, "BTC/USDT:USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: HAPPENED };
    let ticker = Ticker {
        bid: Some(price("61837.6")),
        ask: Some(price("61837.7")),
        bid_size: Some(size("1.5")),
        ask_size: Some(size("0.25")),
        last: Some(price("61837.6")),
        mark: Some(price("61838.01")),
        index: Some(price("61840.5")),
        open_interest: Some(size("50000")),
        ..Ticker::default()
    };
    let write = |out: &mut Vec<u8>| wire::ticker(&stamp, &ticker, out);
    assert_golden("ticker", "ticker.bybit.BTC-USDT-PERP", EventKind::Ticker, write);
}

#[test]
fn ticker_as_far_as_known() {
    let instrument = instrument(Venue::Binance, "BTC/USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: None };
    let ticker = Ticker { bid: Some(price("61837.6")), bid_size: Some(size("1.5")), ..Ticker::default() };
    let write = |out: &mut Vec<u8>| wire::ticker(&stamp, &ticker, out);
    assert_golden("ticker_partly_known", "ticker.binance.BTC-USDT", EventKind::Ticker, write);
}

#[test]
fn an_empty_side_is_null() {
    let instrument = instrument(Venue::Binance, "BTC/USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: None };
    let ticker = Ticker { bid: Some(price("99")), no_ask: true, ..Ticker::default() };
    let mut text = Vec::new();
    wire::ticker(&stamp, &ticker, &mut text);
    let text = String::from_utf8(text).expect("UTF-8");
    assert!(text.contains(r#","ask":null,"ask_size":null"#) && text.contains(r#","bid":99"#), "{text}");
    assert!(!text.contains("bid_size"), "what is not known is not told: {text}");
}

#[test]
fn order_book() {
    let instrument = instrument(Venue::Okx, "BTC/USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: HAPPENED };
    let bids = [level("61837.6", "1.5"), level("61837.5", "0.00000001")];
    let asks = [level("61837.7", "2")];
    let snapshot = BookView {
        update_type: BookUpdateKind::Snapshot,
        changes_only: false,
        depth: 20,
        sequence: 123_456,
        prev_sequence: None,
        bids: &bids,
        asks: &asks,
    };
    let write = |out: &mut Vec<u8>| wire::order_book(&stamp, &snapshot, out);
    assert_golden("orderbook_snapshot", "orderbook.okx.BTC-USDT.20", EventKind::OrderBook, write);
    let delta = BookView {
        update_type: BookUpdateKind::Delta,
        sequence: 123_460,
        prev_sequence: Some(123_456),
        ..snapshot
    };
    let write = |out: &mut Vec<u8>| wire::order_book(&stamp, &delta, out);
    assert_golden("orderbook_delta", "orderbook.okx.BTC-USDT.20", EventKind::OrderBook, write);
    let removed = [level("61837.5", "0")];
    let changes = BookView { changes_only: true, bids: &removed, asks: &[], ..delta };
    let write = |out: &mut Vec<u8>| wire::order_book(&stamp, &changes, out);
    assert_golden("orderbook_changes", "orderbook.okx.BTC-USDT.20", EventKind::OrderBook, write);
}

#[test]
fn funding() {
    let instrument = instrument(Venue::Binance, "BTC/USDT:USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: HAPPENED };
    let funding = Funding {
        rate: Some(Rate::parse("-0.00038167").expect("rate")),
        next_time: Some(UnixNanos::from_millis(1_732_204_800_000)),
        mark: Some(price("61838.01")),
        index: Some(price("61840.5")),
    };
    let write = |out: &mut Vec<u8>| wire::funding(&stamp, &funding, out);
    assert_golden("funding", "funding.binance.BTC-USDT-PERP", EventKind::Funding, write);
}

#[test]
fn liquidation() {
    let instrument = instrument(Venue::Okx, "BTC/USDT:USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: HAPPENED };
    let liquidation = Liquidation { side: Side::Sell, price: price("61000"), size: size("0.13") };
    let write = |out: &mut Vec<u8>| wire::liquidation(&stamp, &liquidation, out);
    assert_golden("liquidation", "liquidations.okx.BTC-USDT-PERP", EventKind::Liquidation, write);
}

#[test]
fn tweet() {
    let tweet = Tweet {
        id: "1859914912".into(),
        author: "satoshi".into(),
        text: "\"BTC\" to the\nmoon \u{1f680}".to_owned(),
        asset: "BTC".into(),
        sentiment: Some(parse_decimal("-0.25").expect("decimal")),
        ts_event: RECEIVED,
        ts_exchange: HAPPENED,
        simulated: true,
    };
    let write = |out: &mut Vec<u8>| wire::tweet(&tweet, out);
    assert_golden("tweet", "streams.0123456789abcdef", EventKind::Tweet, write);
}

#[test]
fn custom() {
    let custom = Custom {
        source: "example.com#1f3a90c2".into(),
        symbol: None,
        value: r#"{"p":1.50}"#.to_owned(),
        ts_event: RECEIVED,
        ts_exchange: None,
    };
    let write = |out: &mut Vec<u8>| wire::custom(&custom, out);
    assert_golden("custom", "streams.0123456789abcdef", EventKind::Custom, write);
}

#[test]
fn raw() {
    let instrument = instrument(Venue::Binance, "BTC/USDT");
    let stamp = Stamp { instrument: &instrument, ts_event: RECEIVED, ts_exchange: None };
    let data = br#"{"stream":"btcusdt@trade","data":{"p":"61837.63000000"}}"#;
    let write = |out: &mut Vec<u8>| wire::raw(&stamp, "trade", data, out);
    assert_golden("raw", "raw.binance.BTC-USDT", EventKind::Raw, write);
    let write = |out: &mut Vec<u8>| wire::raw_truncated(&stamp, "depth", 2_000_000, out);
    assert_golden("raw_truncated", "raw.binance.BTC-USDT", EventKind::Raw, write);
}

/// A window of 5 s that began late and lacked Bybit, of a stream with the channels trades, ticker and funding.
#[test]
fn aggregate() {
    let symbol = Symbol::parse("BTC/USDT").expect("symbol");
    let subject = Subject {
        symbol: Some(symbol.clone()),
        channels: [Channel::Trades, Channel::Ticker, Channel::Funding].into(),
        sources: ["bybit".into()].into(),
        carried: None,
    };
    let config = Config {
        interval: Duration::from_secs(5),
        max_lag: Duration::from_millis(250),
        ring: Duration::from_secs(60),
        pace: ClockPace::Venues,
        subjects: vec![subject],
    };
    let begin = UnixNanos::from_millis(1_732_186_795_600);
    let mut windows = Windows::new(config, begin);
    let trade = |at: &str, amount: &str| {
        let (price, size) = (price(at), size(amount));
        MarketData::Trade(Trade { price, size, side: Side::Buy, trade_id: "1".into() })
    };
    let quote = Ticker { bid: Some(price("61837.63")), ask: Some(price("61837.64")), ..Ticker::default() };
    for (venue, data) in [
        (Venue::Binance, trade("61837.63000000", "0.02")),
        (Venue::Okx, trade("61838.1", "0.013")),
        (Venue::Binance, trade("61837.64", "0.00007")),
        (Venue::Binance, MarketData::Ticker(quote)),
    ] {
        let instrument = Instrument::shared(venue, symbol.clone());
        let event = MarketEvent { instrument, ts_event: begin, ts_exchange: Some(begin), data };
        windows.push_market(&event, begin);
    }
    let closed = windows.close_due(begin.plus(Duration::from_secs(6)));
    let record = closed[0].to_record();
    assert_golden_at(record.ts, "aggregate", "streams.8f2a1c9d4b3e7a10", record.kind, &record.body);
}
