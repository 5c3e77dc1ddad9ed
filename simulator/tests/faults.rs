//! Faults as a client meets them, and what the journal says of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use bond_sim::{Class, Config, Count, Effect, Entry, Fault, Market, Simulator, Venue};
use serde_json::Value;
use support::{Client, get, start};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const TRADES: &str = "/ws/btcusdt@trade";

async fn spot(rate: f64) -> Simulator {
    start(Config::seeded(Venue::Binance, Market::Spot, 21, rate)).await
}

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

fn id(message: &Value) -> u64 {
    message["t"].as_u64().unwrap()
}

/// Ids of trades, from a client's next `count` messages.
async fn ids(client: &mut Client, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.push(id(&client.json().await));
    }
    ids
}

fn applied_ids(entries: &[Entry]) -> Vec<u64> {
    let of = |entry: &Entry| match entry {
        Entry::Applied { id, .. } => id.parse().unwrap(),
        other => panic!("{other:?}"),
    };
    entries.iter().map(of).collect()
}

#[tokio::test]
async fn dropped_trades_are_those_that_the_journal_names() {
    let simulator = spot(1_000.0).await;
    let mut client = Client::connect(&simulator, TRADES).await;
    let first = ids(&mut client, 1).await[0];
    let dropped = simulator.inject(fault("drop:trade:3"));
    let named = applied_ids(&simulator.journal().applied(dropped, 3).await);
    let last = named[2] + 5;
    let mut seen = vec![first];
    while *seen.last().unwrap() < last {
        seen.extend(ids(&mut client, 1).await);
    }
    let missing: Vec<u64> = (first..=last).filter(|id| !seen.contains(id)).collect();
    assert_eq!(missing, named);
    assert_eq!(simulator.stats().streams["btcusdt@trade"].withheld, 3);
}

#[tokio::test]
async fn every_tenth_means_every_tenth() {
    let simulator = spot(1_000.0).await;
    let mut client = Client::connect(&simulator, TRADES).await;
    ids(&mut client, 1).await;
    let dropped = simulator.inject(fault("drop:trade:1/10"));
    let named = applied_ids(&simulator.journal().applied(dropped, 3).await);
    assert_eq!((named[1] - named[0], named[2] - named[1]), (10, 10));
}

#[tokio::test]
async fn frames_are_repeated_swapped_and_delayed() {
    for (text, moved) in [("repeat:trade", 0), ("swap:trade", 1)] {
        let simulator = spot(500.0).await;
        let mut client = Client::connect(&simulator, TRADES).await;
        ids(&mut client, 1).await;
        let injected = simulator.inject(fault(text));
        let named = applied_ids(&simulator.journal().applied(injected, 1).await)[0];
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| *last < named + 3) {
            seen.extend(ids(&mut client, 1).await);
        }
        let at = seen.iter().position(|id| *id == named).unwrap();
        let expected = if moved == 0 { [named, named, named + 1] } else { [named + 1, named, named + 2] };
        let from = at - moved;
        assert_eq!(seen[from..from + 3], expected, "{text}");
    }
    let simulator = spot(500.0).await;
    let mut client = Client::connect(&simulator, TRADES).await;
    ids(&mut client, 1).await;
    let injected = simulator.inject(fault("delay=100ms:trade"));
    let named = applied_ids(&simulator.journal().applied(injected, 1).await)[0];
    client.until(|message| id(message) > named).await;
    client.until(|message| id(message) == named).await;
}

#[tokio::test]
async fn a_split_message_arrives_whole_and_a_malformed_one_does_not_parse() {
    let simulator = spot(200.0).await;
    let mut client = Client::connect(&simulator, TRADES).await;
    let before = ids(&mut client, 1).await[0];
    let split = simulator.inject(fault("split:trade"));
    simulator.journal().applied(split, 1).await;
    assert_eq!(ids(&mut client, 20).await, (before + 1..=before + 20).collect::<Vec<_>>());
    simulator.inject(fault("malformed:trade"));
    while serde_json::from_str::<Value>(&client.text().await.unwrap()).is_ok() {}
}

#[tokio::test]
async fn acknowledgements_come_late_after_data_or_never() {
    let subscribe = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}"#;
    for text in ["ack-late=200ms", "ack-after-data"] {
        let simulator = spot(500.0).await;
        simulator.inject(fault(text));
        let mut client = Client::connect(&simulator, "/ws").await;
        client.send(subscribe).await;
        assert!(client.json().await["t"].is_u64(), "{text}: data first");
        client.until(|message| message["id"] == 1).await;
    }
    let simulator = spot(500.0).await;
    simulator.inject(fault("ack-never"));
    let mut client = Client::connect(&simulator, "/ws").await;
    client.send(subscribe).await;
    ids(&mut client, 50).await;
    simulator.inject(fault("refuse-subscription"));
    client.send(r#"{"method":"SUBSCRIBE","params":["ethusdt@trade"],"id":2}"#).await;
    assert_eq!(client.until(|message| message["id"] == 2).await["code"], 2);
}

#[tokio::test]
async fn silence_stops_data_and_leaves_pings() {
    let mut config = Config::seeded(Venue::Binance, Market::Spot, 21, 500.0);
    config.ping_every = Some(Duration::from_millis(50));
    let simulator = start(config).await;
    let mut client = Client::connect(&simulator, TRADES).await;
    ids(&mut client, 1).await;
    simulator.inject(fault("silence:trade"));
    let mut pings = 0;
    while pings < 10 {
        match client.next_message().await {
            Message::Ping(_) => pings += 1,
            // Those sent before the silence come before the second ping.
            Message::Text(_) => assert!(pings < 2),
            other => panic!("{other:?}"),
        }
    }
    assert!(simulator.stats().streams["btcusdt@trade"].withheld > 0);
    simulator.clear_faults();
    client.text().await.unwrap();
}

#[tokio::test]
async fn silence_of_one_channel_leaves_the_others() {
    let simulator = spot(500.0).await;
    simulator.inject(Fault::new(Effect::Silence(None)).on_stream("btcusdt@trade"));
    let mut client = Client::connect(&simulator, "/stream?streams=btcusdt@trade/ethusdt@trade").await;
    for _ in 0..50 {
        assert_eq!(client.json().await["stream"], "ethusdt@trade");
    }
}

#[tokio::test]
async fn connections_are_refused_in_two_ways() {
    let simulator = spot(10.0).await;
    simulator.inject(fault("unavailable"));
    assert_eq!(get(&simulator, "/api/v3/time").await.0, 503);
    assert!(Client::try_connect(&simulator, "/ws").await.is_err());
    simulator.clear_faults();
    simulator.inject(Fault::new(Effect::Refuse(None)).count(Count::Next(1)));
    assert!(Client::try_connect(&simulator, "/ws").await.is_err());
    Client::connect(&simulator, "/ws").await;
}

#[tokio::test]
async fn connections_are_closed_with_a_code_or_reset() {
    let simulator = spot(10.0).await;
    let mut trades = Client::connect(&simulator, TRADES).await;
    let mut quotes = Client::connect(&simulator, "/ws/btcusdt@bookTicker").await;
    simulator.inject(fault("close=1012:trade"));
    assert_eq!(trades.ended().await, Some(1012));
    simulator.inject(fault("reset"));
    assert_eq!(quotes.ended().await, None);
    simulator.journal().wait(|entry| matches!(entry, Entry::Disconnected { connection: 2, .. })).await;
    assert_eq!(simulator.stats().connections, 0);
}

#[tokio::test]
async fn a_frozen_connection_stays_open_and_says_nothing_not_even_a_pong() {
    let simulator = spot(500.0).await;
    let mut trades = Client::connect(&simulator, TRADES).await;
    trades.json().await;
    simulator.inject(fault("freeze"));
    simulator.journal().wait(|entry| matches!(entry, Entry::Disconnected { connection: 1, .. })).await;
    // What was under way still comes; then there is nothing, and no end either.
    while timeout(Duration::from_millis(300), trades.next_message()).await.is_ok() {}
    assert_eq!(simulator.stats().connections, 0);
}

#[tokio::test]
async fn a_jump_is_seen_in_the_next_delta() {
    let simulator = spot(500.0).await;
    let mut client = Client::connect(&simulator, "/ws/btcusdt@depth@100ms").await;
    let mut last = client.json().await["u"].as_u64().unwrap();
    simulator.inject(fault("jump=7:book"));
    let mut jumps = Vec::new();
    while jumps.is_empty() {
        let delta = client.json().await;
        jumps.extend(Some(delta["U"].as_u64().unwrap() - last - 1).filter(|jump| *jump > 0));
        last = delta["u"].as_u64().unwrap();
    }
    assert_eq!(jumps, [7]);
    let (_, snapshot) = get(&simulator, "/api/v3/depth?symbol=BTCUSDT").await;
    assert!(snapshot["lastUpdateId"].as_u64().unwrap() >= last);
}

#[tokio::test]
async fn rest_is_slow_or_says_to_come_again() {
    let simulator = spot(10.0).await;
    let limited = simulator.inject(fault("rest-429=5s"));
    let response =
        reqwest::get(format!("{}/api/v3/depth?symbol=BTCUSDT", simulator.base_url())).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "5"));
    simulator.journal().applied(limited, 1).await;
    simulator.inject(fault("slow-rest=300ms"));
    let asked = tokio::time::Instant::now();
    assert_eq!(get(&simulator, "/api/v3/depth?symbol=BTCUSDT").await.0, 200);
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn venues_that_announce_a_shutdown_do_so() {
    let simulator = spot(10.0).await;
    let mut client = Client::connect(&simulator, "/stream?streams=btcusdt@trade").await;
    simulator.inject(fault("notice"));
    let notice = client.until(|message| message["stream"] == "!serverShutdown").await;
    assert_eq!(notice["data"]["e"], "serverShutdown");
    let okx = start(Config::seeded(Venue::Okx, Market::Spot, 1, 10.0)).await;
    let mut client = Client::connect(&okx, "/ws/v5/public").await;
    okx.journal().wait(|entry| matches!(entry, Entry::Connected { .. })).await;
    okx.inject(fault("notice"));
    assert_eq!(client.json().await["code"], "64008");
}

#[tokio::test]
async fn what_was_sent_is_on_record() {
    let mut config = Config::seeded(Venue::Bybit, Market::Spot, 21, 500.0);
    config.record = 5;
    config.faults = vec![Fault::new(Effect::Drop).on(Class::Trade)];
    let simulator = start(config).await;
    let mut client = Client::connect(&simulator, "/v5/public/spot").await;
    client.send(r#"{"op":"subscribe","args":["publicTrade.BTCUSDT"]}"#).await;
    let mut seen = Vec::new();
    while seen.len() < 10 {
        seen.push(client.until(|message| message["topic"].is_string()).await);
    }
    let sent = simulator.sent();
    assert!(sent.len() == 5 && sent.iter().all(|frame| frame.stream == "publicTrade.BTCUSDT"));
    let first: Value = serde_json::from_str(&sent[0].text).unwrap();
    assert_eq!(first["data"][0]["i"].as_str().unwrap(), sent[0].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_disconnected() {
    let mut config = Config::seeded(Venue::Binance, Market::Spot, 21, 20_000.0);
    config.queue = 256;
    let simulator = start(config).await;
    let _client =
        Client::connect(&simulator, "/ws/btcusdt@trade/btcusdt@bookTicker/ethusdt@bookTicker").await;
    let slow = |entry: &Entry| matches!(entry, Entry::Disconnected { reason, .. } if reason == "too slow");
    tokio::time::timeout(support::LIMIT, simulator.journal().wait(slow)).await.expect("disconnected");
}
