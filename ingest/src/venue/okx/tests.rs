use bond_core::event::Channel;

use super::super::tests::{connected, decoded, event, normalised, reasons, subscription};
use super::*;

const TRADE: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3","source":"0","seqId":1234}]}"#;
const SWAP_TRADE: &str = r#"{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","tradeId":"7","px":"42219.9","sz":"12.5","side":"sell","ts":"1630048897897"}]}"#;
const TICKER: &str = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","lastSz":"0.1","askPx":"9999.99","askSz":"11","bidPx":"8888.88","bidSz":"5","open24h":"9000","ts":"1597026383085"}]}"#;
const BEST: &str = r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["111.06","55154","0","2"]],"bids":[["111.05","57745","0","2"]],"ts":"1670324386802","seqId":363996337}]}"#;
const SNAPSHOT: &str = r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[["8476.98","415","0","13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","checksum":0,"prevSeqId":-1,"seqId":123456}]}"#;
const UPDATE: &str = r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[["8476.98","0","0","0"]],"bids":[],"ts":"1597026383185","checksum":0,"prevSeqId":123456,"seqId":123457}]}"#;
const FUNDING: &str = r#"{"arg":{"channel":"funding-rate","instId":"BTC-USDT-SWAP"},"data":[{"fundingRate":"0.0001875391284828","fundingTime":"1700726400000","instId":"BTC-USDT-SWAP","instType":"SWAP","nextFundingTime":"1700755200000","ts":"1700724675402"}]}"#;
const LIQUIDATION: &str = r#"{"arg":{"channel":"liquidation-orders","instType":"SWAP"},"data":[{"details":[{"bkLoss":"0","bkPx":"0.007831","ccy":"","posSide":"short","side":"buy","sz":"13","ts":"1692266434010"}],"instFamily":"IOST-USDT","instId":"IOST-USDT-SWAP","instType":"SWAP","uly":"IOST-USDT"}]}"#;
const INSTRUMENTS: &str = r#"{"code":"0","msg":"","data":[
    {"instId":"BTC-USDT-SWAP","instType":"SWAP","state":"live","ctType":"linear","ctVal":"0.01","ctMult":"1","ctValCcy":"BTC","settleCcy":"USDT"},
    {"instId":"IOST-USDT-SWAP","instType":"SWAP","state":"live","ctType":"linear","ctVal":"1000","ctMult":"1","ctValCcy":"IOST","settleCcy":"USDT"},
    {"instId":"ODD-USDT-SWAP","instType":"SWAP","state":"live","ctType":"linear","ctVal":"10","ctMult":"1","ctValCcy":"USDT","settleCcy":"USDT"},
    {"instId":"OLD-USDT-SWAP","instType":"SWAP","state":"suspend","ctType":"linear","ctVal":"1","ctMult":"1","ctValCcy":"OLD"},
    {"instId":"BTC-USD-SWAP","instType":"SWAP","state":"live","ctType":"inverse","ctVal":"100","ctMult":"1","ctValCcy":"USD"}]}"#;

pub(in super::super) const FRAMES: &[&str] = &[
    TRADE,
    SWAP_TRADE,
    TICKER,
    BEST,
    SNAPSHOT,
    UPDATE,
    FUNDING,
    LIQUIDATION,
    INSTRUMENTS,
    r#"{"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instId":"BTC-USDT-SWAP","instType":"SWAP","markPx":"42310.6","ts":"1630049139746"}]}"#,
    r#"{"arg":{"channel":"index-tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","idxPx":"0.1","ts":"1597026383085"}]}"#,
    r#"{"id":"1","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
    r#"{"event":"error","code":"60012","msg":"Invalid request: {\"op\": \"subscribe\"}","connId":"a4d3ae55"}"#,
    "pong",
];

const SPOT: (Venue, MarketType) = (Venue::Okx, MarketType::Spot);
const SWAP: (Venue, MarketType) = (Venue::Okx, MarketType::Perpetual);

fn one(frame: &str) -> String {
    event(SPOT.0, SPOT.1, Some(INSTRUMENTS), frame)
}

#[test]
fn spot_amounts_are_in_the_base_currency() {
    assert_eq!(
        one(TRADE),
        r#"{"type":"trade","exchange":"okx","symbol":"BTC/USDT","ts_event":5,"ts_exchange":1630048897897,"price":42219.9,"size":0.12060306,"side":"buy","trade_id":"130639474"}"#
    );
}

#[test]
fn contracts_are_converted() {
    assert_eq!(
        one(SWAP_TRADE),
        r#"{"type":"trade","exchange":"okx","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1630048897897,"price":42219.9,"size":0.125,"side":"sell","trade_id":"7"}"#
    );
    assert_eq!(
        one(LIQUIDATION),
        r#"{"type":"liquidation","exchange":"okx","symbol":"IOST/USDT:USDT","ts_event":5,"ts_exchange":1692266434010,"price":0.007831,"size":13000,"side":"buy"}"#
    );
    let book = SNAPSHOT.replace("BTC-USDT", "BTC-USDT-SWAP");
    assert!(one(&book).contains(r#""bids":[[8476.97,2.56]],"asks":[[8476.98,4.15]]"#));
}

#[test]
fn what_is_not_served_has_a_reason() {
    let rejected = |frame: &str| reasons(SPOT.0, SPOT.1, frame);
    assert_eq!(rejected(SWAP_TRADE), ["contract size unknown: BTC-USDT-SWAP"]);
    for name in ["BTC-USD-220527", "UNI-USD-SWAP", "BTC-USD_UM-SWAP", "BTC-USD-220527-30000-C"] {
        let frame = TRADE.replace("BTC-USDT", name);
        assert_eq!(rejected(&frame), [format!("instrument not served: {name}")]);
    }
    let old = UPDATE.replace(r#","prevSeqId":123456,"seqId":123457"#, "");
    assert_eq!(rejected(&old), ["no sequence: BTC-USDT"]);
    let old = SNAPSHOT.replace(r#","prevSeqId":-1,"seqId":123456"#, "");
    assert_eq!(rejected(&old), ["no sequence: BTC-USDT"]);
}

#[test]
fn a_bad_item_does_not_hide_the_others() {
    let second = r#",{"instId":"BTC-USDT","tradeId":"8","px":"?","sz":"1","side":"buy","ts":"1630048897897"},{"instId":"BTC-USDT","tradeId":"9","px":"1","sz":"1","side":"buy","ts":"1630048897897"}]}"#;
    let frame = format!("{}{second}", TRADE.strip_suffix("]}").expect("a push"));
    let (lines, counts) = normalised(SPOT.0, SPOT.1, None, &[&frame]);
    assert_eq!(lines.len(), 2);
    assert_eq!(counts.rejects["bad number in px: not a decimal number"], 1);
}

#[test]
fn books_carry_the_sequence() {
    assert!(
        one(SNAPSHOT)
            .contains(r#""update_type":"snapshot","depth":1,"sequence":123456,"prev_sequence":null,"#)
    );
    assert_eq!(
        one(UPDATE),
        r#"{"type":"orderbook","exchange":"okx","symbol":"BTC/USDT","ts_event":5,"ts_exchange":1597026383185,"update_type":"delta","depth":1,"sequence":123457,"prev_sequence":123456,"bids":[],"asks":[[8476.98,0]]}"#
    );
}

#[test]
fn tickers_repeat_no_quote_of_the_faster_channel() {
    let (lines, _) = normalised(SPOT.0, SPOT.1, None, &[TICKER, BEST, TICKER]);
    let quotes: Vec<_> = lines.iter().map(|line| line.contains(r#""bid":"#)).collect();
    assert_eq!(quotes, [true, true, false]);
    assert!(lines.iter().all(|line| line.contains(r#""last":9999.99"#) || line.contains(r#""bid":111.05,"#)));
}

#[test]
fn funding_is_paid_at_the_funding_time() {
    assert_eq!(
        one(FUNDING),
        r#"{"type":"funding","exchange":"okx","symbol":"BTC/USDT:USDT","ts_event":5,"ts_exchange":1700724675402,"rate":0.0001875391284828,"next_time":1700726400000}"#
    );
}

#[test]
fn the_index_is_that_of_the_swap() {
    let (lines, _) = normalised(SWAP.0, SWAP.1, Some(INSTRUMENTS), &[FRAMES[10]]);
    assert!(
        lines[0].contains(r#""symbol":"BTC/USDT:USDT""#) && lines[0].ends_with(r#""index":0.1}"#),
        "{lines:?}"
    );
}

#[test]
fn only_live_linear_swaps_are_listed_with_their_contract_size() {
    let listings =
        connected(SWAP.0, SWAP.1, &[]).decode_listings(INSTRUMENTS.as_bytes()).expect("listings").listings;
    let sizes: Vec<_> =
        listings.iter().map(|l| (l.name.as_str(), l.contract_size.map(|size| size.to_string()))).collect();
    let size = |text: &str| Some(text.to_owned());
    assert_eq!(
        sizes,
        [("BTC-USDT-SWAP", size("0.01")), ("IOST-USDT-SWAP", size("1000")), ("ODD-USDT-SWAP", None)]
    );
}

#[test]
fn a_ticker_is_acknowledged_with_its_last_channel() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[("BTC-USDT", "BTC/USDT")]);
    let wanted =
        [Channel::Ticker, Channel::OrderBook].map(|channel| subscription(SPOT.0, "BTC/USDT", channel));
    assert_eq!(
        protocol.subscribe(&wanted),
        [
            r#"{"args":[{"channel":"tickers","instId":"BTC-USDT"},{"channel":"bbo-tbt","instId":"BTC-USDT"},{"channel":"books","instId":"BTC-USDT"}],"id":"1","op":"subscribe"}"#
        ]
    );
    let ack = |channel: &str| {
        format!(r#"{{"event":"subscribe","arg":{{"channel":"{channel}","instId":"BTC-USDT"}}}}"#)
    };
    let acknowledged = |subscriptions: &[Subscription]| vec![Decoded::Acknowledged(subscriptions.to_vec())];
    assert_eq!(decoded(&mut *protocol, &ack("tickers")), acknowledged(&[]));
    assert_eq!(decoded(&mut *protocol, &ack("books")), acknowledged(&wanted[1..]));
    assert_eq!(decoded(&mut *protocol, &ack("bbo-tbt")), acknowledged(&wanted[..1]));
}

#[test]
fn a_shared_channel_is_asked_for_once_and_given_up_last() {
    let mut protocol =
        connected(SWAP.0, SWAP.1, &[("A-USDT-SWAP", "A/USDT:USDT"), ("B-USDT-SWAP", "B/USDT:USDT")]);
    let wanted =
        ["A/USDT:USDT", "B/USDT:USDT"].map(|symbol| subscription(SWAP.0, symbol, Channel::Liquidations));
    let args = r#""args":[{"channel":"liquidation-orders","instType":"SWAP"}]"#;
    assert_eq!(protocol.subscribe(&wanted[..1]), [format!(r#"{{{args},"id":"1","op":"subscribe"}}"#)]);
    let ack = r#"{"event":"subscribe","arg":{"channel":"liquidation-orders","instType":"SWAP"}}"#;
    assert_eq!(decoded(&mut *protocol, ack), [Decoded::Acknowledged(wanted[..1].to_vec())]);
    assert_eq!(protocol.subscribe(&wanted[1..]), [""; 0]);
    let settled = decoded(&mut *protocol, "pong");
    assert_eq!(settled, [Decoded::Acknowledged(wanted[1..].to_vec()), Decoded::Alive]);
    assert_eq!(protocol.unsubscribe(&wanted[..1]), [""; 0]);
    assert_eq!(protocol.unsubscribe(&wanted[1..]), [format!(r#"{{{args},"id":"2","op":"unsubscribe"}}"#)]);
}

#[test]
fn a_refusal_names_the_channel_in_its_words() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[("BTC-USDT", "BTC/USDT"), ("X-USDT", "X/USDT")]);
    let wanted = ["BTC/USDT", "X/USDT"].map(|symbol| subscription(SPOT.0, symbol, Channel::OrderBook));
    protocol.subscribe(&wanted);
    let error = r#"{"event":"error","code":"60018","msg":"Wrong URL or channel:books,instId:X-USDT doesn't exist.","connId":"a"}"#;
    let reason = "60018: Wrong URL or channel:books,instId:X-USDT doesn't exist.".to_owned();
    assert_eq!(
        decoded(&mut *protocol, error),
        [Decoded::Refused { subscriptions: wanted[1..].to_vec(), reason }]
    );
}

#[test]
fn a_notice_means_to_connect_anew() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[]);
    let notice = r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#;
    let [Decoded::Reconnect { reason }] = &decoded(&mut *protocol, notice)[..] else {
        unreachable!("a notice")
    };
    assert!(reason.starts_with("64008: "), "{reason}");
}

#[test]
fn an_item_that_cannot_be_read_costs_itself() {
    let frame = TRADE.replace(r#""data":["#, r#""data":[{"instId":"BTC-USDT"},5,"#);
    let (lines, counts) = normalised(SPOT.0, SPOT.1, None, &[&frame]);
    assert_eq!((lines.len(), counts.rejects.values().sum::<u64>()), (1, 2));
    let details = LIQUIDATION.replace(
        r#""details":["#,
        r#""details":[{"bkPx":"?","sz":"1","side":"buy","ts":"1692266434010"},{"sz":7},"#,
    );
    let (lines, counts) = normalised(SWAP.0, SWAP.1, Some(INSTRUMENTS), &[&details]);
    assert_eq!((lines.len(), counts.rejects.values().sum::<u64>()), (1, 2));
    let list = INSTRUMENTS.replace(r#""data":["#, r#""data":[{"instId":null},"#);
    let page = connected(SWAP.0, SWAP.1, &[]).decode_listings(list.as_bytes()).expect("a list");
    assert_eq!((page.listings.len(), page.unreadable.len()), (3, 1));
}

#[test]
fn a_trade_of_nothing_is_none() {
    let (lines, counts) = normalised(SPOT.0, SPOT.1, None, &[&TRADE.replace("0.12060306", "0")]);
    assert_eq!((lines.len(), counts.other["print without a price or an amount"]), (0, 1));
}

#[test]
fn an_empty_side_is_told_and_not_repeated() {
    let gone = BEST.replace(r#"[["111.06","55154","0","2"]]"#, "[]");
    let no_ask = TICKER.replace(r#""askPx":"9999.99","askSz":"11""#, r#""askPx":"","askSz":"""#);
    assert!(one(&no_ask).contains(r#","ask":null,"ask_size":null,"bid":8888.88,"#));
    let (lines, _) = normalised(SPOT.0, SPOT.1, None, &[&gone, &no_ask]);
    assert!(lines[0].contains(r#","ask":null,"#) && !lines[1].contains("ask"), "{lines:?}");
}

#[test]
fn a_funding_without_a_rate_keeps_its_time() {
    let frame = FUNDING.replace("0.0001875391284828", "");
    let line = one(&frame);
    assert!(line.contains(r#""next_time":1700726400000"#) && !line.contains("rate"), "{line}");
}

#[test]
fn a_refusal_of_a_message_has_its_id_and_costs_what_it_names() {
    let mut protocol = connected(SPOT.0, SPOT.1, &[("BTC-USDT", "BTC/USDT"), ("X-USDT", "X/USDT")]);
    let wanted = ["BTC/USDT", "X/USDT"].map(|symbol| subscription(SPOT.0, symbol, Channel::Trades));
    protocol.subscribe(&wanted);
    let words = "Wrong URL or channel:trades,instId:X-USDT doesn't exist.";
    let error = format!(r#"{{"id":"1","event":"error","code":"60018","msg":"{words}","connId":"a"}}"#);
    let reason = format!("60018: {words}");
    let again = r#"{"args":[{"channel":"trades","instId":"BTC-USDT"}],"id":"2","op":"subscribe"}"#;
    assert_eq!(
        decoded(&mut *protocol, &error),
        [
            Decoded::Refused { subscriptions: wanted[1..].to_vec(), reason: reason.clone() },
            Decoded::AskApart { texts: vec![again.to_owned()], reason },
        ]
    );
    let often = r#"{"id":"2","event":"error","code":"60014","msg":"Requests too frequent."}"#;
    assert!(matches!(decoded(&mut *protocol, often)[..], [Decoded::Ignored(_)]), "refuses nothing");
}
