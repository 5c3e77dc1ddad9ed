//! `bond broker` under attack. The victim follows a stream to which a producer adds at a steady rate.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::api::Api;
use bond_e2e::process::Broker;
use bond_e2e::redis::Redis;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::harness::{Bound, withstands};
use super::raw;
use super::site::{Site, unix_ms};
use super::{SECRET, all, attacks};
use crate::access::{FAR, legacy};

/// The victim's stream.
const STEADY: &str = "steady";

/// One whose entries are many and large.
const BUSY: &str = "busy";

/// A task that ends with this value.
struct Producer(JoinHandle<Result<()>>);

impl Drop for Producer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Adds an entry of about so many bytes, with the time in it, every so often.
async fn produce(redis: &Redis, stream: &str, every: Duration, bytes: usize) -> Result<Producer> {
    let (mut connection, key) = (redis.connect().await?, format!("stream:{stream}"));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok(Producer(tokio::spawn(async move {
        loop {
            ticks.tick().await;
            let data = json!({"ts_exchange": unix_ms(), "filler": "x".repeat(bytes)}).to_string();
            connection.command(&["XADD", &key, "MAXLEN", "~", "1000", "*", "data", &data]).await?;
        }
    })))
}

fn path(stream: &str) -> Result<String> {
    Ok(format!("/ws/{stream}?token={}", legacy(SECRET, stream, FAR)?))
}

fn site(broker: &Broker, redis: &Redis) -> Result<Site> {
    let address = broker.ws.trim_start_matches("ws://");
    let api = Api::open(format!("http://{address}"))?;
    Ok(Site {
        name: "bond broker",
        mallory: api.clone(),
        alice: api,
        ws: address.parse().context("an address")?,
        feed: path(STEADY)?,
        wish: None,
        refusing: format!("/ws/{STEADY}?token=bad"),
        pids: vec![broker.process.pid(), redis.pid()],
        is_behind_platform: false,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_withstands_it_all() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = Broker::start(&redis.url(), &[("BOND_SECRET", SECRET), ("BOND_RING_MIB", "16")]).await?;
    let _steady = produce(&redis, STEADY, Duration::from_millis(10), 0).await?;
    let (site, bound) = (site(&broker, &redis)?, Bound::default());
    all([
        withstands(&site, "handshakes reset", bound, attacks::resets(&site)).await,
        withstands(&site, "entries unread", bound, unread_entries(&site, &redis)).await,
        withstands(&site, "messages unfinished", bound, attacks::unfinished(&site)).await,
        withstands(&site, "pings", bound, attacks::pings(&site)).await,
        withstands(&site, "empty fragments", bound, attacks::empty_fragments(&site)).await,
        withstands(&site, "short texts", bound, attacks::short_texts(&site)).await,
        withstands(&site, "long texts", Bound { p99_ms: 4_000, ..bound }, attacks::long_texts(&site)).await,
        withstands(&site, "requests refused", bound, attacks::refused_requests(&site)).await,
        withstands(&site, "connections hoarded", bound, attacks::hoard(&site, 1_000)).await,
        withstands(&site, "streams hoarded", bound, streams(&site)).await,
    ])
}

/// Clients of a busy stream that read nothing.
async fn unread_entries(site: &Site, redis: &Redis) -> Result<String> {
    const CLIENTS: usize = 200;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let socket = raw::open_with(site.ws, &path(BUSY)?, None, 2_048).await?;
        clients.spawn(async move {
            let mut socket = socket;
            // It looks at its socket only after the broker has had the time to lose patience.
            sleep(Duration::from_secs(5)).await;
            timeout(Duration::from_secs(10), raw::until_closed(&mut socket)).await.is_ok()
        });
    }
    let _busy = produce(redis, BUSY, Duration::from_millis(10), 16 * 1024).await?;
    let closed = clients.join_all().await.into_iter().filter(|closed| *closed).count();
    ensure!(closed == CLIENTS, "{closed} of {CLIENTS} were closed");
    Ok(format!("{CLIENTS} clients read nothing of a busy stream, and were closed"))
}

/// As many streams as one has tokens for, each followed by a client.
async fn streams(site: &Site) -> Result<String> {
    const STREAMS: usize = 1_000;
    let mut held = Vec::new();
    for number in 0..STREAMS {
        held.push(raw::open(site.ws, &path(&format!("empty-{number}"))?, None).await?);
    }
    sleep(Duration::from_secs(2)).await;
    Ok(format!("{} streams more were followed", held.len()))
}
