//! Bybit as a client sees it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeMap;

use bond_sim::{Config, Market, Venue};
use rust_decimal::Decimal;
use serde_json::Value;
use support::{Client, get, start};

type Levels = BTreeMap<Decimal, Decimal>;

const PATHS: [(Market, &str); 2] =
    [(Market::Spot, "/v5/public/spot"), (Market::Perpetual, "/v5/public/linear")];

fn set(levels: &mut Levels, changes: &Value) {
    for change in changes.as_array().unwrap() {
        let number = |index: usize| change[index].as_str().unwrap().parse::<Decimal>().unwrap();
        if number(1).is_zero() {
            levels.remove(&number(0)).expect("only a known level is deleted");
        } else {
            levels.insert(number(0), number(1));
        }
    }
}

fn best(levels: &Value) -> (Decimal, Decimal) {
    let number = |index: usize| levels[0][index].as_str().unwrap().parse().unwrap();
    (number(0), number(1))
}

#[tokio::test]
async fn deltas_follow_the_snapshot_one_by_one_and_agree_with_level_one() {
    for (market, path) in PATHS {
        let simulator = start(Config::seeded(Venue::Bybit, market, 3, 2_000.0)).await;
        let mut client = Client::connect(&simulator, path).await;
        client
            .send(r#"{"req_id":"a","op":"subscribe","args":["orderbook.1.BTCUSDT","orderbook.50.BTCUSDT"]}"#)
            .await;
        let (mut bids, mut asks, mut quotes) = (Levels::new(), Levels::new(), BTreeMap::new());
        let (mut last, mut checked) = (None, 0);
        while checked < 30 {
            let message = client.until(|message| message["topic"].is_string()).await;
            let data = &message["data"];
            let (u, seq) = (data["u"].as_u64().unwrap(), data["seq"].as_u64().unwrap());
            if message["topic"] == "orderbook.1.BTCUSDT" {
                assert_eq!(message["type"], "snapshot");
                quotes.insert(seq, (best(&data["b"]), best(&data["a"])));
                continue;
            }
            assert_eq!(message["type"], if last.is_none() { "snapshot" } else { "delta" });
            assert!(last.is_none_or(|last| u == last + 1));
            last = Some(u);
            set(&mut bids, &data["b"]);
            set(&mut asks, &data["a"]);
            let top =
                |level: Option<(&Decimal, &Decimal)>| level.map(|(price, size)| (*price, *size)).unwrap();
            let book = (top(bids.last_key_value()), top(asks.first_key_value()));
            // The first snapshots may be of different moments.
            let Some((_, quote)) = quotes.range(..=seq).next_back() else {
                continue;
            };
            assert_eq!(book, *quote);
            checked += 1;
        }
    }
}

#[tokio::test]
async fn a_linear_ticker_is_a_snapshot_and_then_what_changed() {
    let simulator = start(Config::seeded(Venue::Bybit, Market::Perpetual, 3, 500.0)).await;
    let mut client = Client::connect(&simulator, "/v5/public/linear").await;
    client.send(r#"{"op":"subscribe","args":["tickers.BTCUSDT","publicTrade.BTCUSDT"]}"#).await;
    let first = client.until(|message| message["topic"] == "tickers.BTCUSDT").await;
    assert_eq!(first["type"], "snapshot");
    assert!(first["data"]["fundingRate"].is_string());
    let (mut last_trade, mut agreed) = (None, 0);
    while agreed < 3 {
        let message = client.json().await;
        if message["topic"] == "publicTrade.BTCUSDT" {
            last_trade = message["data"][0]["p"].as_str().map(str::to_owned);
            continue;
        }
        assert_eq!(message["type"], "delta");
        assert!(message["data"]["prevPrice24h"].is_null() || message["data"]["fundingRate"].is_null());
        if let Some(price) = message["data"]["lastPrice"].as_str() {
            assert_eq!(Some(price), last_trade.as_deref());
            agreed += 1;
        }
    }
}

#[tokio::test]
async fn liquidations_name_the_position() {
    let simulator = start(Config::seeded(Venue::Bybit, Market::Perpetual, 3, 200.0)).await;
    let mut client = Client::connect(&simulator, "/v5/public/linear").await;
    let topics: Vec<String> = ["BTC", "ETH", "SOL", "XRP", "DOGE"]
        .iter()
        .map(|asset| format!("\"allLiquidation.{asset}USDT\""))
        .collect();
    client.send(&format!(r#"{{"op":"subscribe","args":[{}]}}"#, topics.join(","))).await;
    let message = client.until(|message| message["topic"].is_string()).await;
    assert!(["Buy", "Sell"].contains(&message["data"][0]["S"].as_str().unwrap()));
}

#[tokio::test]
async fn rest_knows_its_category_only() {
    let simulator = start(Config::seeded(Venue::Bybit, Market::Spot, 3, 10.0)).await;
    let (_, answer) = get(&simulator, "/v5/market/instruments-info?category=spot&symbol=BTCUSDT").await;
    assert_eq!(answer["result"]["list"][0]["baseCoin"], "BTC");
    let (_, answer) = get(&simulator, "/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=50").await;
    assert_eq!(answer["result"]["b"].as_array().unwrap().len(), 50);
    assert_ne!(get(&simulator, "/v5/market/orderbook?category=linear&symbol=BTCUSDT").await.1["retCode"], 0);
    assert!(Client::try_connect(&simulator, "/v5/public/linear").await.is_err());
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let simulator = start(Config::seeded(Venue::Bybit, Market::Spot, 3, 1.0)).await;
    let path = "/v5/market/instruments-info?category=spot&limit=1";
    let (_, first) = get(&simulator, path).await;
    let cursor = first["result"]["nextPageCursor"].as_str().unwrap();
    let next = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect::<String>();
    let (_, second) = get(&simulator, &format!("{path}&cursor={next}")).await;
    let symbol = |page: &Value| page["result"]["list"][0]["symbol"].clone();
    assert!(symbol(&first).is_string() && symbol(&second).is_string() && symbol(&first) != symbol(&second));
    let (_, wrong) = get(&simulator, &format!("{path}&cursor={cursor}")).await;
    assert_eq!(wrong["retCode"], 10001, "a cursor has to come back as it was given");
}
