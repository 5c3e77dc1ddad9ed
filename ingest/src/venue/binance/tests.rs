use bond_core::event::Channel;

use super::super::NoTrade;
use super::super::tests::{connected, decoded, event, normalised, reasons, subscription};
use super::*;

const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const DEPTH: &str = r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":157,"u":160,"b":[["61737.63000000","0.00000000"]],"a":[["61837.64000000","1.54698000"],["61839.85","2"]]}}"#;
const FUTURES_DEPTH: &str = r#"{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT","U":900,"u":950,"pu":899,"b":[["58710.20","0.014"]],"a":[]}}"#;
const MARK_PRICE: &str = r#"{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091","P":"11784.25641265","r":"0.00038167","T":1562306400000}"#;
const FORCE_ORDER: &str = r#"{"stream":"btcusdt@forceOrder","data":{"e":"forceOrder","E":1568014460893,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.014","p":"9910","ap":"9909.5","X":"FILLED","l":"0.014","z":"0.010","T":1568014460893,"ps":"LONG","st":"x"}}}"#;
const BOOK_TICKER: &str = r#"{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}"#;
const SNAPSHOT: &str = r#"{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}"#;

pub(in super::super) const FRAMES: &[&str] = &[
    TRADE,
    DEPTH,
    FUTURES_DEPTH,
    MARK_PRICE,
    FORCE_ORDER,
    BOOK_TICKER,
    SNAPSHOT,
    r#"{"stream":"btcusdt@depth20@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[]}}"#,
    r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","a":5,"p":"0.1","q":"10","f":1,"l":2,"T":1723161255343,"m":false}}"#,
    r#"{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1723161255343,"s":"BTCUSDT","c":"0.0025","o":"1","h":"2","l":"0","v":"1","q":"1"}}"#,
    r#"{"stream":"btcusdt@kline_1m","data":{"e":"kline"}}"#,
    r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
    r#"{"result":null,"id":1}"#,
    r#"{"code":2,"msg":"Invalid request: unknown \"method\"","id":1}"#,
];

const SPOT: (Venue, MarketType) = (Venue::Binance, MarketType::Spot);
const FUTURES: (Venue, MarketType) = (Venue::Binance, MarketType::Perpetual);

fn one((venue, market): (Venue, MarketType), frame: &str) -> String {
    event(venue, market, None, frame)
}

#[test]
fn a_trade_has_the_takers_side_and_exact_numbers() {
    assert_eq!(
        one(SPOT, TRADE),
        r#"{"type":"trade","exchange":"binance","symbol":"BTC/USDT","ts_event":5,"ts_exchange":1723161255342,"price":61837.63,"size":0.02,"side":"sell","trade_id":"3735683259"}"#
    );
    let aggregate = FRAMES[8];
    assert_eq!(
        one(FUTURES, aggregate),
        r#"{"type":"trade","exchange":"binance","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1723161255343,"price":0.1,"size":10,"side":"buy","trade_id":"5"}"#
    );
}

#[test]
fn the_receive_time_of_a_capture_line_is_kept() {
    let (lines, _) = normalised(SPOT.0, SPOT.1, None, &[&format!("1723161254087896568 {TRADE}")]);
    assert!(lines[0].contains(r#""ts_event":1723161254087,"#), "{lines:?}");
}

#[test]
fn depth_says_what_it_follows() {
    assert_eq!(
        one(SPOT, DEPTH),
        r#"{"type":"orderbook","exchange":"binance","symbol":"BTC/USDT","ts_event":5,"ts_exchange":1723161255208,"update_type":"delta","depth":2,"sequence":160,"prev_sequence":156,"bids":[[61737.63,0]],"asks":[[61837.64,1.54698],[61839.85,2]]}"#
    );
    let futures = one(FUTURES, FUTURES_DEPTH);
    assert!(
        futures.contains(r#""ts_exchange":1723161256298,"#) && futures.contains(r#""prev_sequence":899,"#)
    );
    assert_eq!(reasons(FUTURES.0, FUTURES.1, DEPTH), ["no sequence: BTCUSDT"]);
}

#[test]
fn a_partial_book_is_that_of_its_streams_symbol() {
    let frame = r#"{"stream":"ethusdt@depth20@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[]}}"#;
    assert_eq!(
        one(SPOT, frame),
        r#"{"type":"orderbook","exchange":"binance","symbol":"ETH/USDT","ts_event":5,"ts_exchange":null,"update_type":"snapshot","depth":1,"sequence":160,"prev_sequence":null,"bids":[[0.0024,10]],"asks":[]}"#
    );
    let futures = FUTURES_DEPTH.replace("depth@0ms", "depth20@100ms");
    assert!(one(FUTURES, &futures).contains(r#""update_type":"snapshot","#));
}

#[test]
fn a_rest_snapshot_belongs_to_the_only_symbol_there_is() {
    let (lines, counts) =
        normalised(SPOT.0, SPOT.1, None, &[SNAPSHOT, TRADE, SNAPSHOT, BOOK_TICKER, SNAPSHOT]);
    assert_eq!(lines.len(), 3);
    assert!(lines[1].contains(r#""symbol":"BTC/USDT""#) && lines[1].contains(r#""sequence":160,"#));
    assert_eq!(counts.rejects["no symbol: an order book that could be anybody's"], 2);
}

#[test]
fn a_book_ticker_without_wrapper_and_time_is_a_quote() {
    assert_eq!(
        one(SPOT, BOOK_TICKER),
        r#"{"type":"ticker","exchange":"binance","symbol":"BNB/USDT","ts_event":5,"ts_exchange":null,"bid":25.3519,"ask":25.3652,"bid_size":31.21,"ask_size":40.66}"#
    );
    let empty = BOOK_TICKER.replace("25.35190000", "0.0").replace("31.21000000", "0.0");
    assert!(one(SPOT, &empty).contains(r#","bid":null,"bid_size":null,"ask":25.3652,"#));
}

#[test]
fn a_mark_price_is_funding_and_ticker() {
    let (lines, _) = normalised(FUTURES.0, FUTURES.1, None, &[MARK_PRICE]);
    assert_eq!(
        lines,
        [
            r#"{"type":"funding","exchange":"binance","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1562305380000,"rate":0.00038167,"next_time":1562306400000,"mark":11794.15,"index":11784.62659091}"#,
            r#"{"type":"ticker","exchange":"binance","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1562305380000,"mark":11794.15,"index":11784.62659091}"#,
        ]
    );
}

#[test]
fn a_liquidation_has_its_orders_side_and_what_was_filled() {
    assert_eq!(
        one(FUTURES, FORCE_ORDER),
        r#"{"type":"liquidation","exchange":"binance","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1568014460893,"price":9909.5,"size":0.01,"side":"sell"}"#
    );
    let unfilled = FORCE_ORDER.replace("9909.5", "0").replace("0.010", "0");
    assert!(one(FUTURES, &unfilled).contains(r#""price":9910,"size":0.014,"#));
}

#[test]
fn what_is_not_served_has_a_reason() {
    for (market, name) in [(FUTURES, "BTCUSDT_261225"), (FUTURES, "BTCUSD"), (SPOT, "BTC"), (SPOT, "🚀USDT")]
    {
        let frame = TRADE.replace("BTCUSDT", name);
        assert_eq!(reasons(market.0, market.1, &frame), [format!("instrument not served: {name}")]);
    }
    for (from, to, reason) in [
        ("\"0.02000000\"", "\"x\"", "bad number in q: not a decimal number"),
        ("\"0.02000000\"", "\"-1\"", "bad number in q: negative where only zero or more has a meaning"),
        ("\"t\":3735683259,", "", "malformed: missing field `t`"),
        (",\"M\":true}}", "", "malformed: EOF while parsing an object"),
    ] {
        assert_eq!(reasons(SPOT.0, SPOT.1, &TRADE.replace(from, to)), [reason]);
    }
}

/// `trade` of USD-M, which Bond does not subscribe to: prints of 2025-08 as a user saw them.
const PRINTS: [&str; 3] = [
    r#"{"e":"trade","E":1756220468099,"T":1756220468099,"s":"BTCUSDT","t":9000001,"p":"111222.30","q":"0.004","X":"MARKET","m":false}"#,
    r#"{"e":"trade","E":1756220468100,"T":1756220468100,"s":"BTCUSDT","t":9000002,"p":"0","q":"0","X":"NA","m":true}"#,
    r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1756220468101,"T":1756220468101,"s":"BTCUSDT","t":9000003,"p":"98000.00","q":"1.5","X":"INSURANCE_FUND","m":true}}"#,
];

#[test]
fn prints_that_are_no_trades_are_counted_apart() {
    let adl = PRINTS[0].replace("MARKET", "ADL");
    let (lines, counts) = normalised(FUTURES.0, FUTURES.1, None, &[&PRINTS[..], &[&adl]].concat());
    assert_eq!((lines.len(), &counts.rejects), (1, &std::collections::BTreeMap::new()));
    assert!(lines[0].contains(r#""price":111222.3,"#), "{lines:?}");
    let kinds = ["print of an insurance fund", "print of an auto-deleveraging", "print that is no trade"];
    assert_eq!(kinds.map(|kind| counts.other[kind]), [1, 1, 1]);
}

#[test]
fn a_print_keeps_its_number() {
    let mut protocol = connected(FUTURES.0, FUTURES.1, &[("BTCUSDT", "BTC/USDT:USDT")]);
    let [Decoded::Print { kind, number, .. }] = &decoded(&mut *protocol, PRINTS[2])[..] else {
        unreachable!("a print")
    };
    assert_eq!((*kind, *number), (NoTrade::InsuranceFund, Some(9_000_003)));
}

#[test]
fn symbols_in_any_script_are_served() {
    let info = r#"{"timezone":"UTC","symbols":[{"symbol":"币安人生USDT","status":"TRADING","baseAsset":"币安人生","quoteAsset":"USDT"},
        {"symbol":"\u8fd9\u662f\u6d4b\u8bd5\u5e01456","status":"TRADING","baseAsset":"\u8fd9\u662f\u6d4b\u8bd5\u5e01","quoteAsset":"456"}]}"#;
    let frame = TRADE.replace("BTCUSDT", "币安人生USDT").replace("btcusdt", "币安人生usdt");
    assert!(event(SPOT.0, SPOT.1, Some(info), &frame).contains(r#""symbol":"币安人生/USDT""#));
    assert!(one(SPOT, &frame).contains(r#""symbol":"币安人生/USDT""#), "by its spelling alone");
    let page = connected(SPOT.0, SPOT.1, &[]).decode_listings(info.as_bytes()).expect("a list");
    assert_eq!(page.listings[1].instrument.symbol.to_string(), "这是测试币/456");
    let mut protocol = connected(SPOT.0, SPOT.1, &[("币安人生USDT", "币安人生/USDT")]);
    let book = subscription(SPOT.0, "币安人生/USDT", Channel::OrderBook);
    let request = protocol.snapshot_request(&book.instrument);
    let encoded = "/api/v3/depth?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&limit=5000";
    assert_eq!(request.as_deref(), Some(encoded));
    assert!(protocol.subscribe(&[book])[0].contains("币安人生usdt@depth@100ms"));
}

#[test]
fn an_entry_of_the_list_that_cannot_be_read_costs_itself() {
    let info = r#"{"symbols":[
        {"symbol":"BROKEN","contractType":"PERPETUAL"},
        {"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","contractType":"PERPETUAL"},
        {"symbol":"NULUSDT","status":"TRADING","baseAsset":"NUL","quoteAsset":"USDT","contractType":null},
        {"symbol":"NEWUSDT","status":"PENDING_TRADING","baseAsset":"NEW","quoteAsset":"USDT","contractType":""},
        7,
        {"symbol":"XAUUSDT","status":"TRADING","baseAsset":"XAU","quoteAsset":"USDT","contractType":"TRADIFI_PERPETUAL"}]}"#;
    let page = connected(FUTURES.0, FUTURES.1, &[]).decode_listings(info.as_bytes()).expect("a list");
    let names: Vec<_> = page.listings.iter().map(|listing| listing.name.as_str()).collect();
    assert_eq!((names, page.unreadable.len()), (vec!["BTCUSDT", "XAUUSDT"], 2));
    let (lines, counts) = normalised(FUTURES.0, FUTURES.1, Some(info), &[FRAMES[8]]);
    assert_eq!(lines.len(), 1);
    assert_eq!(counts.rejects["malformed: missing field `status`"], 1);
}

#[test]
fn a_time_is_known_in_whichever_unit() {
    for (time, millis) in [
        ("1756220468099003", "1756220468099"),
        ("1756220468099003000", "1756220468099"),
        ("1756220468099", "1756220468099"),
    ] {
        let frame = TRADE.replace("1723161255342", time);
        assert!(one(SPOT, &frame).contains(&format!(r#""ts_exchange":{millis},"#)), "{time}");
    }
    let nonsense = TRADE.replace("1723161255342", "99999999999999");
    let (lines, counts) = normalised(SPOT.0, SPOT.1, None, &[&nonsense]);
    assert!(lines[0].contains(r#""ts_exchange":null,"#), "{lines:?}");
    assert_eq!(counts.rejects["no time: 99999999999999"], 1);
    let funding = MARK_PRICE.replace("1562306400000", "1562306400");
    let (lines, counts) = normalised(FUTURES.0, FUTURES.1, None, &[&funding]);
    assert!(!lines[0].contains("next_time") && lines[0].contains(r#""rate":0.00038167,"#), "{lines:?}");
    assert_eq!(counts.rejects["no time: 1562306400"], 1);
}

#[test]
fn what_was_refused_together_is_asked_for_apart() {
    let mut protocol =
        connected(SPOT.0, SPOT.1, &[("AUSDT", "A/USDT"), ("BUSDT", "B/USDT"), ("CUSDT", "C/USDT")]);
    let wanted = ["A/USDT", "B/USDT", "C/USDT"].map(|symbol| subscription(SPOT.0, symbol, Channel::Trades));
    protocol.subscribe(&wanted);
    let reason = "2: Invalid request".to_owned();
    let texts = [
        r#"{"id":2,"method":"SUBSCRIBE","params":["ausdt@trade","busdt@trade"]}"#,
        r#"{"id":3,"method":"SUBSCRIBE","params":["cusdt@trade"]}"#,
    ];
    assert_eq!(
        decoded(&mut *protocol, r#"{"code":2,"msg":"Invalid request","id":1}"#),
        [Decoded::AskApart { texts: texts.map(str::to_owned).to_vec(), reason: reason.clone() }]
    );
    assert_eq!(
        decoded(&mut *protocol, r#"{"result":null,"id":2}"#),
        [Decoded::Acknowledged(wanted[..2].to_vec())]
    );
    assert_eq!(
        decoded(&mut *protocol, r#"{"code":2,"msg":"Invalid request","id":3}"#),
        [Decoded::Refused { subscriptions: wanted[2..].to_vec(), reason }]
    );
}

#[test]
fn a_shutdown_means_to_connect_anew() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[]);
    let reconnect = [Decoded::Reconnect { reason: "serverShutdown".to_owned() }];
    assert_eq!(decoded(&mut *protocol, r#"{"e":"serverShutdown","E":1770123456789}"#), reconnect);
    assert_eq!(decoded(&mut *protocol, FRAMES[11]), reconnect);
}

#[test]
fn subscriptions_are_asked_for_and_acknowledged() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[("BTCUSDT", "BTC/USDT")]);
    let wanted = [Channel::Trades, Channel::Ticker].map(|channel| subscription(SPOT.0, "BTC/USDT", channel));
    assert_eq!(
        protocol.subscribe(&wanted),
        [
            r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@bookTicker","btcusdt@miniTicker"]}"#
        ]
    );
    let answer = decoded(&mut *protocol, r#"{"result":null,"id":1}"#);
    assert_eq!(answer, [Decoded::Acknowledged(wanted.to_vec())]);
    assert_eq!(
        protocol.unsubscribe(&wanted[..1]),
        [r#"{"id":2,"method":"UNSUBSCRIBE","params":["btcusdt@trade"]}"#]
    );
}

#[test]
fn a_refusal_names_what_was_asked_for() {
    let mut protocol = connected(FUTURES.0, FUTURES.1, &[("BTCUSDT", "BTC/USDT:USDT")]);
    let wanted = [subscription(FUTURES.0, "BTC/USDT:USDT", Channel::Trades)];
    assert_eq!(
        protocol.subscribe(&wanted),
        [r#"{"id":1,"method":"SUBSCRIBE","params":["btcusdt@aggTrade"]}"#]
    );
    let reason = "2: Invalid request".to_owned();
    assert_eq!(
        decoded(&mut *protocol, r#"{"code":2,"msg":"Invalid request","id":1}"#),
        [Decoded::Refused { subscriptions: wanted.to_vec(), reason: reason.clone() }]
    );
    assert_eq!(
        decoded(&mut *protocol, r#"{"error":{"code":2,"msg":"Invalid request"},"id":null}"#),
        [Decoded::Refused { subscriptions: vec![], reason }]
    );
}

#[test]
fn the_list_of_instruments_tells_what_is_served() {
    let spot = r#"{"timezone":"UTC","symbols":[
        {"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH","quoteAsset":"BTC"},
        {"symbol":"OLDBTC","status":"BREAK","baseAsset":"OLD","quoteAsset":"BTC"}]}"#;
    let futures = r#"{"symbols":[
        {"symbol":"1000PEPEUSDT","contractType":"PERPETUAL","status":"TRADING","baseAsset":"1000PEPE","quoteAsset":"USDT"},
        {"symbol":"BTCUSDT_261225","contractType":"CURRENT_QUARTER","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT"}]}"#;
    for ((venue, market), body, symbol) in [(SPOT, spot, "ETH/BTC"), (FUTURES, futures, "1000PEPE/USDT:USDT")]
    {
        let listings =
            connected(venue, market, &[]).decode_listings(body.as_bytes()).expect("listings").listings;
        let symbols: Vec<_> = listings.iter().map(|listing| listing.instrument.symbol.to_string()).collect();
        assert_eq!(symbols, [symbol]);
    }
}

#[test]
fn snapshots_come_by_rest() {
    let protocol = connected(FUTURES.0, FUTURES.1, &[("BTCUSDT", "BTC/USDT:USDT")]);
    let wanted = subscription(FUTURES.0, "BTC/USDT:USDT", Channel::OrderBook);
    let request = protocol.snapshot_request(&wanted.instrument);
    assert_eq!(request.as_deref(), Some("/fapi/v1/depth?symbol=BTCUSDT&limit=1000"));
    let book = protocol.decode_snapshot(&wanted.instrument, SNAPSHOT.as_bytes()).expect("snapshot");
    assert_eq!((book.last_id, book.bids.len(), book.asks.len()), (160, 1, 1));
}

#[test]
fn a_best_price_of_the_same_book_is_a_repetition() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[("BNBUSDT", "BNB/USDT")]);
    let ticker = subscription(SPOT.0, "BNB/USDT", Channel::Ticker);
    assert!(matches!(decoded(&mut *protocol, BOOK_TICKER)[..], [Decoded::Event(_)]));
    assert_eq!(decoded(&mut *protocol, BOOK_TICKER), [Decoded::Unchanged(ticker, Part::Quote)]);
    let next = BOOK_TICKER.replace("400900217", "400900218");
    assert!(matches!(decoded(&mut *protocol, &next)[..], [Decoded::Event(_)]));
}
