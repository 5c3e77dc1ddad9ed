//! A process that stands by takes over from one that is gone, or was.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::host::Reader;
use bond_e2e::numbers::Numbers;
use bond_e2e::process::Bond;
use bond_e2e::redis::Redis;
use bond_e2e::socket::Socket;
use bond_sim::{Config, Market, Simulator, Venue};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Two processes on one Redis and one venue: the first leads, the second stands by.
struct Pair {
    leader: Bond,
    follower: Bond,
    _redis: Redis,
    _venue: Simulator,
}

async fn pair() -> Result<Pair> {
    let redis = Redis::start().await?;
    let venue = bond_sim::serve(Config::seeded(Venue::Binance, Market::Spot, 7, 100.0)).await?;
    let (url, venue_url) = (redis.url(), format!("binance={}", venue.base_url()));
    let arguments = ["--redis", &url, "--venue-url", &venue_url];
    let leader = Bond::up(&arguments, &[]).await?;
    leader.is_ready().await?;
    let follower = Bond::up(&arguments, &[]).await?;
    follower.is_ready().await?;
    Ok(Pair { leader, follower, _redis: redis, _venue: venue })
}

/// The windows of a stream, as a client of the process that stands by sees them.
struct Windows {
    reader: Reader,
    end: Option<Value>,
}

impl Windows {
    async fn of(pair: &Pair, interval: f64, transforms: Value) -> Result<Self> {
        let sources = json!([{"type": "market", "symbols": ["BTC/USDT"], "channels": ["trades"]}]);
        let spec = json!({"sources": sources, "interval_sec": interval, "transforms": transforms});
        let created = pair.follower.stream_of(spec).await?;
        let socket = Socket::open(&ws_url(&created, "&control=true")).await?;
        Ok(Self { reader: Reader { socket, numbers: Numbers::default() }, end: None })
    }

    /// The next window, which begins where the one before ended and has the number after its.
    async fn next(&mut self) -> Result<Value> {
        let window = self.reader.next().await?;
        let follows = self.end.as_ref().is_none_or(|end| *end == window["window_start"]);
        ensure!(follows, "the window after {:?}: {window}", self.end);
        self.end = Some(window["window_end"].clone());
        Ok(window)
    }

    /// Reads until a window is complete or not, as asked for; returns how many were not before it.
    async fn until(&mut self, complete: bool) -> Result<usize> {
        let deadline = Instant::now() + Duration::from_secs(25);
        let mut others = 0;
        while self.next().await?["complete"] != complete {
            others += 1;
            ensure!(Instant::now() < deadline, "no window is {}complete", if complete { "" } else { "in" });
        }
        Ok(others)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_stands_by_takes_over_from_one_that_was_killed() -> Result<()> {
    let pair = pair().await?;
    let mut windows = Windows::of(&pair, 0.5, json!([])).await?;
    let longer = json!([{"op": "resample", "window": "2s", "on": "price_avg", "agg": ["last"]}]);
    let mut longer = Windows::of(&pair, 0.5, longer).await?;
    windows.until(true).await?;
    longer.until(true).await?;
    let epoch = windows.reader.numbers.epoch.clone();
    pair.leader.signal("KILL").await?;
    windows.until(false).await?;
    let missed = windows.until(true).await?;
    ensure!(missed >= 10, "{missed} windows were made up for, though the lease lasts ten seconds");
    ensure!(windows.reader.numbers.epoch == epoch, "the same history goes on");
    longer.until(false).await?;
    longer.until(true).await?;
    windows.until(true).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_frozen_and_woke_up_late_writes_nothing() -> Result<()> {
    let pair = pair().await?;
    let mut windows = Windows::of(&pair, 0.5, json!([])).await?;
    windows.until(true).await?;
    pair.leader.signal("STOP").await?;
    windows.until(false).await?;
    windows.until(true).await?;
    pair.leader.signal("CONT").await?;
    for _ in 0..8 {
        let window = windows.next().await?;
        ensure!(window["complete"] == true, "disturbed by the one that woke up: {window}");
    }
    pair.leader.is_ready().await.context("it serves and stands by")?;
    ensure!(pair.leader.log().contains("stands by"), "{}", pair.leader.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_asked_to_stop_hands_over_at_once() -> Result<()> {
    let mut pair = pair().await?;
    let mut windows = Windows::of(&pair, 0.5, json!([])).await?;
    windows.until(true).await?;
    let begun = Instant::now();
    let (_, succeeded) = pair.leader.terminate().await?;
    ensure!(succeeded, "{}", pair.leader.log());
    windows.until(false).await?;
    windows.until(true).await?;
    ensure!(begun.elapsed() < Duration::from_secs(8), "took over after {:?}", begun.elapsed());
    Ok(())
}
