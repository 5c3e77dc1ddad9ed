//! Venues and instruments that cannot be had, at first or ever.

use anyhow::{Context, Result, ensure};
use bond_sim::{Market, Venue};
use serde_json::{Value, json};

use super::cases::goes_on;
use super::watch::{PATIENCE, Watch, is_status};
use super::world::{CHANNELS, SPOT, World};

fn spec(symbol: &str, venues: &[&str]) -> Value {
    json!({"sources": [{
        "type": "market", "symbols": [symbol], "exchanges": venues, "channels": ["trades"],
    }], "interval_sec": 1})
}

async fn told_unavailable(watch: &Watch, source: &str) -> Result<()> {
    let is_told = |m: &Value| m["type"] == "status" && m["source"] == source && m["state"] == "unavailable";
    watch.find(0, &format!("{source} told unavailable"), PATIENCE, is_told).await?;
    Ok(())
}

async fn heartbeat_says(watch: &Watch, source: &str) -> Result<()> {
    let says = |m: &Value| m["type"] == "heartbeat" && m["status"][source] == "unavailable";
    watch.find(0, &format!("a heartbeat says {source} is unavailable"), PATIENCE, says).await?;
    Ok(())
}

/// What cannot be had is told after the stream's first event, is missed by no window, and stands in heartbeats where there is no event.
async fn not_listed_or_not_served() -> Result<()> {
    let world = World::new(&[(Venue::Binance, Market::Spot)], &[("BOND_HEARTBEAT_SECONDS", "1")]).await?;
    let mixed = world.stream(spec("BTC/USDT", &["binance", "kraken"])).await?;
    told_unavailable(&mixed, "kraken").await?;
    let whole = |m: &Value| m["type"] == "aggregate" && m["complete"] == true;
    mixed.find(0, "a complete window", PATIENCE, whole).await?;
    heartbeat_says(&mixed, "kraken").await?;
    let unlisted = world.stream(spec("NOSUCH/USDT", &["binance"])).await?;
    heartbeat_says(&unlisted, "binance:NOSUCH/USDT").await?;
    let wish = json!({"type": "subscribe", "channels": ["trades"], "symbols": ["BTC/USDT", "NOSUCH/USDT"], "exchanges": ["binance"]});
    let feed = Watch::open(&format!("{}/stream?control=true", world.bond.ws), Some(&wish)).await?;
    heartbeat_says(&feed, "binance:NOSUCH/USDT").await?;
    feed.find(0, "trades", PATIENCE, |m| m["type"] == "trade").await?;
    Ok(())
}

/// It costs a line of log an attempt, and nobody else anything.
async fn never_comes_back() -> Result<()> {
    let world = World::new(&SPOT, &[]).await?;
    let gone = world.sites.iter().find(|site| site.venue == Venue::Okx).context("okx")?;
    let watch = world.feed(gone).await?;
    for channel in CHANNELS {
        goes_on(&watch, 0, &gone.topic(channel)).await?;
    }
    let others = world.stream(spec("BTC/USDT", &["binance", "okx", "bybit"])).await?;
    others.find(0, "a window", PATIENCE, |m| m["type"] == "aggregate").await?;
    let before = world.bond.log().lines().count();
    let refused = gone.inject("refuse")?;
    gone.inject("reset")?;
    for channel in CHANNELS {
        let (topic, what) = (gone.topic(channel), format!("{channel} told failed"));
        watch.find(0, &what, PATIENCE, |m| is_status(m, &topic, "failed")).await?;
    }
    let attempts = gone.applied(refused, 12).await?.len();
    let log = world.bond.log();
    let lines: Vec<_> = log.lines().skip(before).collect();
    // Besides a line an attempt: the loss itself, and what came of the streams and sources meanwhile.
    ensure!(
        lines.len() <= attempts + 4,
        "{} lines for {attempts} attempts:\n{}",
        lines.len(),
        lines.join("\n")
    );
    let mark = others.mark();
    let served = |m: &Value| {
        m["type"] == "aggregate"
            && m["raw_data"]["down"] == json!(["okx"])
            && m["raw_data"]["sources"] == json!(["binance", "bybit"])
    };
    others.find(mark, "the other venues' windows", PATIENCE, served).await?;
    gone.simulator.clear_faults();
    for channel in CHANNELS {
        let topic = gone.topic(channel);
        let (failed, _) = watch.find(0, "failed", PATIENCE, |m| is_status(m, &topic, "failed")).await?;
        goes_on(&watch, failed, &topic).await?;
    }
    Ok(())
}

/// A venue that is down from the start, so that not even its list of instruments can be read.
async fn down_at_the_start() -> Result<()> {
    let world = World::new(&SPOT, &[("BOND_HEARTBEAT_SECONDS", "1")]).await?;
    let late = world.sites.iter().find(|site| site.venue == Venue::Bybit).context("bybit")?;
    let refused = late.inject("refuse")?;
    let watch = world.stream(spec("BTC/USDT", &["binance", "bybit"])).await?;
    let lacks = |m: &Value| m["type"] == "aggregate" && m["raw_data"]["down"] == json!(["bybit"]);
    let (mark, window) = watch.find(0, "a window without bybit", PATIENCE, lacks).await?;
    let topic = window["topic"].as_str().context("topic")?.to_owned();
    late.applied(refused, 2).await?;
    late.simulator.clear_faults();
    watch
        .find(mark, "bybit told connected", PATIENCE, |m| {
            is_status(m, &topic, "connected") && m["source"] == "bybit"
        })
        .await?;
    let whole = |m: &Value| m["type"] == "aggregate" && m["complete"] == true;
    watch.find(mark, "a complete window", PATIENCE, whole).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_told_and_harms_nobody_else() -> Result<()> {
    tokio::try_join!(not_listed_or_not_served(), never_comes_back(), down_at_the_start())?;
    Ok(())
}
