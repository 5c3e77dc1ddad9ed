//! Feeds: many topics by a filter.

use std::collections::BTreeSet;
use std::time::Duration;

use bond_core::control::Command;
use bond_core::log::{EventKind, Record};
use bond_core::time::Clock;

use super::host::{Host, record};
use bond_core::clock::SystemClock;

const BTC: &str = "trades.okx.BTC-USDT";
const ETH: &str = "trades.okx.ETH-USDT";
const BOOK: &str = "orderbook.okx.BTC-USDT.20";

async fn trade(host: &Host, topic: &str, price: u64) {
    host.append(topic, EventKind::Trade, vec![format!("\"price\":{price}")]).await;
}

fn book(n: u64) -> Record {
    let now = SystemClock.now();
    Record {
        kind: EventKind::OrderBook,
        ts: now,
        order: now,
        body: format!("\"whole\":{n}").into(),
        changes: (n > 1).then(|| format!("\"changes\":{n}").into()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_decides_and_the_order_is_that_of_arrival() {
    let host = Host::start().await;
    trade(&host, BTC, 1).await;
    let mut client = host.connect("/stream").await;
    assert_eq!(client.next().await["type"], "heartbeat");
    client.say(r#"{"type":"subscribe","channels":["trades"],"symbols":["*"],"correlation_id":1}"#).await;
    client.next_of("ack").await;
    assert!(client.is_quiet().await, "a subscription begins live");
    for price in 2..30 {
        trade(&host, if price % 3 == 0 { ETH } else { BTC }, price).await;
        host.append("ticker.okx.BTC-USDT", EventKind::Ticker, vec!["\"bid\":1".into()]).await;
    }
    let mut prices = Vec::new();
    while prices.len() < 28 {
        prices.extend(client.next_of("trade").await["price"].as_u64());
    }
    let by_topic = |rest: bool| prices.iter().filter(move |p| (**p % 3 == 0) == rest).copied();
    assert!(by_topic(true).is_sorted() && by_topic(false).is_sorted());
    assert_eq!(prices.iter().copied().collect::<BTreeSet<_>>(), (2..30).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_begins_later_is_followed_from_its_first_event() {
    let host = Host::start().await;
    let mut client = host.connect("/raw?channels=trades&exchange=okx,bybit").await;
    client.next_of("heartbeat").await;
    trade(&host, ETH, 5).await;
    let event = client.next_of("trade").await;
    assert_eq!((event["seq"].as_u64(), event["seq_internal"].as_u64()), (Some(1), Some(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscribe_replaces_the_filter() {
    let host = Host::start().await;
    trade(&host, BTC, 1).await;
    trade(&host, ETH, 1).await;
    let mut client = host.connect("/stream").await;
    for symbol in ["BTC/USDT", "ETH/USDT"] {
        let subscribe =
            format!(r#"{{"type":"subscribe","symbols":["{symbol}"],"correlation_id":"{symbol}"}}"#);
        client.say(&subscribe).await;
        assert_eq!(client.next_of("ack").await["correlation_id"], symbol);
    }
    assert!(client.is_quiet().await);
    trade(&host, BTC, 2).await;
    trade(&host, ETH, 3).await;
    assert_eq!(client.next_of("trade").await["price"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_are_errors_and_the_rest_is_served() {
    let host = Host::start().await;
    trade(&host, BTC, 1).await;
    let mut client = host.connect("/stream").await;
    client.say(r#"{"type":"subscribe","channels":["trades","candles"],"exchanges":["mtgox","okx"]}"#).await;
    for _ in 0..2 {
        assert_eq!(client.next_of("error").await["code"], "INVALID_TOPIC");
    }
    assert!(client.is_quiet().await);
    trade(&host, BTC, 2).await;
    assert_eq!(client.next_of("trade").await["price"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_feed_wants_is_leased_and_given_back() {
    let mut host = Host::start().await;
    let mut client = host.connect("/stream").await;
    client.say(r#"{"type":"subscribe","channels":["trades"]}"#).await;
    let Command::Feed { connection, filter, until, .. } = host.command().await else { panic!("no lease") };
    assert!(filter.channels().eq([bond_core::event::Channel::Trades]));
    assert!(until > SystemClock.now());
    drop(client);
    assert_eq!(host.command().await, Command::FeedGone { connection });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thinned_books_are_the_newest_and_trades_stay() {
    let host = Host::start().await;
    host.append_records(BOOK, vec![book(1)]).await;
    trade(&host, BTC, 0).await;
    let mut client = host.connect("/stream").await;
    client.say(r#"{"type":"subscribe","speed_ms":100,"correlation_id":1}"#).await;
    client.next_of("ack").await;
    assert!(client.is_quiet().await);
    for n in 2..50 {
        host.append_records(BOOK, vec![book(n)]).await;
        trade(&host, BTC, n).await;
    }
    let (mut trades, mut books) = (0, Vec::new());
    while trades < 48 || books.last() != Some(&49) {
        let event = client.next().await;
        match event["type"].as_str() {
            Some("trade") => trades += 1,
            Some("orderbook") => books.push(event["whole"].as_u64().expect("a whole book")),
            other => panic!("{other:?}"),
        }
    }
    assert!(books.is_sorted() && books.len() < 10, "{books:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_follow_a_whole_book() {
    let host = Host::start().await;
    host.append_records(BOOK, vec![book(1), book(2)]).await;
    let mut client = host.connect("/stream").await;
    client.say(r#"{"type":"subscribe","channels":["orderbook"],"book":"changes","correlation_id":1}"#).await;
    client.next_of("ack").await;
    assert!(client.is_quiet().await);
    host.append_records(BOOK, vec![book(3), book(4)]).await;
    host.append_records(BOOK, vec![book(5)]).await;
    let first = client.next().await;
    assert_eq!((first["seq"].as_u64(), first["whole"].as_u64()), (Some(3), Some(3)));
    for n in [4, 5] {
        let next = client.next().await;
        assert_eq!((next["seq"].as_u64(), next["changes"].as_u64()), (Some(n), Some(n)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_six_types_alone_unless_control_is_asked_for() {
    let host = Host::with(|config| config.limits.heartbeat = Duration::from_secs(3600)).await;
    trade(&host, BTC, 1).await;
    let mut plain = host.connect("/stream").await;
    let mut told = host.connect("/stream?control=true").await;
    for client in [&mut plain, &mut told] {
        client.next_of("heartbeat").await;
        client.say(r#"{"type":"subscribe","channels":["trades"],"correlation_id":1}"#).await;
        client.next_of("ack").await;
        assert!(client.is_quiet().await);
    }
    host.keep(BTC, r#""source":"okx","state":"stale""#).await;
    trade(&host, BTC, 2).await;
    assert_eq!(plain.next().await["type"], "trade");
    assert_eq!(told.next().await["type"], "status");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_may_lag_is_ordered_by_venue_time() {
    let host = Host::start().await;
    trade(&host, BTC, 0).await;
    trade(&host, ETH, 0).await;
    let mut client = host.connect("/stream").await;
    client.say(r#"{"type":"subscribe","channels":["trades"],"max_lag_ms":300,"correlation_id":1}"#).await;
    client.next_of("ack").await;
    assert!(client.is_quiet().await);
    let now = SystemClock.now();
    for (topic, price) in [(BTC, 40), (ETH, 20), (BTC, 50), (ETH, 10), (BTC, 60), (ETH, 30)] {
        let mut record = record(EventKind::Trade, now, format!("\"price\":{price}"));
        record.order = now.minus(Duration::from_millis(1_000 - price));
        host.append_records(topic, vec![record]).await;
    }
    let mut prices = Vec::new();
    while prices.len() < 6 {
        prices.extend(client.next_of("trade").await["price"].as_u64());
    }
    assert_eq!(prices, [10, 20, 30, 40, 50, 60]);
    trade(&host, BTC, 70).await;
    assert_eq!(client.next_of("trade").await["price"], 70, "the hold ends by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_goes_in_order_of_arrival() {
    let host = Host::start().await;
    trade(&host, BTC, 0).await;
    trade(&host, ETH, 0).await;
    let mut held = host.connect("/raw?channels=trades&batch=20&wait_ms=1000").await;
    let mut live = host.connect("/raw?channels=trades").await;
    for client in [&mut held, &mut live] {
        client.next_of("heartbeat").await;
        assert!(client.is_quiet().await);
    }
    for price in 1..=20 {
        trade(&host, if price % 3 == 0 { ETH } else { BTC }, price).await;
        assert_eq!(live.next_of("trade").await["price"], price, "one arrives after the other");
    }
    let batch = held.next().await;
    let prices: Vec<u64> =
        batch.as_array().expect("a batch").iter().filter_map(|e| e["price"].as_u64()).collect();
    assert_eq!(prices, (1..=20).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_feed_gets_whole_frames_and_is_told_what_it_missed() {
    let host = Host::with(|config| config.ring_bytes = 1 << 20).await;
    let mut slow = host.connect("/raw?channels=trades&control=true").await;
    trade(&host, BTC, 1).await;
    slow.next_of("trade").await;
    let body = format!("\"pad\":\"{}\"", "x".repeat(10_000));
    for _ in 0..30 {
        host.append(BTC, EventKind::Trade, vec![body.clone(); 100]).await;
    }
    let (mut last, mut missed) = (1, 0);
    while last < 3_001 {
        let message = slow.next().await;
        if message["type"] == "gap" {
            assert_eq!(message["from_seq"].as_u64(), Some(last + 1));
            last = message["to_seq"].as_u64().expect("a number");
            missed += 1;
        } else {
            assert_eq!(message["seq"].as_u64(), Some(last + 1), "after {missed} gaps");
            last += 1;
        }
    }
    assert!(missed > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_order_loses_nothing_that_waits() {
    let host = Host::start().await;
    trade(&host, BTC, 0).await;
    let mut client = host.connect("/stream").await;
    let mut live = host.connect("/raw?channels=trades").await;
    let mut seqs = Vec::new();
    for round in 0..10 {
        let lag = if round % 2 == 0 { 1_000 } else { 0 };
        let subscribe =
            format!(r#"{{"type":"subscribe","channels":["trades"],"max_lag_ms":{lag},"correlation_id":1}}"#);
        client.say(&subscribe).await;
        loop {
            let message = client.next().await;
            seqs.extend(message["seq"].as_u64());
            if message["type"] == "ack" {
                break;
            }
        }
        trade(&host, BTC, round).await;
        live.next_of("trade").await;
    }
    while seqs.len() < 10 {
        seqs.extend(client.next_of("trade").await["seq"].as_u64());
    }
    assert_eq!(seqs, (2..=11).collect::<Vec<u64>>());
}
