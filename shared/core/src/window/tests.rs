use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::decimal::{Quantity, Rate};
use crate::event::{Channel, Funding, Liquidation, Side, Ticker, Trade};
use crate::event_clock::ClockPace;
use crate::instrument::{MarketType, Venue};
use crate::source::SourceState;

const WINDOW: Duration = Duration::from_secs(5);
const LAG: Duration = Duration::from_millis(250);

fn ms(millis: i64) -> UnixNanos {
    UnixNanos::from_millis(millis)
}

fn symbol(text: &str) -> Symbol {
    Symbol::parse(text).expect("symbol")
}

fn price(text: &str) -> Price {
    Price::parse(text).expect("price")
}

/// A stream of some symbols, whose one source, Binance, is connected.
pub(super) fn stream(symbols: &[&str], channels: &[Channel]) -> Windows {
    let subjects = symbols
        .iter()
        .map(|text| Subject { sources: [Venue::Binance.name().into()].into(), ..subject(text, channels) });
    let mut windows = Windows::new(config(subjects.collect()), ms(0));
    windows.set_source("binance", &status(SourceState::Connected), None, ms(0));
    windows
}

/// A symbol without sources.
fn subject(text: &str, channels: &[Channel]) -> Subject {
    Subject { symbol: Some(symbol(text)), channels: channels.iter().copied().collect(), ..Subject::default() }
}

fn config(subjects: Vec<Subject>) -> Config {
    Config {
        interval: WINDOW,
        max_lag: LAG,
        ring: Duration::from_secs(60),
        pace: ClockPace::Venues,
        subjects,
    }
}

fn trades() -> Windows {
    stream(&["BTC/USDT"], &[Channel::Trades])
}

pub(super) fn status(state: SourceState) -> SourceStatus {
    SourceStatus { state, since: ms(0), simulated: false }
}

fn event(venue: Venue, text: &str, at: Option<i64>, data: MarketData) -> MarketEvent {
    let instrument = Instrument::shared(venue, symbol(text));
    MarketEvent { instrument, ts_event: ms(0), ts_exchange: at.map(ms), data }
}

pub(super) fn trade(figures: &str) -> MarketData {
    let (price, size) = figures.split_once('*').expect("price*size");
    let (price, size) = (Price::parse(price).expect("price"), Quantity::parse(size).expect("size"));
    MarketData::Trade(Trade { price, size, side: Side::Buy, trade_id: "1".into() })
}

fn ticker(bid: &str, ask: &str, last: &str) -> MarketData {
    let known = |text: &str| (!text.is_empty()).then(|| price(text));
    MarketData::Ticker(Ticker { bid: known(bid), ask: known(ask), last: known(last), ..Ticker::default() })
}

impl Windows {
    /// An event of Binance BTC/USDT whose venue time is its time of arrival.
    pub(super) fn at(&mut self, millis: i64, data: MarketData) -> Outcome {
        self.push_market(&event(Venue::Binance, "BTC/USDT", Some(millis), data), ms(millis))
    }

    fn from(&mut self, venue: Venue, at: i64, now: i64, data: MarketData) -> Outcome {
        self.push_market(&event(venue, "BTC/USDT", Some(at), data), ms(now))
    }

    /// The JSON of what is due.
    fn due(&mut self, millis: i64) -> Vec<Value> {
        self.close_due(ms(millis)).iter().map(json).collect()
    }

    /// The JSON of what is due when the watermark reaches `millis` in silence.
    fn silence_until(&mut self, millis: i64) -> Vec<Value> {
        let deadline = self.clock.deadline(ms(millis)).expect("clock");
        self.close_due(deadline).iter().map(json).collect()
    }
}

fn json(aggregate: &Aggregate) -> Value {
    let mut body = b"{".to_vec();
    aggregate.write_body(&mut body);
    body.push(b'}');
    serde_json::from_slice(&body).expect("JSON")
}

fn tweet(asset: &str) -> Tweet {
    Tweet {
        id: "1".into(),
        author: "a".into(),
        text: String::new(),
        asset: asset.into(),
        sentiment: None,
        ts_event: ms(0),
        ts_exchange: Some(ms(0)),
        simulated: true,
    }
}

fn custom(symbol: Option<&str>) -> Custom {
    Custom {
        source: "wss://example.org/feed".into(),
        symbol: symbol.map(Into::into),
        value: "1".into(),
        ts_event: ms(0),
        ts_exchange: Some(ms(0)),
    }
}

#[test]
fn a_window_of_trades_has_every_field_to_the_digit() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades, Channel::Ticker]);
    windows.at(10_000, ticker("99.5", "100.5", "42"));
    windows.at(10_500, trade("100*1"));
    windows.at(11_000, trade("101.5*0.5"));
    windows.at(12_000, trade("99.25*2"));
    windows.at(13_000, ticker("99", "100", ""));
    assert_eq!(windows.at(15_249, ticker("98", "99", "")), Outcome::Counted);
    assert_eq!(windows.due(15_249), Vec::<Value>::new(), "the watermark is not there yet");
    windows.at(15_250, ticker("98", "99", ""));
    let expected = serde_json::json!([{
        "window_start": "1970-01-01T00:00:10.000Z", "window_end": "1970-01-01T00:00:15.000Z", "symbol": "BTC/USDT",
        "price_avg": 100.25, "price_open": 100, "price_high": 101.5, "price_low": 99.25, "price_close": 99.25,
        "vwap": 99.785_714_285_714_29, "bid_avg": 99.25, "ask_avg": 100.25, "volume_sum": 3.5,
        "tweets": 0, "custom_count": 0, "late": 0, "complete": true,
        "raw_data": {"trades": 3, "sources": ["binance"], "by_exchange": {"binance": {
            "trades": 3, "volume_sum": 3.5, "price_avg": 100.25, "price_open": 100, "price_high": 101.5,
            "price_low": 99.25, "price_close": 99.25, "vwap": 99.785_714_285_714_29, "bid_avg": 99.25, "ask_avg": 100.25,
        }}, "bid": 99, "ask": 100, "simulated": false, "down": []},
    }]);
    assert_eq!(Value::from(windows.due(15_250)), expected);
}

#[test]
fn an_empty_window_stands_at_the_last_prices() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades, Channel::Ticker]);
    windows.at(10_000, ticker("1", "3", ""));
    windows.at(10_100, ticker("2", "4", ""));
    windows.at(10_200, trade("100*1"));
    windows.at(10_300, trade("0.123456789012345678*1"));
    let closed = windows.silence_until(20_000);
    assert_eq!(closed.len(), 2);
    assert_eq!(closed[1]["window_start"], "1970-01-01T00:00:15.000Z");
    for field in ["price_avg", "price_open", "price_high", "price_low", "price_close", "vwap"] {
        assert_eq!(closed[1][field].to_string(), "0.12345678901234568", "{field}");
    }
    assert_eq!((&closed[1]["bid_avg"], &closed[1]["ask_avg"]), (&2.into(), &4.into()));
    for count in ["volume_sum", "tweets", "custom_count", "late"] {
        assert_eq!(closed[1][count], 0, "{count}");
    }
    assert_eq!(closed[1]["raw_data"]["sources"], serde_json::json!([]));
    assert_eq!(closed[1]["raw_data"]["trades"], 0);
}

#[test]
fn every_symbol_has_every_window_and_their_order_is_by_window_then_symbol() {
    let mut windows = stream(&["SOL/USDT", "BTC/USDT"], &[Channel::Trades]);
    windows.at(10_000, trade("1*1"));
    windows.push_market(&event(Venue::Binance, "SOL/USDT", Some(16_000), trade("2*1")), ms(16_000));
    windows.push_market(&event(Venue::Binance, "ETH/USDT", Some(16_000), trade("2*1")), ms(16_000));
    let closed = windows.close_due(ms(16_000)).into_iter().chain(windows.close_due(ms(26_000)));
    let names: Vec<_> = closed.map(|a| (a.window_start().as_secs(), a.symbol().to_owned())).collect();
    let expected = [(10, "BTC/USDT"), (15, "BTC/USDT"), (15, "SOL/USDT"), (20, "BTC/USDT"), (20, "SOL/USDT")];
    assert_eq!(names, expected.map(|(at, name)| (at, name.to_owned())), "SOL begins with its first price");
}

#[test]
fn open_and_close_go_by_time_then_venue_name_then_arrival() {
    let mut windows = trades();
    windows.from(Venue::Okx, 10_100, 10_150, trade("3*1"));
    windows.from(Venue::Okx, 10_200, 10_210, trade("5*1"));
    windows.from(Venue::Binance, 10_100, 10_220, trade("1*1"));
    windows.from(Venue::Binance, 10_100, 10_230, trade("2*1"));
    windows.from(Venue::Bybit, 10_200, 10_240, trade("4*1"));
    windows.from(Venue::Okx, 10_200, 10_250, trade("6*1"));
    windows.from(Venue::Bybit, 10_150, 10_260, trade("9*1"));
    let closed = windows.silence_until(15_000);
    assert_eq!((&closed[0]["price_open"], &closed[0]["price_close"]), (&1.into(), &6.into()));
    assert_eq!(closed[0]["raw_data"]["sources"], serde_json::json!(["binance", "bybit", "okx"]));
    assert_eq!(closed[0]["raw_data"]["by_exchange"]["bybit"]["price_open"], 9);
    assert_eq!(closed[0]["raw_data"]["by_exchange"]["okx"]["volume_sum"], 3);
}

#[test]
fn events_within_the_lag_are_in_time_and_later_ones_are_counted_in_the_next_aggregate() {
    let mut windows = trades();
    windows.at(14_000, trade("1*1"));
    windows.at(15_200, trade("2*1"));
    assert_eq!(windows.from(Venue::Okx, 14_900, 15_240, trade("3*1")), Outcome::Counted);
    windows.at(15_250, trade("4*1"));
    assert_eq!(
        windows.from(Venue::Okx, 14_950, 15_260, trade("5*1")),
        Outcome::Late,
        "before it was asked for"
    );
    let first = windows.due(15_260);
    assert_eq!((&first[0]["volume_sum"], &first[0]["late"]), (&2.into(), &1.into()));
    assert_eq!(windows.from(Venue::Okx, 14_999, 15_300, trade("6*1")), Outcome::Late);
    assert_eq!(windows.from(Venue::Okx, 14_998, 15_300, trade("6*1")), Outcome::Late);
    let second = windows.silence_until(20_000);
    assert_eq!((&second[0]["volume_sum"], &second[0]["late"]), (&2.into(), &2.into()));
}

#[test]
fn a_late_trade_may_still_be_the_last_one() {
    let mut windows = trades();
    windows.at(10_000, trade("1*1"));
    windows.silence_until(20_000);
    assert_eq!(windows.from(Venue::Okx, 19_000, 26_000, trade("7*1")), Outcome::Late);
    assert_eq!(windows.from(Venue::Okx, 18_000, 26_000, trade("8*1")), Outcome::Late);
    let closed = windows.close_due(ms(60_000));
    assert_eq!(json(&closed[0])["price_close"], 7);
    assert_eq!(json(&closed[0])["late"], 2);
}

#[test]
fn a_price_of_the_next_window_does_not_stand_in_the_one_before() {
    let mut windows = trades();
    windows.at(10_000, trade("1*1"));
    windows.at(20_100, trade("9*1"));
    let closed = windows.due(20_100);
    assert_eq!(closed.last().map(|a| &a["window_end"]), Some(&"1970-01-01T00:00:15.000Z".into()));
    windows.at(20_250, trade("9*1"));
    assert_eq!(windows.due(20_250)[0]["price_close"], 1);
}

#[test]
fn without_trades_prices_are_the_tickers_last() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Ticker]);
    windows.at(10_000, ticker("1", "2", ""));
    windows.at(11_000, ticker("", "", "10"));
    windows.at(12_000, ticker("2", "4", "12"));
    windows.at(13_000, ticker("3", "5", ""));
    assert_eq!(windows.at(13_500, trade("50*1")), Outcome::Ignored);
    let closed = windows.silence_until(15_000);
    assert_eq!(closed[0]["price_open"], 1.5, "the middle, before the venue gave a last price");
    assert_eq!((&closed[0]["price_high"], &closed[0]["price_close"]), (&12.into(), &12.into()));
    assert_eq!(closed[0]["price_avg"].to_string(), "7.833333333333333");
    assert_eq!(closed[0]["vwap"], closed[0]["price_avg"]);
    assert_eq!((&closed[0]["bid_avg"], &closed[0]["volume_sum"]), (&2.into(), &0.into()));
    assert_eq!(closed[0]["raw_data"]["trades"], 0);
}

#[test]
fn with_order_books_alone_prices_are_the_middle() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::OrderBook]);
    let instrument = Instrument { venue: Venue::Binance, symbol: symbol("BTC/USDT") };
    for (at, bid, ask) in [(10_000, "1", "2"), (11_000, "3", "4")] {
        windows.push_quote(&instrument, Some(price(bid)), Some(price(ask)), Some(ms(at)), ms(at));
    }
    let same =
        windows.push_quote(&instrument, Some(price("3")), Some(price("4")), Some(ms(11_500)), ms(11_500));
    assert_eq!(same, Outcome::Ignored, "deeper levels changed, not the best");
    windows.push_quote(&instrument, None, Some(price("9")), Some(ms(12_000)), ms(12_000));
    let closed = windows.silence_until(15_000);
    assert_eq!((&closed[0]["price_open"], &closed[0]["price_high"]), (&1.5.into(), &3.5.into()));
    assert_eq!((&closed[0]["bid_avg"], &closed[0]["ask_avg"]), (&2.into(), &5.into()));
}

#[test]
fn tops_of_books_do_not_count_beside_tickers() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::OrderBook, Channel::Ticker]);
    let instrument = Instrument { venue: Venue::Binance, symbol: symbol("BTC/USDT") };
    windows.at(10_000, ticker("1", "2", ""));
    let top =
        windows.push_quote(&instrument, Some(price("5")), Some(price("6")), Some(ms(10_100)), ms(10_100));
    assert_eq!(top, Outcome::Ignored);
    assert_eq!(windows.silence_until(15_000)[0]["bid_avg"], 1);
}

#[test]
fn a_stream_begins_with_the_first_window_that_has_a_price() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades, Channel::Ticker]);
    assert_eq!(windows.push_tweet(&tweet("BTC"), ms(9_000)), Outcome::Ignored, "there is no clock");
    assert_eq!(windows.next_deadline(), None);
    windows.at(10_000, ticker("1", "2", "1"));
    assert_eq!(
        windows.silence_until(15_000),
        Vec::<Value>::new(),
        "a quote is no price where there are trades"
    );
    windows.at(16_000, trade("5*1"));
    let closed = windows.silence_until(20_000);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0]["window_start"], "1970-01-01T00:00:15.000Z");
    assert_eq!(closed[0]["complete"], true, "it was watched from its start");
}

#[test]
fn without_a_market_source_a_stream_begins_at_once_and_uses_our_clock() {
    let config = Config { pace: ClockPace::Ours, ..config(vec![subject("BTC/USDT", &[])]) };
    let mut windows = Windows::new(config, ms(11_000));
    assert_eq!(windows.next_deadline(), Some(ms(15_250)));
    windows.push_tweet(&tweet("BTC"), ms(12_000));
    windows.push_tweet(&tweet("ETH"), ms(12_000));
    assert_eq!(windows.due(15_249), Vec::<Value>::new());
    let closed = windows.due(15_250);
    assert_eq!(closed[0]["window_start"], "1970-01-01T00:00:10.000Z");
    assert_eq!((&closed[0]["tweets"], &closed[0]["complete"]), (&1.into(), &false.into()));
    assert_eq!(closed[0]["raw_data"]["simulated"], true);
    for field in ["price_avg", "price_open", "price_close", "vwap", "bid_avg", "ask_avg"] {
        assert_eq!(closed[0][field], Value::Null, "{field}");
    }
    let next = windows.due(20_250);
    assert_eq!((&next[0]["complete"], &next[0]["raw_data"]["simulated"]), (&true.into(), &false.into()));
}

#[test]
fn funding_alone_begins_with_the_first_trusted_time() {
    let mut windows = stream(&["BTC/USDT:USDT"], &[Channel::Funding]);
    let funding = Funding { mark: Some(price("5")), ..Funding::default() };
    let event = event(Venue::Binance, "BTC/USDT:USDT", Some(15_100), MarketData::Funding(funding));
    windows.push_market(&event, ms(15_150));
    let closed = windows.silence_until(20_000);
    assert_eq!(closed.len(), 1, "and not with a window that ended before");
    assert_eq!((&closed[0]["price_avg"], &closed[0]["mark"]), (&serde_json::Value::Null, &5.into()));
}

#[test]
fn funding_adds_what_was_last_known() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades, Channel::Ticker, Channel::Funding]);
    let rate = |text: &str| Funding { rate: Rate::parse(text).ok(), ..Funding::default() };
    let perpetual = |venue, at, data| event(venue, "BTC/USDT:USDT", Some(at), MarketData::Funding(data));
    windows.at(10_000, trade("1*1"));
    windows.push_market(&perpetual(Venue::Okx, 10_200, rate("-0.0001")), ms(10_200));
    windows.push_market(&perpetual(Venue::Binance, 10_100, rate("0.0002")), ms(10_300));
    let ticker = Ticker { index: Some(price("99")), ..Ticker::default() };
    windows.at(10_400, MarketData::Ticker(ticker));
    let closed = windows.silence_until(20_000);
    assert_eq!(closed[0]["funding_rate"].to_string(), "-0.0001", "the later, not the last to arrive");
    assert_eq!((&closed[0]["mark"], &closed[0]["index"]), (&serde_json::Value::Null, &99.into()));
    assert_eq!(closed[0]["raw_data"]["by_exchange"]["binance"]["funding_rate"].to_string(), "0.0002");
    assert_eq!(closed[1]["index"], 99);
    let mut without = trades();
    without.at(10_000, trade("1*1"));
    assert_eq!(without.silence_until(15_000)[0].get("funding_rate"), None);
}

#[test]
fn tweets_count_for_symbols_of_their_asset_and_custom_events_for_all_or_the_one_named() {
    let mut windows =
        stream(&["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"], &[Channel::Ticker, Channel::Liquidations]);
    for name in ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"] {
        let event = event(Venue::Binance, name, Some(10_000), ticker("1", "2", ""));
        windows.push_market(&event, ms(10_000));
    }
    windows.push_tweet(&tweet("BTC"), ms(10_000));
    windows.push_custom(&custom(None), ms(10_000));
    windows.push_custom(&custom(Some("btc-usdt")), ms(10_000));
    windows.push_custom(&custom(Some("nonsense!")), ms(10_000));
    let liquidation = Liquidation { side: Side::Sell, price: price("1"), size: Quantity::ZERO };
    let event = event(Venue::Okx, "BTC/USDT:USDT", Some(10_050), MarketData::Liquidation(liquidation));
    windows.push_market(&event, ms(10_100));
    let closed = windows.silence_until(15_000);
    let counts: Vec<_> = closed.iter().map(|a| (a["tweets"].as_u64(), a["custom_count"].as_u64())).collect();
    assert_eq!(counts, [(Some(1), Some(3)), (Some(1), Some(2)), (Some(0), Some(1))]);
    assert_eq!(closed[0]["raw_data"]["sources"], serde_json::json!(["binance", "okx"]));
}

#[test]
fn a_stream_without_symbols_is_about_everything() {
    let config = Config { pace: ClockPace::Ours, ..config(vec![Subject::default()]) };
    let mut windows = Windows::new(config, ms(10_000));
    windows.push_custom(&custom(None), ms(11_000));
    windows.push_custom(&custom(Some("BTC/USDT")), ms(12_000));
    let closed = windows.due(15_250);
    assert_eq!((&closed[0]["symbol"], &closed[0]["custom_count"]), (&"*".into(), &2.into()));
    assert_eq!(closed[0]["complete"], true);
}

#[test]
fn a_window_that_began_late_is_not_complete() {
    let mut windows = trades();
    windows.at(10_001, trade("1*1"));
    let closed = windows.silence_until(20_000);
    assert_eq!((&closed[0]["complete"], &closed[1]["complete"]), (&false.into(), &true.into()));
    let mut stale = trades();
    stale.from(Venue::Binance, 1_000, 11_000, trade("1*1"));
    stale.from(Venue::Binance, 11_010, 11_020, trade("1*1"));
    let closed = stale.silence_until(20_000);
    let complete: Vec<_> = closed.iter().map(|a| a["complete"].as_bool()).collect();
    assert_eq!(
        complete,
        [Some(false), Some(false), Some(false), Some(true)],
        "a stale first event is no beginning"
    );
}

#[test]
fn a_window_that_lacked_a_source_is_not_complete_and_names_it() {
    let mut windows = trades();
    let down =
        |closed: &[Value]| closed.iter().map(|a| a["raw_data"]["down"].to_string()).collect::<Vec<_>>();
    windows.set_source("okx", &status(SourceState::Connecting), Some(&symbol("BTC/USDT")), ms(9_000));
    windows.at(10_000, trade("1*1"));
    assert_eq!(down(&windows.silence_until(15_000)), [r#"["okx"]"#]);
    windows.at(16_000, trade("1*1"));
    windows.set_source("okx", &status(SourceState::Connected), None, ms(16_000));
    assert_eq!(down(&windows.silence_until(20_000)), [r#"["okx"]"#], "it came up within the window");
    windows.at(20_900, trade("1*1"));
    let next = windows.silence_until(25_000);
    assert_eq!((down(&next), &next[0]["complete"]), (vec!["[]".to_owned()], &true.into()));
    windows.at(26_000, trade("1*1"));
    windows.set_source("okx", &status(SourceState::Stale), None, ms(26_100));
    windows.set_source("okx", &status(SourceState::Connected), None, ms(26_200));
    windows.set_source("okx", &status(SourceState::Connected), None, ms(26_300));
    assert_eq!(down(&windows.silence_until(30_000)), [r#"["okx"]"#], "however short");
    windows.at(30_900, trade("1*1"));
    windows.set_source("okx", &status(SourceState::Unavailable), None, ms(31_000));
    let closed = windows.silence_until(35_000);
    assert_eq!(closed[0]["complete"], true, "what a venue does not have is not missed");
    windows.at(35_900, trade("1*1"));
    windows.set_source("okx", &status(SourceState::Refused), None, ms(36_000));
    let closed = windows.silence_until(40_000);
    assert_eq!(closed[0]["complete"], false, "what it has and refuses is");
}

/// A ticker whose ask is gone.
fn without_an_ask(bid: &str) -> MarketData {
    MarketData::Ticker(Ticker { bid: Some(price(bid)), no_ask: true, ..Ticker::default() })
}

#[test]
fn a_side_that_empties_counts_in_no_mean_and_is_null_after_its_window() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades, Channel::Ticker]);
    windows.at(10_000, trade("100*1"));
    windows.at(10_100, ticker("99", "101", ""));
    windows.at(10_200, without_an_ask("99"));
    let first = windows.silence_until(15_000).remove(0);
    assert_eq!((&first["ask_avg"], &first["raw_data"]["ask"]), (&101.into(), &Value::Null));
    windows.at(16_000, trade("100*1"));
    let next = windows.silence_until(20_000).remove(0);
    assert_eq!((&next["bid_avg"], &next["ask_avg"]), (&99.into(), &Value::Null));
    windows.at(21_000, ticker("", "103", ""));
    let back = windows.silence_until(25_000).remove(0);
    assert_eq!((&back["bid_avg"], &back["ask_avg"]), (&99.into(), &103.into()));
}

#[test]
fn a_side_that_empties_at_one_venue_stands_at_another() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades, Channel::Ticker]);
    windows.from(Venue::Binance, 10_000, 10_000, trade("100*1"));
    windows.from(Venue::Okx, 10_000, 10_000, ticker("99", "102", ""));
    windows.from(Venue::Binance, 10_100, 10_100, ticker("98", "101", ""));
    windows.from(Venue::Binance, 10_200, 10_200, without_an_ask("98"));
    windows.silence_until(15_000);
    windows.from(Venue::Binance, 16_000, 16_000, trade("100*1"));
    let next = windows.silence_until(20_000).remove(0);
    assert_eq!((&next["bid_avg"], &next["ask_avg"]), (&98.into(), &102.into()));
}

#[test]
fn a_side_of_the_book_that_empties_is_null() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::OrderBook]);
    let instrument = Instrument { venue: Venue::Binance, symbol: symbol("BTC/USDT") };
    windows.push_quote(&instrument, Some(price("99")), Some(price("101")), Some(ms(10_000)), ms(10_000));
    windows.push_quote(&instrument, Some(price("99")), None, Some(ms(10_100)), ms(10_100));
    windows.silence_until(15_000);
    windows.push_quote(&instrument, Some(price("98")), None, Some(ms(16_000)), ms(16_000));
    let next = windows.silence_until(20_000).remove(0);
    assert_eq!((&next["bid_avg"], &next["ask_avg"]), (&98.into(), &Value::Null));
}

#[test]
fn simulated_sources_are_marked() {
    let mut windows = trades();
    let simulated = SourceStatus { simulated: true, ..status(SourceState::Connected) };
    windows.set_source("binance", &simulated, None, ms(0));
    windows.at(10_000, trade("1*1"));
    assert_eq!(windows.silence_until(15_000)[0]["raw_data"]["simulated"], true);
}

#[test]
fn a_takeover_goes_on_where_the_last_writer_stopped() {
    let mut before = stream(&["BTC/USDT"], &[Channel::Trades, Channel::Ticker]);
    before.at(10_000, trade("7.5*1"));
    before.at(10_100, ticker("7", "8", ""));
    let last = before.close_due(ms(15_900)).remove(0);
    let (name, carried) = WindowTakeover::from_record(&last.to_record()).expect("aggregate");
    assert_eq!(
        (name.as_str(), carried.price, carried.ask),
        ("BTC/USDT", Some(price("7.5")), Some(price("8")))
    );

    let subject = subject(&name, &[Channel::Trades, Channel::Ticker]);
    let mut after = Windows::new(config(vec![Subject { carried: Some(carried), ..subject }]), ms(25_000));
    after.at(26_000, ticker("7", "9", ""));
    assert_eq!(after.from(Venue::Okx, 14_000, 26_010, trade("1*1")), Outcome::Late);
    let closed = after.silence_until(35_000);
    let starts: Vec<_> =
        closed.iter().map(|a| a["window_start"].as_str().unwrap_or("")[17..19].to_owned()).collect();
    assert_eq!(starts, ["15", "20", "25", "30"], "none is missing and none comes twice");
    let complete: Vec<_> = closed.iter().map(|a| a["complete"] == true).collect();
    assert_eq!(complete, [false, false, false, true]);
    assert_eq!(closed[0]["price_close"], 7.5);
    assert_eq!((&closed[0]["bid_avg"], &closed[0]["late"]), (&7.into(), &1.into()));
}

#[test]
fn a_window_that_was_given_out_is_not_opened_again() {
    let carried = WindowTakeover { window_end: ms(15_000), ..nothing_carried() };
    let subject = subject("BTC/USDT", &[Channel::Trades]);
    let mut windows = Windows::new(config(vec![Subject { carried: Some(carried), ..subject }]), ms(0));
    assert_eq!(windows.at(14_900, trade("1*1")), Outcome::Late, "although the watermark is behind");
    windows.at(15_000, trade("2*1"));
    let closed = windows.silence_until(20_000);
    assert_eq!((closed.len(), &closed[0]["price_open"], &closed[0]["late"]), (1, &2.into(), &1.into()));
}

#[test]
fn windows_go_on_after_a_takeover_though_no_price_was_left() {
    let carried = WindowTakeover { window_end: ms(15_000), ..nothing_carried() };
    let subject = subject("BTC/USDT", &[Channel::Trades, Channel::Ticker]);
    let mut windows = Windows::new(config(vec![Subject { carried: Some(carried), ..subject }]), ms(0));
    windows.at(20_100, ticker("7", "9", ""));
    let closed = windows.silence_until(20_600);
    assert_eq!(
        (closed.len(), &closed[0]["price_close"], &closed[0]["complete"]),
        (1, &serde_json::Value::Null, &false.into())
    );
}

fn nothing_carried() -> WindowTakeover {
    WindowTakeover {
        window_end: UnixNanos::EPOCH,
        price: None,
        bid: None,
        ask: None,
        funding_rate: None,
        mark: None,
        index: None,
    }
}

#[test]
fn at_most_a_ring_of_windows_is_made_up_for() {
    let carried = WindowTakeover { window_end: ms(15_000), price: Some(price("1")), ..nothing_carried() };
    let subject = subject("BTC/USDT", &[Channel::Trades]);
    let mut windows = Windows::new(config(vec![Subject { carried: Some(carried), ..subject }]), ms(0));
    windows.at(1_000_000, trade("1*1"));
    let closed = windows.due(1_000_250);
    assert_eq!(closed.len(), 12);
    assert_eq!(closed[0]["window_start"], "1970-01-01T00:15:35.000Z");
    windows.at(2_000_000, trade("1*1"));
    let closed = windows.silence_until(2_000_000);
    assert_eq!(closed.len(), 13, "a window that holds something is never left out");
    assert_eq!(closed[0]["volume_sum"], 1);
    assert_eq!(closed[1]["complete"], false, "windows are missing before it");
    assert_eq!(closed[2]["complete"], true);
}

#[test]
fn figures_too_large_for_exact_sums_are_refused_and_change_nothing() {
    let mut windows = trades();
    windows.at(10_000, trade("1*1"));
    let vast = "79228162514264337593543950335";
    assert_eq!(windows.at(10_100, trade(&format!("{vast}*{vast}"))), Outcome::TooLarge);
    assert_eq!(windows.from(Venue::Okx, 10_100, 10_100, trade(&format!("{vast}*{vast}"))), Outcome::TooLarge);
    assert_eq!(windows.at(10_200, trade(&format!("{vast}*0"))), Outcome::Counted);
    let closed = windows.silence_until(15_000);
    assert_eq!((&closed[0]["volume_sum"], &closed[0]["raw_data"]["trades"]), (&1.into(), &2.into()));
    assert_eq!(closed[0]["raw_data"]["sources"], serde_json::json!(["binance"]));
}

#[test]
fn the_deadline_is_when_the_next_window_closes_in_silence() {
    let mut windows = trades();
    windows.at(10_300, trade("1*1"));
    let deadline = windows.next_deadline().expect("clock");
    assert_eq!(windows.close_due(deadline.minus(Duration::from_millis(1))), []);
    assert_eq!(windows.close_due(deadline).len(), 1);
}

#[test]
fn perpetuals_are_told_from_spot() {
    let mut windows = stream(&["BTC/USDT"], &[Channel::Trades]);
    let event = event(Venue::Binance, "BTC/USDT:USDT", Some(10_000), trade("1*1"));
    assert_eq!(windows.push_market(&event, ms(10_000)), Outcome::Ignored);
    assert_eq!(symbol("BTC/USDT:USDT").market(), MarketType::Perpetual);
    assert!(Arc::strong_count(&event.instrument) == 1, "nothing holds on to events");
}

#[test]
fn each_symbol_has_its_own_channels() {
    let spot = subject("BTC/USDT", &[Channel::Trades]);
    let perpetual = subject("BTC/USDT:USDT", &[Channel::Ticker, Channel::Funding]);
    let mut windows = Windows::new(config(vec![perpetual, spot, subject("ETH/USDT", &[])]), ms(0));
    for name in ["BTC/USDT", "BTC/USDT:USDT"] {
        windows.push_market(&event(Venue::Binance, name, Some(10_000), trade("1*1")), ms(10_000));
        windows.push_market(&event(Venue::Binance, name, Some(10_100), ticker("2", "4", "5")), ms(10_100));
    }
    let funding = Funding { mark: Some(price("6")), ..Funding::default() };
    windows.push_market(
        &event(Venue::Binance, "BTC/USDT:USDT", Some(10_200), MarketData::Funding(funding)),
        ms(10_200),
    );
    windows.push_tweet(&tweet("ETH"), ms(10_300));
    let closed = windows.silence_until(15_000);
    let figures = closed.iter().map(|a| [&a["price_close"], &a["bid_avg"], &a["mark"], &a["tweets"]]);
    let expected = serde_json::json!([[1, null, null, 0], [5, 2, 6, 0], [null, null, null, 1]]);
    let figures = serde_json::json!(figures.collect::<Vec<_>>());
    assert_eq!(figures, expected, "ETH has no source of prices, and begins at once");
}
