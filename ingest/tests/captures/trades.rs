//! Every trade in, every trade out, once.

use bond_core::instrument::{MarketType, Venue};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::file::{events, lines};

/// What identifies a trade and what it says, as the venue wrote it, trailing zeros dropped.
#[derive(Debug, PartialEq)]
struct Trade {
    id: String,
    price: String,
    size: String,
    side: String,
    ts_exchange: i64,
}

fn trimmed(number: &str) -> String {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number.to_owned(),
    }
}

/// The JSON behind the receive time.
fn frame(line: &str) -> Value {
    let (_, frame) = line.split_once(' ').expect("a capture line");
    serde_json::from_str(frame).expect("JSON")
}

fn binance_trade(frame: &Value) -> Option<Trade> {
    let data = &frame["data"];
    (data["e"] == "trade").then(|| Trade {
        id: data["t"].to_string(),
        price: trimmed(data["p"].as_str().expect("text")),
        size: trimmed(data["q"].as_str().expect("text")),
        side: if data["m"] == true { "sell" } else { "buy" }.to_owned(),
        ts_exchange: data["T"].as_i64().expect("an integer"),
    })
}

/// The trades of instruments that need no contract size: `BTC-USDT`, not `UNI-USD-SWAP`.
fn okx_spot_trades(frame: &Value) -> Vec<Trade> {
    let spot = frame["arg"]["channel"] == "trades" && frame["arg"]["instId"] == "BTC-USDT";
    let data = frame["data"].as_array().filter(|_| spot).into_iter().flatten();
    data.map(okx_trade).collect()
}

fn okx_trade(data: &Value) -> Trade {
    let text = |field: &str| data[field].as_str().expect("text").to_owned();
    Trade {
        id: text("tradeId"),
        price: trimmed(&text("px")),
        size: trimmed(&text("sz")),
        side: text("side"),
        ts_exchange: text("ts").parse().expect("an integer"),
    }
}

/// A normalised event. Numbers are compared as they are written, since a JSON reader would round them.
#[derive(Deserialize)]
struct Event<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    size: Option<&'a RawValue>,
    side: Option<String>,
    trade_id: Option<String>,
    ts_exchange: Option<i64>,
}

fn normalised(events: &[String]) -> Vec<Trade> {
    let read = |line: &String| {
        let event: Event<'_> = serde_json::from_str(line).expect("an event is JSON");
        (event.r#type == "trade").then_some(())?;
        Some(Trade {
            id: event.trade_id?,
            price: event.price?.get().to_owned(),
            size: event.size?.get().to_owned(),
            side: event.side?,
            ts_exchange: event.ts_exchange?,
        })
    };
    events.iter().filter_map(read).collect()
}

#[test]
fn binance_spot_trades_come_out_once_each() {
    let Some(lines) = lines("binance-spot-btcusdt-20240808.ndjson.gz") else { return };
    let (counts, events) = events(Venue::Binance, MarketType::Spot, &lines);
    let expected: Vec<_> = lines.iter().filter_map(|line| binance_trade(&frame(line))).collect();
    assert_eq!(expected.len(), 9_757);
    assert_eq!(normalised(&events), expected);
    assert_eq!(counts.frames, 41_249);
    assert_eq!(counts.rejects.len() + counts.other.len(), 0, "{counts:?}");
    assert_eq!(counts.events["ticker"], 28_040);
    assert_eq!(counts.events["orderbook"], 3_452);
}

#[test]
fn binance_futures_trades_come_out_once_each() {
    let Some(lines) = lines("binance-usdm-btcusdt-20240808.ndjson.gz") else { return };
    let (counts, events) = events(Venue::Binance, MarketType::Perpetual, &lines);
    let expected: Vec<_> = lines.iter().filter_map(|line| binance_trade(&frame(line))).collect();
    assert_eq!(expected.len(), 21_313);
    assert_eq!(normalised(&events), expected);
    assert_eq!(counts.frames, 93_954);
    assert_eq!(counts.rejects.len() + counts.other.len(), 0, "{counts:?}");
    assert!(events.iter().all(|event| event.contains(r#""symbol":"BTC/USDT:USDT""#)));
}

#[test]
fn okx_spot_trades_come_out_once_each_and_the_rest_has_its_reasons() {
    let Some(lines) = lines("okx-v5-public-20220513.ndjson.gz") else { return };
    let (counts, events) = events(Venue::Okx, MarketType::Spot, &lines);
    let expected: Vec<_> = lines.iter().flat_map(|line| okx_spot_trades(&frame(line))).collect();
    assert!(!expected.is_empty());
    assert_eq!(normalised(&events), expected);
    let reasons: Vec<_> = counts.rejects.keys().map(String::as_str).collect();
    assert_eq!(
        reasons,
        [
            "instrument not served: BTC-USD-220527",
            "instrument not served: UNI-USD-SWAP",
            "no sequence: BTC-USDT",
        ]
    );
    assert_eq!(counts.other.keys().collect::<Vec<_>>(), [&"acknowledged"]);
    let of = |counts: &std::collections::BTreeMap<_, u64>| counts.values().sum::<u64>();
    assert_eq!(counts.frames, 410);
    assert_eq!(of(&counts.events) + of(&counts.other) + counts.rejects.values().sum::<u64>(), 410);
}
