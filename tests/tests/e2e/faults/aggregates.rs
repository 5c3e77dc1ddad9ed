//! What aggregates say of venues that are away, and that nothing is counted twice.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use bond_sim::Venue;
use serde_json::{Value, json};

use super::audit::sent_by_window;
use super::watch::{Mark, PATIENCE, Watch, is_status};
use super::world::{SPOT, Site, World};

const WINDOW_MS: i64 = 1000;

fn spec() -> Value {
    json!({"sources": [{
        "type": "market", "symbols": ["BTC/USDT"], "exchanges": ["binance", "okx", "bybit"], "channels": ["trades", "ticker"],
    }], "interval_sec": 1})
}

fn is_aggregate(message: &Value, complete: bool) -> bool {
    message["type"] == "aggregate" && message["complete"] == complete
}

fn has_source(window: &Value, venue: &str) -> bool {
    window["raw_data"]["sources"]
        .as_array()
        .is_some_and(|sources| sources.iter().any(|source| source == venue))
}

/// While a venue is away windows say so and name it, and it alone; afterwards they are complete again.
async fn goes_away(site: &Site, watch: &Watch, mark: Mark) -> Result<Mark> {
    let begun = mark;
    site.inject("refuse")?;
    site.inject("reset")?;
    let only_it = |m: &Value| is_aggregate(m, false) && m["raw_data"]["down"] == json!([site.name()]);
    let what = format!("a window without {}", site.name());
    let (mark, without) = watch.find(mark, &what, PATIENCE, only_it).await?;
    let topic = without["topic"].as_str().context("topic")?.to_owned();
    watch
        .find(0, "status", PATIENCE, |m| is_status(m, &topic, "reconnecting") && m["source"] == site.name())
        .await?;
    site.simulator.clear_faults();
    let (mark, whole) = watch.find(mark, "a complete window", PATIENCE, |m| is_aggregate(m, true)).await?;
    ensure!(whole["raw_data"]["down"] == json!([]), "{whole}");
    let hides_it = |m: &Value| is_aggregate(m, true) && !has_source(m, site.name());
    let hidden = watch.since(begun).into_iter().find(|m| hides_it(m));
    ensure!(hidden.is_none(), "nothing of {} in {hidden:?}", site.name());
    Ok(mark)
}

async fn venues_go_away() -> Result<()> {
    let world = World::new(&SPOT, &[]).await?;
    let watch = world.stream(spec()).await?;
    let (mut mark, _) = watch.find(0, "a complete window", PATIENCE, |m| is_aggregate(m, true)).await?;
    for site in &world.sites {
        mark = goes_away(site, &watch, mark).await.with_context(|| site.name())?;
    }
    let binance = world.sites.iter().find(|site| site.venue == Venue::Binance).context("binance")?;
    loses_one(binance, &watch).await
}

/// The stream's own topic is told of the trade that its venue never sent.
async fn loses_one(site: &Site, watch: &Watch) -> Result<()> {
    let dropped = site.inject("drop:trade:1")?;
    let number: u64 = site.applied(dropped, 1).await?[0].parse()?;
    let is_told =
        |m: &Value| m["source"] == site.name() && m["lost"] == json!({"from": number, "to": number});
    watch.find(0, &format!("{number} told lost"), PATIENCE, is_told).await?;
    Ok(())
}

/// What the windows counted for a venue, by the start of the window in Unix milliseconds.
fn counted(watch: &Watch, venue: &str) -> Result<BTreeMap<i64, u64>> {
    let whole = watch.since(0).into_iter().filter(|m| is_aggregate(m, true));
    whole
        .map(|window| {
            let start = window["window_start"].as_str().context("no window_start")?;
            let trades = window["raw_data"]["by_exchange"][venue]["trades"].as_u64().unwrap_or(0);
            Ok((unix_millis(start)?, trades))
        })
        .collect()
}

/// An RFC 3339 time in UTC as Unix milliseconds.
fn unix_millis(text: &str) -> Result<i64> {
    let number =
        |range: std::ops::Range<usize>| -> Result<i64> { Ok(text.get(range).context("short")?.parse()?) };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    // Days of the civil calendar since 1970, counted in years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Ok((days * 86_400 + seconds) * 1000)
}

async fn trades_come_twice_and_out_of_order() -> Result<()> {
    let world = World::new(&SPOT, &[("BOND_MAX_LAG_MS", "1500")]).await?;
    for site in &world.sites {
        site.inject("repeat:trade:1/2")?;
        site.inject("swap:trade:1/7")?;
    }
    let watch = world.stream(spec()).await?;
    let mut mark = 0;
    for _ in 0..6 {
        mark = watch.find(mark, "a complete window", PATIENCE, |m| is_aggregate(m, true)).await?.0;
    }
    for site in &world.sites {
        let sent = sent_by_window(site, WINDOW_MS)?;
        let counted = counted(&watch, site.name())?;
        for (start, trades) in counted {
            let sent = sent.get(&start).copied().unwrap_or(0);
            ensure!(trades == sent, "{}: {trades} trades counted at {start}, {sent} sent", site.name());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_say_what_they_lack_and_count_nothing_twice() -> Result<()> {
    tokio::try_join!(venues_go_away(), trades_come_twice_and_out_of_order())?;
    Ok(())
}
