//! Connections that end without a word, and events that fit no frame.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::{Cloud, Options};
use bond_e2e::socket::Socket;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::clients::{Client, Clients};

/// How soon an idle connection is asked after, in seconds of real time.
const PROBE: &str = "2";

/// What an idle connection may last, and more than any may (API Gateway quotas, read 2026-11).
const IDLE: Duration = Duration::from_secs(10 * 60);
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Waits until both API Gateway and the table know so many connections.
async fn connections(cloud: &Cloud, count: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let open = cloud.gateway.connections().await?.as_array().map_or(0, Vec::len);
        let kept = cloud.kept_connections().await?;
        if (open, kept.len()) == (count, count) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{open} are open, {} kept, of {count}: {kept:?}", kept.len());
        sleep(Duration::from_millis(100)).await;
    }
}

/// Ends the newest `count` connections without a word to anyone.
async fn drop_silently(cloud: &Cloud, count: usize) -> Result<()> {
    let open = cloud.gateway.connections().await?;
    let mut open = open.as_array().cloned().context("a list")?;
    open.sort_by_key(|connection| connection["connected_at"].as_u64());
    for connection in open.iter().rev().take(count) {
        cloud.gateway.drop_silently(connection["id"].as_str().context("id")?).await?;
    }
    Ok(())
}

/// A stream whose windows are so long that none comes, and a feed without a wish.
async fn idle(cloud: &Cloud) -> Result<[Socket; 2]> {
    let spec = json!({"interval_sec": 3600, "sources": [
        {"type": "market", "symbols": ["ETH/USDT"], "channels": ["trades"]},
    ]});
    let quiet = Socket::open(&ws_url(&cloud.api.stream_of(spec).await?, "")).await?;
    let token = cloud.api.feed_token().await?;
    let mut feed = Socket::open(&format!("{}&token={token}", cloud.feed_url())).await?;
    // From here on there is nothing to be said to it for minutes.
    feed.event_of("heartbeat").await?;
    Ok([quiet, feed])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_gone_without_a_word_are_swept() -> Result<()> {
    let mut options = Options { rate: 50, ..Options::default() };
    options.settings.push(("BOND_PROBE_SECONDS".into(), PROBE.into()));
    let cloud = Cloud::start(options).await?;
    let mut clients = Clients::open(&cloud).await?;
    let others = clients.0.len();
    connections(&cloud, others).await.context("all are kept")?;

    let idle_ones = idle(&cloud).await?;
    connections(&cloud, others + 2).await.context("idle ones are kept")?;
    drop_silently(&cloud, 2).await?;
    connections(&cloud, others).await.context("idle ones dropped silently are found out by asking")?;
    drop(idle_ones);

    cloud.gateway.faults(&json!({"lose_disconnect": 1.0})).await?;
    drop(clients.0.pop());
    connections(&cloud, others - 1).await.context("one that is posted to shows by itself that it is gone")?;
    clients.all(50, 3).await.context("the others go on")?;
    clients.have_everything()?;

    let _idle_ones = idle(&cloud).await?;
    connections(&cloud, others + 1).await?;
    cloud.gateway.advance(IDLE - Duration::from_secs(60)).await?;
    clients.all(50, 3).await?;
    cloud.gateway.advance(Duration::from_secs(90)).await?;
    connections(&cloud, others - 1).await.context("idle ones end with the platform's limit")?;
    clients.all(50, 3).await.context("busy ones do not")?;
    cloud.gateway.advance(LIFETIME).await?;
    connections(&cloud, 0).await.context("every one ends after two hours")
}

/// A venue of a WebSocket: numbers, and among them one text that no frame holds.
async fn source() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(send(socket));
        }
    });
    Ok(url)
}

async fn send(socket: tokio::net::TcpStream) -> Result<()> {
    let mut socket = tokio_tungstenite::accept_async(socket).await?;
    for number in 0.. {
        let value = if number % 100 == 50 { json!("x".repeat(140 * 1024)) } else { json!(number) };
        socket.send(Message::text(json!({"value": value}).to_string())).await?;
        sleep(Duration::from_millis(20)).await;
    }
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_fits_no_frame_holds_up_nobody() -> Result<()> {
    let mut options = Options { rate: 20, ..Options::default() };
    options.settings.push(("BOND_ALLOW_PRIVATE_SOURCES".into(), "true".into()));
    let cloud = Cloud::start(options).await?;
    let mut clients = Clients::open(&cloud).await?;
    let source = json!({"type": "websocket", "url": source().await?, "map": {"value": "/value"}});
    let created = cloud.api.stream_of(json!({"sources": [source], "interval_sec": null})).await?;
    let url = ws_url(&created, "&from=now-60s");
    let mut told = [
        Client::open("alone", &url, None).await?,
        Client::open("batched", &format!("{url}&batch=50"), None).await?,
    ];
    for client in &mut told {
        client.until(|seen| seen.gaps.len() >= 2).await?;
        client.more(60).await?;
        let seen = client.seen();
        let is_one = |gap: &Value| gap["from_seq"] == gap["to_seq"] && gap["reason"] == "slow_consumer";
        ensure!(seen.gaps.iter().all(is_one), "{:?}", seen.gaps);
    }
    clients.all(50, 3).await?;
    clients.have_everything()?;
    let log = cloud.ingest[0].log();
    ensure!(log.contains("an event cannot be delivered and is passed"), "{log}");
    let metrics = cloud.metrics(0).await?;
    let parked = metrics.lines().find_map(|line| line.strip_prefix("bond_relay_parked_total "));
    ensure!(parked.and_then(|count| count.parse::<u64>().ok()) >= Some(4), "{metrics}");
    Ok(())
}
