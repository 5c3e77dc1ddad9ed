//! Channels and venues that fall silent, with patience cut short.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_sim::{Market, Venue};
use futures_util::future::try_join_all;

use super::cases::{TOLD, goes_on};
use super::watch::{Watch, is_status};
use super::world::{CHANNELS, SITES, Site, World};

/// Of the patience that venues are granted.
const PERCENT: u64 = 5;

/// What is silent, by the simulator's class of stream, and the channels that lack something for it.
const SILENCES: [(&str, &[&str]); 5] = [
    ("silence:trade", &["trades"]),
    ("silence:quote", &["ticker"]),
    ("silence:ticker", &["ticker"]),
    ("silence:book", &["orderbook"]),
    ("silence", &CHANNELS),
];

impl Site {
    /// How long a channel may be silent at full patience, as docs/faults.md has it.
    fn budget(&self, channel: &str) -> Duration {
        Duration::from_secs(match (self.venue, channel) {
            (_, "trades") => 120,
            (Venue::Okx, "ticker") => 60,
            (Venue::Okx, "orderbook") => 75,
            (Venue::Bybit, "ticker") if self.market == Market::Spot => 120,
            _ => 30,
        })
    }

    /// Whether the streams of `fault` are all that the channel has.
    fn starves(&self, fault: &str) -> bool {
        match fault {
            "silence:quote" => (self.venue, self.market) == (Venue::Binance, Market::Perpetual),
            "silence:ticker" => (self.venue, self.market) == (Venue::Bybit, Market::Perpetual),
            _ => true,
        }
    }
}

async fn silence(site: &Site, watch: &Watch, fault: &str, channels: &[&str]) -> Result<()> {
    let mark = watch.mark();
    site.inject(fault)?;
    let mut stale = Vec::new();
    for channel in channels {
        let topic = site.topic(channel);
        let within = site.budget(channel) * PERCENT as u32 / 100 + TOLD;
        let what = format!("{topic} told stale");
        // Another channel may have shown earlier that the whole connection is silent.
        let is_told = |m: &_| ["stale", "reconnecting"].iter().any(|state| is_status(m, &topic, state));
        let (told, _) = watch.find(mark, &what, within, is_told).await?;
        stale.push((topic, told));
    }
    site.simulator.clear_faults();
    for (topic, mark) in stale {
        goes_on(watch, mark, &topic).await?;
    }
    Ok(())
}

async fn run_site(world: &World, site: &Site) -> Result<()> {
    let watch = world.feed(site).await?;
    for channel in CHANNELS {
        goes_on(&watch, 0, &site.topic(channel)).await?;
    }
    for (fault, channels) in SILENCES.into_iter().filter(|(fault, _)| site.starves(fault)) {
        let run = silence(site, &watch, fault, channels).await;
        run.with_context(|| format!("{} {:?}: {fault}", site.name(), site.market))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_falls_silent_is_told_in_time_and_comes_back() -> Result<()> {
    let percent = PERCENT.to_string();
    let world = World::new(&SITES, &[("BOND_PATIENCE_PERCENT", &percent)]).await?;
    try_join_all(world.sites.iter().map(|site| run_site(&world, site))).await?;
    ensure!(!world.bond.log().contains("panicked"), "{}", world.bond.log());
    Ok(())
}
