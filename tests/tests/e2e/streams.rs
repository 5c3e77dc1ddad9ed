//! What a connection to one stream gets: its events in all their forms, and no word that it did not ask for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use bond_e2e::process::{Bond, ws_url};
use bond_e2e::socket::Socket;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

const TICKS: &str = "BTC trades tick by tick";

fn kind(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

fn market(channels: &[&str]) -> Value {
    json!({"type": "market", "symbols": ["BTC/USDT"], "channels": channels})
}

/// The fields that each flat event has beside those of all.
const FLAT: [(&str, &[&str]); 5] = [
    ("trade", &["price", "size", "side", "trade_id"]),
    ("ticker", &["bid", "ask"]),
    ("orderbook", &["bids", "asks", "update_type", "depth", "sequence", "prev_sequence"]),
    // A venue's mark may come before its rate.
    ("funding", &[]),
    ("tweet", &["author", "text"]),
];

const COMMON: [&str; 9] =
    ["topic", "epoch", "seq", "seq_internal", "ts", "exchange", "symbol", "ts_event", "ts_exchange"];

#[tokio::test]
async fn without_windows_every_event_passes_in_its_flat_form() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "300"], &[]).await?;
    let social = json!({"type": "social", "provider": "x", "symbols": ["BTC"]});
    let sources = json!([market(&["trades", "ticker", "orderbook", "funding"]), social]);
    let created = bond.stream_of(json!({"version": "v1", "sources": sources, "interval_sec": null})).await?;
    let topic = format!("streams.{}", created["stream_id"].as_str().context("id")?);
    let mut socket = Socket::open(&ws_url(&created, "&from=now-60s")).await?;
    let mut seen = BTreeSet::new();
    for seq in 1.. {
        let event = socket.event().await?;
        let (name, fields) = FLAT
            .iter()
            .find(|(name, _)| *name == kind(&event))
            .with_context(|| format!("unknown: {event}"))?;
        for field in COMMON.iter().chain(*fields) {
            assert!(event.get(field).is_some(), "no {field} in {event}");
        }
        assert_eq!(
            (&event["topic"], &event["seq"], &event["seq_internal"]),
            (&json!(topic), &json!(seq), &json!(seq))
        );
        seen.insert(*name);
        if seen.len() == FLAT.len() {
            break;
        }
    }
    Ok(())
}

#[tokio::test]
async fn transforms_shape_the_aggregates() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "200"], &[]).await?;
    let transforms = json!([
        {"op": "resample", "window": "2s", "on": "price_avg", "agg": ["mean", "last", "count", "min", "max"]},
        {"op": "project", "fields": ["price_avg_mean", "price_avg_last", "price_avg_count", "price_avg_min", "price_avg_max"]},
    ]);
    let spec = |transforms: Value| json!({"version": "v1", "sources": [market(&["trades"])], "interval_sec": 0.5, "transforms": transforms});
    let (plain, shaped) = (bond.stream_of(spec(json!([]))).await?, bond.stream_of(spec(transforms)).await?);
    assert_ne!(plain["stream_id"], shaped["stream_id"]);
    let mut windows = Socket::open(&ws_url(&plain, "&from=now-60s")).await?;
    let mut resampled = Socket::open(&ws_url(&shaped, "&from=now-60s")).await?;
    let mut averages: BTreeMap<String, f64> = BTreeMap::new();
    // The streams began at different moments, and so did their first windows.
    resampled.event().await?;
    for _ in 0..2 {
        let event = resampled.event().await?;
        let count = event["price_avg_count"].as_u64().context("count")? as usize;
        let (start, end) =
            (event["window_start"].as_str().context("start")?, event["window_end"].as_str().context("end")?);
        while !averages.contains_key(end) {
            let window = windows.event().await?;
            averages.insert(
                window["window_end"].as_str().context("end")?.to_owned(),
                window["price_avg"].as_f64().context("price_avg")?,
            );
        }
        let parts: Vec<f64> = averages
            .range(start.to_owned()..=end.to_owned())
            .skip_while(|(at, _)| *at == start)
            .map(|(_, price)| *price)
            .collect();
        assert_eq!(parts.len(), count, "{event}: {averages:?}");
        let near = |field: &str, expected: f64| {
            let given = event[field].as_f64().unwrap_or(f64::NAN);
            assert!((given - expected).abs() < 1e-6, "{field} is not {expected}: {event}");
        };
        near("price_avg_mean", parts.iter().sum::<f64>() / parts.len() as f64);
        near("price_avg_last", parts.last().copied().context("a window")?);
        near("price_avg_min", parts.iter().copied().fold(f64::MAX, f64::min));
        near("price_avg_max", parts.iter().copied().fold(f64::MIN, f64::max));
        assert!(event.get("vwap").is_none(), "what was not projected is gone: {event}");
    }
    Ok(())
}

#[tokio::test]
async fn who_asked_for_nothing_gets_events_and_no_other_message() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "300"], &[("BOND_HEARTBEAT_SECONDS", "1")]).await?;
    let created = bond.stream(TICKS).await?;
    let mut loud = Socket::open(&ws_url(&created, "&control=true")).await?;
    let mut quiet = Socket::open(&ws_url(&created, "")).await?;
    quiet.send(&json!({"type": "ping", "correlation_id": 5})).await?;
    let (mut pongs, mut last_beat) = (0, Value::Null);
    // As long as another client gets four heartbeats, this one gets none.
    for _ in 0..4 {
        last_beat = loud.event_of("heartbeat").await?;
        for _ in 0..20 {
            let event = quiet.event().await?;
            pongs += u32::from(kind(&event) == "pong" && event["correlation_id"] == 5);
            assert!(["trade", "pong"].contains(&kind(&event)), "{event}");
        }
    }
    assert_eq!(pongs, 1);
    assert!(last_beat["status"]["okx"].is_string(), "{last_beat}");
    quiet.send(&json!({"type": "subscribe", "channels": ["trades"], "correlation_id": "s"})).await?;
    let error = quiet.event_of("error").await?;
    assert_eq!((&error["code"], &error["correlation_id"]), (&json!("INVALID_MESSAGE"), &json!("s")));
    quiet.event_of("heartbeat").await.map(drop)
}

#[tokio::test]
async fn each_way_of_asking_turns_control_on() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "300"], &[]).await?;
    let created = bond.stream(TICKS).await?;
    let head = Socket::open(&ws_url(&created, "")).await?.head().await?;
    let (epoch, seq) = (head.epoch.context("epoch")?, head.seq.context("seq")?);
    Socket::open(&ws_url(&created, "&control=true")).await?.event_of("heartbeat").await?;
    Socket::open(&ws_url(&created, &format!("&from={epoch}:{seq}"))).await?.event_of("heartbeat").await?;
    let protocol = [("sec-websocket-protocol", "bond.v1")];
    let mut batches = Socket::open_with(&ws_url(&created, ""), &protocol).await?;
    while kind(&batches.event().await?) != "heartbeat" {}
    Ok(())
}

#[tokio::test]
async fn batches_are_arrays_that_lose_nothing() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "600"], &[]).await?;
    let created = bond.stream(TICKS).await?;
    let url = ws_url(&created, "&from=now-60s");
    let protocol = [("sec-websocket-protocol", "bond.v1")];
    let clients = [
        (Socket::open(&format!("{url}&batch=7")).await?, 7),
        (Socket::open(&format!("{url}&batch=50&wait_ms=200")).await?, 50),
        (Socket::open_with(&url, &protocol).await?, 100),
    ];
    for (mut socket, size) in clients {
        let (mut last, mut largest) = (0, 0);
        while last < 400 || largest < 2 {
            let batch = socket.event().await?;
            let Some(events) = batch.as_array() else {
                assert_eq!(kind(&batch), "heartbeat", "{batch}");
                continue;
            };
            ensure!((1..=size).contains(&events.len()), "{} events in a batch of {size}", events.len());
            largest = largest.max(events.len());
            for event in events.iter().filter(|event| kind(event) == "trade") {
                assert_eq!(event["seq"].as_u64(), Some(last + 1), "batch of {size}");
                last += 1;
            }
        }
    }
    Ok(())
}

/// A user's own WebSocket server that says this every 20 ms.
async fn source(message: &'static str) -> Result<String> {
    source_at("prices?key=secret", message).await
}

async fn source_at(path: &str, message: &'static str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/{path}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(socket).await.expect("a handshake");
                while socket.send(Message::text(message)).await.is_ok() {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                while socket.next().await.is_some_and(|message| message.is_ok()) {}
            });
        }
    });
    Ok(url)
}

#[tokio::test]
async fn a_custom_websocket_is_a_source() -> Result<()> {
    let bond = Bond::up(&[], &[("BOND_ALLOW_PRIVATE_SOURCES", "true")]).await?;
    let url = source(r#"{"p": 0.10000000000000000000001, "T": 1700000000123, "noise": [1, 2]}"#).await?;
    let custom = json!({"type": "websocket", "url": url, "map": {"value": "/p", "ts": "/T"}});
    let flat = bond.stream_of(json!({"version": "v1", "sources": [custom], "interval_sec": null})).await?;
    let mut socket = Socket::open(&ws_url(&flat, "&from=now-60s")).await?;
    let text = socket.text().await?;
    let event: Value = serde_json::from_str(&text)?;
    assert_eq!((kind(&event), &event["symbol"], &event["seq"]), ("custom", &json!("*"), &json!(1)));
    assert_eq!(event["ts_exchange"], 1_700_000_000_123_i64);
    assert!(text.contains(r#""value":0.10000000000000000000001"#), "{text}");
    assert!(!text.contains("secret"), "a query may hold secrets: {text}");
    let sources = json!([market(&["trades"]), custom]);
    let merged = bond.stream_of(json!({"version": "v1", "sources": sources, "interval_sec": 0.5})).await?;
    let mut socket = Socket::open(&ws_url(&merged, "")).await?;
    for _ in 0..20 {
        let window = socket.event_of("aggregate").await?;
        if window["custom_count"].as_u64() > Some(0) && window["raw_data"]["trades"].as_u64() > Some(0) {
            return Ok(());
        }
    }
    anyhow::bail!("no window counts both trades and custom events")
}

#[tokio::test]
async fn what_a_users_source_is_called_and_how_it_fares_stays_with_its_stream() -> Result<()> {
    let bond = Bond::up(&[], &[("BOND_ALLOW_PRIVATE_SOURCES", "true"), ("BOND_LOG", "debug")]).await?;
    let url = source_at("hook/PATHSECRET?apikey=QUERYSECRET", r#"{"p": 1}"#).await?;
    let custom = json!({"type": "websocket", "url": url, "map": {"value": "/p"}});
    let own = bond.stream_of(json!({"version": "v1", "sources": [custom], "interval_sec": null})).await?;
    let mut socket = Socket::open(&ws_url(&own, "")).await?;
    let event = socket.event_of("custom").await?;
    let name = event["source"].as_str().context("a source")?.to_owned();
    ensure!(name.starts_with("127.0.0.1#") && name.len() == "127.0.0.1#".len() + 8, "{name}");
    let mut own = Socket::open(&ws_url(&own, "&control=true")).await?;
    let beat = own.event_of("heartbeat").await?;
    ensure!(beat["status"][&name] == "connected", "its own clients are told: {beat}");
    let other = bond.stream(TICKS).await?;
    for url in [format!("{}/stream", bond.ws), ws_url(&other, "&control=true")] {
        let beat = Socket::open(&url).await?.event_of("heartbeat").await?;
        ensure!(!beat.to_string().contains("127.0.0.1"), "nobody else is: {beat}");
    }
    let mut told = vec![bond.log()];
    for accept in ["application/json", "text/plain"] {
        told.push(bond.request("GET", "/metrics", &[("accept", accept)], "").await?.1.to_string());
    }
    for text in &told {
        ensure!(!text.contains("PATHSECRET") && !text.contains("QUERYSECRET"), "a secret is told: {text}");
    }
    ensure!(told[1..].iter().all(|text| !text.contains("127.0.0.1#")), "{told:?}");
    ensure!(told[0].contains("stream runs"), "the log is read");
    Ok(())
}
