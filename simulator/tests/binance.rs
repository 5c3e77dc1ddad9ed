//! Binance as a client sees it: the seeded market and the replay of a capture.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bond_sim::{Config, Entry, Feed, Market, Venue};
use rust_decimal::Decimal;
use serde_json::Value;
use support::{Client, capture, get, start};

type Levels = BTreeMap<Decimal, Decimal>;

/// A book built as the venue's documentation says.
#[derive(Default)]
struct Book {
    last: u64,
    bids: Levels,
    asks: Levels,
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

fn set(levels: &mut Levels, changes: &Value) {
    for change in changes.as_array().unwrap() {
        let (price, quantity) = (decimal(&change[0]), decimal(&change[1]));
        if quantity.is_zero() {
            levels.remove(&price)
        } else {
            levels.insert(price, quantity)
        };
    }
}

impl Book {
    fn new(snapshot: &Value) -> Self {
        let mut book = Self { last: snapshot["lastUpdateId"].as_u64().unwrap(), ..Self::default() };
        set(&mut book.bids, &snapshot["bids"]);
        set(&mut book.asks, &snapshot["asks"]);
        book
    }

    fn apply(&mut self, event: &Value) {
        set(&mut self.bids, &event["b"]);
        set(&mut self.asks, &event["a"]);
        self.last = event["u"].as_u64().unwrap();
    }

    fn top(&self) -> [(Decimal, Decimal); 2] {
        let (bid, ask) = (self.bids.last_key_value().unwrap(), self.asks.first_key_value().unwrap());
        [(*bid.0, *bid.1), (*ask.0, *ask.1)]
    }
}

fn top_of(quote: &Value) -> [(Decimal, Decimal); 2] {
    [(decimal(&quote["b"]), decimal(&quote["B"])), (decimal(&quote["a"]), decimal(&quote["A"]))]
}

#[tokio::test]
async fn the_book_kept_from_deltas_agrees_with_best_prices() {
    for (market, path, rest) in [
        (Market::Spot, "/stream", "/api/v3/depth?symbol=BTCUSDT&limit=1000"),
        (Market::Perpetual, "/public/stream", "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"),
    ] {
        let simulator = start(Config::seeded(Venue::Binance, market, 11, 2_000.0)).await;
        let mut client = Client::connect(&simulator, path).await;
        client
            .send(r#"{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms","btcusdt@bookTicker"],"id":1}"#)
            .await;
        client.until(|message| message["id"] == 1).await;
        let first = client.until(|message| message["stream"] == "btcusdt@depth@100ms").await;
        let (_, snapshot) = get(&simulator, rest).await;
        let mut book = Book::new(&snapshot);
        assert!(book.last >= first["data"]["U"].as_u64().unwrap());
        let mut quotes: BTreeMap<u64, Value> = BTreeMap::new();
        let (mut last_u, mut checked) = (first["data"]["u"].as_u64().unwrap(), 0);
        while checked < 10 {
            let message = client.json().await;
            let data = &message["data"];
            let u = data["u"].as_u64().unwrap();
            if message["stream"] == "btcusdt@bookTicker" {
                quotes.insert(u, data.clone());
                continue;
            }
            assert_eq!(data["U"].as_u64().unwrap(), last_u + 1, "a gap");
            if market == Market::Perpetual {
                assert_eq!(data["pu"].as_u64().unwrap(), last_u);
            }
            last_u = u;
            if u > book.last {
                book.apply(data);
                let (_, quote) = quotes.range(..=u).next_back().expect("a best price before the delta");
                assert_eq!(book.top(), top_of(quote));
                checked += 1;
            }
        }
    }
}

#[tokio::test]
async fn trades_are_numbered_without_gaps_and_print_inside_the_market() {
    let simulator = start(Config::seeded(Venue::Binance, Market::Spot, 5, 1_000.0)).await;
    let mut client = Client::connect(&simulator, "/ws/ethusdt@trade").await;
    let mut last = client.json().await["t"].as_u64().unwrap();
    for _ in 0..200 {
        let trade = client.json().await;
        assert_eq!(trade["t"].as_u64().unwrap(), last + 1);
        assert_eq!(trade["p"].as_str().unwrap().split_once('.').unwrap().1.len(), 8);
        last += 1;
    }
}

#[tokio::test]
async fn a_futures_stream_on_the_wrong_path_is_silent() {
    let simulator = start(Config::seeded(Venue::Binance, Market::Perpetual, 5, 1_000.0)).await;
    let mut client = Client::connect(&simulator, "/public/stream").await;
    client.send(r#"{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@bookTicker"],"id":1}"#).await;
    assert!(client.json().await["result"].is_null());
    for _ in 0..100 {
        assert_eq!(client.json().await["stream"], "btcusdt@bookTicker");
    }
}

#[tokio::test]
async fn perpetuals_carry_mark_price_and_liquidations() {
    let simulator = start(Config::seeded(Venue::Binance, Market::Perpetual, 5, 200.0)).await;
    let mut client = Client::connect(&simulator, "/market/ws").await;
    let liquidations: Vec<String> = ["btc", "eth", "sol", "xrp", "doge"]
        .iter()
        .map(|asset| format!("\"{asset}usdt@forceOrder\""))
        .collect();
    let params = liquidations.join(",");
    client
        .send(&format!(r#"{{"method":"SUBSCRIBE","params":["btcusdt@markPrice@1s",{params}],"id":1}}"#))
        .await;
    let mark = client.until(|message| message["e"] == "markPriceUpdate").await;
    let due = mark["T"].as_u64().unwrap();
    assert!(due % 28_800_000 == 0 && due > mark["E"].as_u64().unwrap());
    let forced = client.until(|message| message["e"] == "forceOrder").await;
    assert!(["BUY", "SELL"].contains(&forced["o"]["S"].as_str().unwrap()));
}

#[tokio::test]
async fn rest_answers_as_the_venue_does() {
    let simulator = start(Config::seeded(Venue::Binance, Market::Spot, 5, 10.0)).await;
    let (status, info) = get(&simulator, "/api/v3/exchangeInfo").await;
    assert_eq!((status, info["symbols"].as_array().unwrap().len()), (200, 5));
    assert_eq!(info["simulated"], "bond-sim");
    let (_, one) = get(&simulator, "/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%5D").await;
    assert_eq!(one["symbols"][0]["symbol"], "BTCUSDT");
    let (status, wrong) = get(&simulator, "/api/v3/depth?symbol=BTCEUR").await;
    assert_eq!((status, wrong["code"].as_i64()), (400, Some(-1121)));
    assert_eq!(get(&simulator, "/fapi/v1/depth?symbol=BTCUSDT").await.0, 404);
}

#[tokio::test]
async fn six_messages_in_a_second_end_the_connection() {
    let simulator = start(Config::seeded(Venue::Binance, Market::Spot, 5, 1.0)).await;
    let mut client = Client::connect(&simulator, "/ws").await;
    for id in 0..6 {
        client.send(&format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#)).await;
    }
    assert_eq!(client.ended().await, Some(1008));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_delivers_every_trade_of_the_capture_once() {
    let Some(path) = capture("binance-spot-btcusdt-20240808.ndjson.gz") else {
        return;
    };
    let simulator = start(Config::capture(Venue::Binance, Market::Spot, path, f64::INFINITY)).await;
    let mut client = Client::connect(&simulator, "/stream?streams=btcusdt@trade/btcusdt@depth@100ms").await;
    let (mut trades, mut deltas) = (Vec::new(), 0);
    while trades.len() < 9_757 || deltas < 3_451 {
        let message = client.json().await;
        match message["stream"].as_str().unwrap() {
            "btcusdt@trade" => trades.push(message["data"]["t"].as_u64().unwrap()),
            _ => deltas += 1,
        }
    }
    assert_eq!(trades[0], 3_735_683_259);
    assert!(trades.windows(2).all(|pair| pair[1] == pair[0] + 1));
    simulator.finished().await;
    let stats = simulator.stats();
    assert!(stats.finished);
    assert_eq!(stats.streams["btcusdt@trade"].sent, 9_757);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_late_to_a_replay_finds_a_snapshot_that_fits() {
    let Some(path) = capture("binance-spot-btcusdt-20240808.ndjson.gz") else {
        return;
    };
    let simulator = start(Config::capture(Venue::Binance, Market::Spot, path, 200.0)).await;
    let mut early = Client::connect(&simulator, "/ws/btcusdt@depth@100ms").await;
    early.until(|message| message["u"].as_u64() > Some(50_093_300_000)).await;
    let mut client =
        Client::connect(&simulator, "/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker").await;
    let first = client.until(|message| message["stream"] == "btcusdt@depth@100ms").await;
    let (_, snapshot) = get(&simulator, "/api/v3/depth?symbol=BTCUSDT&limit=5000").await;
    let mut book = Book::new(&snapshot);
    assert!(book.last >= first["data"]["U"].as_u64().unwrap());
    let (mut quote, mut checked) = (Value::Null, 0);
    while checked < 50 {
        let message = client.json().await;
        let data = &message["data"];
        if message["stream"] == "btcusdt@bookTicker" {
            quote = data.clone();
            continue;
        }
        if data["u"].as_u64().unwrap() <= book.last {
            continue;
        }
        assert!(data["U"].as_u64().unwrap() <= book.last + 1, "the snapshot does not reach the stream");
        book.apply(data);
        if quote["u"].as_u64() == Some(book.last) {
            assert_eq!(book.top(), top_of(&quote));
        }
        checked += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_looped_replay_goes_on_rising_and_shows_where_it_began_again() {
    let Some(path) = capture("binance-spot-btcusdt-20240808.ndjson.gz") else {
        return;
    };
    let mut config = Config::capture(Venue::Binance, Market::Spot, &path, f64::INFINITY);
    config.feed = Feed::Capture { path, speed: f64::INFINITY, looped: true };
    let simulator = start(config).await;
    let mut client = Client::connect(&simulator, "/stream?streams=btcusdt@trade/btcusdt@depth@100ms").await;
    let (mut trades, mut last, mut gaps) = (Vec::new(), None, 0);
    while trades.len() < 9_800 {
        let message = client.json().await;
        let number = |key: &str| message["data"][key].as_u64().unwrap();
        if message["stream"] == "btcusdt@trade" {
            trades.push((number("t"), number("T")));
            continue;
        }
        gaps += u64::from(last.is_some_and(|last| number("U") != last + 1));
        last = Some(number("u"));
    }
    assert!(trades.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1 && pair[1].1 >= pair[0].1));
    assert_eq!(gaps, 1);
    let (_, snapshot) = get(&simulator, "/api/v3/depth?symbol=BTCUSDT&limit=5").await;
    assert!(snapshot["lastUpdateId"].as_u64().unwrap() > last.unwrap() - 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_futures_capture_serves_its_book_under_the_stream_that_exists_today() {
    let Some(path) = capture("binance-usdm-btcusdt-20240808.ndjson.gz") else {
        return;
    };
    let simulator = start(Config::capture(Venue::Binance, Market::Perpetual, path, f64::INFINITY)).await;
    let mut books = Client::connect(&simulator, "/public/stream?streams=btcusdt@depth@100ms").await;
    let mut trades = Client::connect(&simulator, "/market/stream?streams=btcusdt@trade").await;
    let mut last = books.json().await["data"]["u"].clone();
    for _ in 1..6_551 {
        let message = books.json().await;
        assert_eq!(message["data"]["pu"], last);
        last = message["data"]["u"].clone();
    }
    for _ in 0..21_313 {
        trades.json().await;
    }
    assert_eq!(get(&simulator, "/fapi/v1/exchangeInfo").await.1["symbols"][0]["contractType"], "PERPETUAL");
}

#[tokio::test]
async fn a_ping_that_stays_unanswered_ends_the_connection() {
    let mut config = Config::seeded(Venue::Binance, Market::Spot, 5, 1.0);
    (config.ping_every, config.pong_timeout) = (Some(Duration::from_millis(50)), Duration::from_millis(200));
    let simulator = start(config).await;
    let _silent = Client::connect(&simulator, "/ws").await;
    let timed_out =
        |entry: &Entry| matches!(entry, Entry::Disconnected { reason, .. } if reason == "Pong timeout");
    tokio::time::timeout(support::LIMIT, simulator.journal().wait(timed_out)).await.expect("closed");
}
