use bond_core::event::Channel;

use super::super::tests::{connected, decoded, event, normalised, reasons, subscription};
use super::*;

const TRADES: &str = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"seq":1783284617},{"T":1672304486866,"s":"BTCUSDT","S":"Sell","v":"2","p":"16578.00","i":"2100000000007764263","BT":false}]}"#;
const BOOK: &str = r#"{"topic":"orderbook.200.BTCUSDT","ts":1687940967466,"type":"delta","data":{"s":"BTCUSDT","b":[["30240.00","0"]],"a":[["30248.70","3.5"]],"u":177400507,"seq":66544703342},"cts":1687940967464}"#;
const BEST: &str = r#"{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[["16611.00","0.029"]],"u":18521288,"seq":7961638724},"cts":1672304484976}"#;
const LINEAR_TICKER: &str = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","tickDirection":"PlusTick","bid1Price":"17215.50","bid1Size":"84.489","fundingRate":"-0.000212","nextFundingTime":"1673280000000","markPrice":"17217.33","openInterest":"68744.761"},"cs":24987956059,"ts":1673272861686}"#;
const LIQUIDATION: &str = r#"{"topic":"allLiquidation.ROSEUSDT","type":"snapshot","ts":1739502303204,"data":[{"T":1739502302929,"s":"ROSEUSDT","S":"Sell","v":"20000","p":"0.04499"}]}"#;

pub(in super::super) const FRAMES: &[&str] = &[
    TRADES,
    BOOK,
    BEST,
    LINEAR_TICKER,
    LIQUIDATION,
    r#"{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"1","op":"subscribe"}"#,
    r#"{"success":true,"ret_msg":"pong","conn_id":"0970e817","op":"ping"}"#,
    r#"{"success":false,"ret_msg":"error:handler not found,topic:\"x\"","conn_id":"c","req_id":"1","op":"subscribe"}"#,
];

const SPOT: (Venue, MarketType) = (Venue::Bybit, MarketType::Spot);
const LINEAR: (Venue, MarketType) = (Venue::Bybit, MarketType::Perpetual);

fn one((venue, market): (Venue, MarketType), frame: &str) -> String {
    event(venue, market, None, frame)
}

#[test]
fn every_trade_of_a_push_comes_out() {
    let (lines, _) = normalised(LINEAR.0, LINEAR.1, None, &[TRADES]);
    assert_eq!(
        lines,
        [
            r#"{"type":"trade","exchange":"bybit","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1672304486865,"price":16578.5,"size":0.001,"side":"buy","trade_id":"20f43950-d8dd-5b31-9112-a178eb6023af"}"#,
            r#"{"type":"trade","exchange":"bybit","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1672304486866,"price":16578,"size":2,"side":"sell","trade_id":"2100000000007764263"}"#,
        ]
    );
}

#[test]
fn a_book_counts_by_one_in_the_engines_time() {
    assert_eq!(
        one(SPOT, BOOK),
        r#"{"type":"orderbook","exchange":"bybit","symbol":"BTC/USDT","ts_event":5,"ts_exchange":1687940967464,"update_type":"delta","depth":1,"sequence":177400507,"prev_sequence":177400506,"bids":[[30240,0]],"asks":[[30248.7,3.5]]}"#
    );
    let restarted = BOOK.replace(r#""u":177400507"#, r#""u":1"#);
    assert!(one(SPOT, &restarted).contains(r#""update_type":"snapshot""#));
}

#[test]
fn a_repeated_best_price_is_no_news() {
    let (lines, counts) =
        normalised(SPOT.0, SPOT.1, None, &[BEST, BEST, &BEST.replace("18521288", "18521289")]);
    assert_eq!(lines.len(), 2);
    assert_eq!(counts.other["alive"], 1);
    assert!(lines[0].ends_with(r#""bid":16493.5,"ask":16611,"bid_size":0.006,"ask_size":0.029}"#));
}

#[test]
fn a_linear_ticker_carries_the_funding() {
    let (lines, _) = normalised(LINEAR.0, LINEAR.1, None, &[LINEAR_TICKER]);
    assert_eq!(
        lines,
        [
            r#"{"type":"ticker","exchange":"bybit","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1673272861686,"bid":17215.5,"bid_size":84.489,"mark":17217.33,"open_interest":68744.761}"#,
            r#"{"type":"funding","exchange":"bybit","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1673272861686,"rate":-0.000212,"next_time":1673280000000,"mark":17217.33}"#,
        ]
    );
}

#[test]
fn a_liquidations_order_is_opposite_to_its_position() {
    assert_eq!(
        one(LINEAR, LIQUIDATION),
        r#"{"type":"liquidation","exchange":"bybit","symbol":"ROSE/USDT:USDT","ts_event":5,"ts_exchange":1739502302929,"price":0.04499,"size":20000,"side":"buy"}"#
    );
}

#[test]
fn names_are_read_by_the_markets_rules() {
    let usdc = TRADES.replace("BTCUSDT", "BTCPERP");
    assert!(normalised(LINEAR.0, LINEAR.1, None, &[&usdc]).0[0].contains(r#""symbol":"BTC/USDC:USDC""#));
    for name in ["BTCUSD", "BTCUSDT-26DEC25", "BTC-26DEC25"] {
        let frame = TRADES.replace("BTCUSDT", name);
        assert_eq!(reasons(LINEAR.0, LINEAR.1, &frame), [format!("instrument not served: {name}")]);
    }
}

#[test]
fn the_list_of_instruments_tells_what_is_served() {
    let body = r#"{"retCode":0,"result":{"category":"linear","list":[
        {"symbol":"BTCPERP","contractType":"LinearPerpetual","status":"Trading","baseCoin":"BTC","quoteCoin":"USDC","settleCoin":"USDC"},
        {"symbol":"BTC-26DEC25","contractType":"LinearFutures","status":"Trading","baseCoin":"BTC","quoteCoin":"USDC"},
        {"symbol":"NEWUSDT","contractType":"LinearPerpetual","status":"PreLaunch","baseCoin":"NEW","quoteCoin":"USDT"}]}}"#;
    let listings =
        connected(LINEAR.0, LINEAR.1, &[]).decode_listings(body.as_bytes()).expect("listings").listings;
    let symbols: Vec<_> = listings.iter().map(|listing| listing.instrument.symbol.to_string()).collect();
    assert_eq!(symbols, ["BTC/USDC:USDC"]);
}

#[test]
fn one_topic_serves_ticker_and_funding() {
    let mut protocol = connected(LINEAR.0, LINEAR.1, &[("BTCUSDT", "BTC/USDT:USDT")]);
    let wanted =
        [Channel::Ticker, Channel::Funding].map(|channel| subscription(LINEAR.0, "BTC/USDT:USDT", channel));
    assert_eq!(
        protocol.subscribe(&wanted),
        [r#"{"args":["tickers.BTCUSDT"],"op":"subscribe","req_id":"1"}"#]
    );
    let ack = r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"1","op":"subscribe"}"#;
    assert_eq!(decoded(&mut *protocol, ack), [Decoded::Acknowledged(wanted.to_vec())]);
    assert_eq!(protocol.unsubscribe(&wanted[..1]), [""; 0]);
    assert_eq!(
        protocol.unsubscribe(&wanted[1..]),
        [r#"{"args":["tickers.BTCUSDT"],"op":"unsubscribe","req_id":"2"}"#]
    );
}

#[test]
fn a_spot_message_has_ten_arguments_at_most() {
    let symbols: Vec<_> = (0..6).map(|n| (format!("A{n}USDT"), format!("A{n}/USDT"))).collect();
    let names: Vec<_> = symbols.iter().map(|(name, symbol)| (name.as_str(), symbol.as_str())).collect();
    let mut protocol = connected(SPOT.0, SPOT.1, &names);
    let wanted: Vec<_> =
        symbols.iter().map(|(_, symbol)| subscription(SPOT.0, symbol, Channel::Ticker)).collect();
    let messages = protocol.subscribe(&wanted);
    let counts: Vec<_> = messages.iter().map(|message| message.matches("USDT").count()).collect();
    assert_eq!(counts, [10, 2]);
}

#[test]
fn pongs_and_refusals_are_told() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[("BTCUSDT", "BTC/USDT")]);
    assert_eq!(decoded(&mut *protocol, FRAMES[6]), [Decoded::Alive]);
    assert_eq!(decoded(&mut *protocol, r#"{"args":["1"],"op":"pong"}"#), [Decoded::Alive]);
    let wanted = subscription(SPOT.0, "BTC/USDT", Channel::Trades);
    protocol.subscribe(std::slice::from_ref(&wanted));
    let reason = r#"error:handler not found,topic:"x""#.to_owned();
    assert_eq!(
        decoded(&mut *protocol, FRAMES[7]),
        [Decoded::Refused { subscriptions: vec![wanted], reason }]
    );
}

#[test]
fn an_item_that_cannot_be_read_costs_itself() {
    let frame = TRADES.replace(r#"{"T":1672304486866,"#, r#"{"s":"BTCUSDT"},null,{"T":1672304486866,"#);
    let (lines, counts) = normalised(LINEAR.0, LINEAR.1, None, &[&frame]);
    assert_eq!((lines.len(), counts.rejects.values().sum::<u64>()), (2, 2));
    let half = LIQUIDATION.replace(r#""data":["#, r#""data":[{"T":"x"},"#);
    assert_eq!(normalised(LINEAR.0, LINEAR.1, None, &[&half]).0.len(), 1);
}

#[test]
fn a_trade_of_nothing_or_for_nothing_is_none() {
    let frame = TRADES.replace(r#""v":"0.001""#, r#""v":"0""#).replace("16578.00", "0.00");
    let (lines, counts) = normalised(LINEAR.0, LINEAR.1, None, &[&frame]);
    assert_eq!((lines.len(), counts.other["print without a price or an amount"]), (0, 2));
}

#[test]
fn the_list_names_its_next_page_and_an_unreadable_entry_costs_itself() {
    let body = r#"{"retCode":0,"result":{"category":"spot","list":[{"symbol":"X"},
        {"symbol":"BTCUSDT","status":"Trading","baseCoin":"BTC","quoteCoin":"USDT"}],"nextPageCursor":"first%3DA&b"}}"#;
    let protocol = connected(SPOT.0, SPOT.1, &[]);
    let page = protocol.decode_listings(body.as_bytes()).expect("a page");
    assert_eq!((page.listings.len(), page.unreadable.len()), (1, 1));
    let next = protocol.listings_request(page.next.as_deref());
    assert_eq!(next, "/v5/market/instruments-info?category=spot&limit=1000&cursor=first%253DA%26b");
    let last = body.replace("first%3DA&b", "");
    assert_eq!(protocol.decode_listings(last.as_bytes()).expect("a page").next, None);
}

#[test]
fn an_empty_side_is_told() {
    let one_sided = BEST.replace(r#"[["16611.00","0.029"]]"#, "[]");
    assert!(one(SPOT, &one_sided).contains(r#","ask":null,"ask_size":null,"bid":16493.5,"#));
    for gone in [r#""bid1Price":"","bid1Size":"0""#, r#""bid1Price":"0","bid1Size":"0""#, r#""bid1Size":"0""#]
    {
        let frame = LINEAR_TICKER.replace(r#""bid1Price":"17215.50","bid1Size":"84.489""#, gone);
        let (lines, _) = normalised(LINEAR.0, LINEAR.1, None, &[&frame]);
        assert!(lines[0].contains(r#","bid":null,"bid_size":null,"#), "{lines:?}");
        assert!(!lines[0].contains("ask"), "absent is unchanged");
    }
}

#[test]
fn one_refused_topic_costs_itself() {
    let names = [("AUSDT", "A/USDT:USDT"), ("BUSDT", "B/USDT:USDT"), ("CUSDT", "C/USDT:USDT")];
    let mut protocol = connected(LINEAR.0, LINEAR.1, &names);
    let wanted = names.map(|(_, symbol)| subscription(LINEAR.0, symbol, Channel::Trades));
    protocol.subscribe(&wanted);
    let refusal = r#"{"success":false,"ret_msg":"Invalid symbol :[publicTrade.BUSDT]","conn_id":"c","req_id":"1","op":"subscribe"}"#;
    let reason = "Invalid symbol :[publicTrade.BUSDT]".to_owned();
    let again = r#"{"args":["publicTrade.AUSDT","publicTrade.CUSDT"],"op":"subscribe","req_id":"2"}"#;
    assert_eq!(
        decoded(&mut *protocol, refusal),
        [
            Decoded::Refused { subscriptions: wanted[1..2].to_vec(), reason: reason.clone() },
            Decoded::AskApart { texts: vec![again.to_owned()], reason },
        ]
    );
}

#[test]
fn a_topic_that_is_shared_is_asked_for_again_on_the_wire() {
    let mut protocol = connected(LINEAR.0, LINEAR.1, &[("BTCUSDT", "BTC/USDT:USDT")]);
    let wanted =
        [Channel::Ticker, Channel::Funding].map(|channel| subscription(LINEAR.0, "BTC/USDT:USDT", channel));
    protocol.subscribe(&wanted);
    assert_eq!(
        protocol.resubscribe(&wanted[..1]),
        [
            r#"{"args":["tickers.BTCUSDT"],"op":"unsubscribe","req_id":"2"}"#,
            r#"{"args":["tickers.BTCUSDT"],"op":"subscribe","req_id":"3"}"#,
        ]
    );
    assert_eq!(protocol.unsubscribe(&wanted[..1]), [""; 0], "the funding still holds it");
}
