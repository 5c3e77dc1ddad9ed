//! OKX as a client sees it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use bond_sim::{Config, Entry, LatentPrice, Market, Venue};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use support::{Client, capture, get, start};

type Levels = BTreeMap<Decimal, Decimal>;

fn seeded(seed: u64, rate: f64) -> Config {
    Config::seeded(Venue::Okx, Market::Spot, seed, rate)
}

fn subscribe(channels: &[(&str, &str)]) -> String {
    let args: Vec<Value> =
        channels.iter().map(|(channel, name)| json!({"channel": channel, "instId": name})).collect();
    json!({"op": "subscribe", "args": args}).to_string()
}

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

#[tokio::test]
async fn updates_chain_from_the_snapshot_and_keep_the_best_price_right() {
    let simulator = start(seeded(3, 3_000.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send(&subscribe(&[("bbo-tbt", "BTC-USDT-SWAP"), ("books", "BTC-USDT-SWAP")])).await;
    let (mut bids, mut asks, mut last) = (Levels::new(), Levels::new(), -1);
    let (mut quotes, mut checked) = (BTreeMap::new(), 0);
    while checked < 10 {
        let message = client.until(|message| message["data"].is_array()).await;
        let data = &message["data"][0];
        let id = data["seqId"].as_i64().unwrap();
        if message["arg"]["channel"] == "bbo-tbt" {
            quotes.insert(id, data.clone());
            continue;
        }
        assert_eq!(data["prevSeqId"].as_i64().unwrap(), last);
        assert_eq!(data["checksum"], 0);
        assert_eq!(message["action"], if last == -1 { "snapshot" } else { "update" });
        set(&mut bids, &data["bids"]);
        set(&mut asks, &data["asks"]);
        (last, checked) = (id, checked + 1);
        assert_eq!((bids.len(), asks.len()), (400, 400));
        let Some((_, quote)) = quotes.range(..=id).next_back() else {
            continue;
        };
        let text = |levels: Option<(&Decimal, &Decimal)>| {
            levels.map(|(price, size)| (price.to_string(), size.to_string()))
        };
        let level = |side: &str| {
            Some((quote[side][0][0].as_str()?.to_owned(), quote[side][0][1].as_str()?.to_owned()))
        };
        assert_eq!(text(bids.last_key_value()), level("bids"));
        assert_eq!(text(asks.first_key_value()), level("asks"));
    }
}

#[tokio::test]
async fn two_connections_see_the_same_ids() {
    let simulator = start(seeded(3, 500.0)).await;
    let mut first = Client::connect(&simulator, "/ws/v5/public").await;
    first.send(&subscribe(&[("books", "BTC-USDT")])).await;
    let mut second = Client::connect(&simulator, "/ws/v5/public").await;
    second.send(&subscribe(&[("books", "BTC-USDT")])).await;
    let snapshot = second.until(|message| message["action"] == "snapshot").await["data"][0]["seqId"].clone();
    let next = second.until(|message| message["action"] == "update").await["data"][0].clone();
    assert_eq!(next["prevSeqId"], snapshot);
    let same = first.until(|message| message["data"][0]["seqId"] == next["seqId"]).await;
    assert_eq!(same["data"][0], next);
}

#[tokio::test]
async fn a_second_subscription_is_acknowledged_without_a_snapshot() {
    let simulator = start(seeded(3, 100.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send(&subscribe(&[("books", "BTC-USDT")])).await;
    client.until(|message| message["action"] == "snapshot").await;
    client.send(&subscribe(&[("books", "BTC-USDT")])).await;
    client.until(|message| message["event"] == "subscribe").await;
    for _ in 0..5 {
        assert_eq!(client.json().await["action"], "update");
    }
}

#[tokio::test]
async fn trade_ids_rise_by_the_fills_they_stand_for() {
    let simulator = start(seeded(3, 2_000.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send(&subscribe(&[("trades", "BTC-USDT")])).await;
    let mut last: Option<u64> = None;
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    for _ in 0..50 {
        let message = client.until(|message| message["data"].is_array()).await;
        let trade = &message["data"][0];
        let id = number(&trade["tradeId"]);
        assert!(last.is_none_or(|last| id == last + number(&trade["count"])));
        last = Some(id);
    }
}

#[tokio::test]
async fn spot_and_swaps_share_an_address_and_stay_near_the_latent_price() {
    let simulator = start(seeded(77, 500.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    for (name, most) in [("ETH-USDT", 6e-4), ("ETH-USDT-SWAP", 1.5e-3)] {
        client.send(&subscribe(&[("tickers", name)])).await;
        let message = client.until(|message| message["data"][0]["instId"] == name).await;
        let ticker = &message["data"][0];
        let at: u64 = ticker["ts"].as_str().unwrap().parse().unwrap();
        let price: f64 = ticker["last"].as_str().unwrap().parse().unwrap();
        let latent = LatentPrice::new(77, "ETH").unwrap().at(at);
        assert!((price / latent - 1.0).abs() < most, "{name}: {price} and {latent}");
    }
}

#[tokio::test]
async fn a_swap_has_funding_and_a_contract_size() {
    let simulator = start(seeded(3, 10.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send(&subscribe(&[("funding-rate", "BTC-USDT-SWAP")])).await;
    let message = client.until(|message| message["data"].is_array()).await;
    assert!(message["data"][0]["fundingRate"].as_str().unwrap().parse::<Decimal>().is_ok());
    let (_, answer) = get(&simulator, "/api/v5/public/instruments?instType=SWAP&instId=BTC-USDT-SWAP").await;
    assert_eq!(answer["data"][0]["ctVal"], "0.01");
    let (_, answer) = get(&simulator, "/api/v5/market/books?instId=BTC-USDT&sz=5").await;
    assert_eq!(answer["data"][0]["bids"].as_array().unwrap().len(), 5);
    assert_eq!(get(&simulator, "/api/v5/market/books?instId=BTC-EUR").await.1["code"], "51001");
}

#[tokio::test]
async fn one_subscription_brings_all_liquidations() {
    let simulator = start(seeded(3, 200.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send(r#"{"op":"subscribe","args":[{"channel":"liquidation-orders","instType":"SWAP"}]}"#).await;
    let message = client.until(|message| message["data"].is_array()).await;
    let details = &message["data"][0]["details"][0];
    let expected = if details["side"] == "sell" { "long" } else { "short" };
    assert_eq!(details["posSide"], expected);
}

#[tokio::test]
async fn a_connection_without_traffic_is_closed_with_4004() {
    let mut config = seeded(3, 10.0);
    config.idle_timeout = Some(Duration::from_millis(300));
    let simulator = start(config).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send("ping").await;
    assert_eq!(client.text().await.as_deref(), Some("pong"));
    assert_eq!(client.ended().await, Some(4004));
}

#[tokio::test]
async fn an_unknown_instrument_is_refused_and_other_paths_do_not_exist() {
    let simulator = start(seeded(3, 10.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send(&subscribe(&[("trades", "BTC-EURO")])).await;
    assert_eq!(client.json().await["code"], "60018");
    simulator.journal().wait(|entry| matches!(entry, Entry::Rejected { .. })).await;
    assert!(Client::try_connect(&simulator, "/ws/v5/nowhere").await.is_err());
}

#[tokio::test]
async fn a_capture_is_replayed_by_channel_and_instrument_without_its_acknowledgements() {
    let Some(path) = capture("okx-v5-public-20220513.ndjson.gz") else {
        return;
    };
    let simulator = start(Config::capture(Venue::Okx, Market::Spot, path, 1_000.0)).await;
    let mut client = Client::connect(&simulator, "/ws/v5/public").await;
    client.send(&subscribe(&[("books", "BTC-USDT"), ("trades", "BTC-USDT")])).await;
    simulator.finished().await;
    let (mut acks, mut books, mut trades) = (0, 0, 0);
    while books + trades < 98 + 69 {
        let message = client.json().await;
        match (message["event"].is_string(), message["arg"]["channel"].as_str().unwrap()) {
            (true, _) => acks += 1,
            (_, "books") => books += 1,
            _ => trades += 1,
        }
    }
    assert_eq!((acks, books, trades), (2, 98, 69));
}
