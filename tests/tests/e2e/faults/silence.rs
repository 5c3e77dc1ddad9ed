//! Channels and venues that fall silent, with patience cut short.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_sim::{Market, Venue};
use futures_util::future::try_join_all;

use super::cases::{TOLD, goes_on};
use super::watch::{Mark, PATIENCE, Watch, is_event, is_status};
use super::world::{CHANNELS, SITES, SPOT, Site, World};

/// Of the patience that venues are granted.
const PERCENT: u64 = 5;

/// How many events show that a channel flows again.
const EVENTS: usize = 4;

/// A silence, by the simulator's class of stream, and the channels that lack something for it.
type Silence = (&'static str, &'static [&'static str]);

/// Silences that follow each other. No channel is silent by itself twice in a row: patience grows with every silence.
const ROWS: [&[Silence]; 2] = [
    &[
        ("silence:trade", &["trades"]),
        ("silence:quote", &["ticker"]),
        ("silence:book", &["orderbook"]),
        ("freeze", &CHANNELS),
    ],
    &[("malformed:trade:all", &["trades"]), ("silence:ticker", &["ticker"]), ("silence", &CHANNELS)],
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

    /// Whether the channel lacks something under this fault.
    fn starves(&self, fault: &str) -> bool {
        match fault {
            // Bybit's perpetuals have one stream for both; OKX's tickers have best prices too.
            "silence:quote" => {
                self.venue == Venue::Binance || (self.venue, self.market) == (Venue::Bybit, Market::Spot)
            }
            // Binance's perpetuals have no last price.
            "silence:ticker" => (self.venue, self.market) != (Venue::Binance, Market::Perpetual),
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
        settles(watch, mark, &topic).await?;
    }
    Ok(())
}

/// So much of the topic comes that its silence counts as a loss: its budget is as before.
async fn settles(watch: &Watch, mark: Mark, topic: &str) -> Result<()> {
    let mut next = mark;
    for _ in 0..EVENTS {
        let event = |m: &_| is_event(m, topic);
        next = watch.find(next, &format!("{topic} flows"), PATIENCE, event).await?.0;
    }
    Ok(())
}

async fn run_site(world: &World, site: &Site, row: &[Silence]) -> Result<()> {
    let watch = world.feed(site).await?;
    for channel in CHANNELS {
        goes_on(&watch, 0, &site.topic(channel)).await?;
    }
    for (fault, channels) in row.iter().filter(|(fault, _)| site.starves(fault)) {
        let run = silence(site, &watch, fault, channels).await;
        run.with_context(|| format!("{} {:?}: {fault}", site.name(), site.market))?;
    }
    Ok(())
}

async fn run_row(row: &[Silence]) -> Result<()> {
    let percent = PERCENT.to_string();
    let world = World::new(&SITES, &[("BOND_PATIENCE_PERCENT", &percent)]).await?;
    try_join_all(world.sites.iter().map(|site| run_site(&world, site, row))).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_falls_silent_or_is_refused_is_told_in_time_and_comes_back() -> Result<()> {
    tokio::try_join!(try_join_all(ROWS.map(run_row)), refuses())?;
    Ok(())
}

/// Asked for again after a while, of which a fiftieth is waited here.
async fn refuses() -> Result<()> {
    let world = World::new(&SPOT, &[("BOND_PATIENCE_PERCENT", "2")]).await?;
    try_join_all(world.sites.iter().map(|site| refused(&world, site))).await?;
    Ok(())
}

async fn refused(world: &World, site: &Site) -> Result<()> {
    let watch = world.feed(site).await?;
    let topic = site.topic("ticker");
    goes_on(&watch, 0, &topic).await?;
    let mark = watch.mark();
    for fault in ["refuse-subscription:ticker:all", "refuse-subscription:quote:all", "reset"] {
        site.inject(fault)?;
    }
    let is_told = |m: &_| is_status(m, &topic, "unavailable");
    let (told, _) = watch.find(mark, &format!("{topic} told unavailable"), PATIENCE, is_told).await?;
    let trades = site.topic("trades");
    goes_on(&watch, mark, &trades).await?;
    let cost = watch.since(mark).into_iter().find(|m| is_status(m, &trades, "unavailable"));
    ensure!(cost.is_none(), "what was refused beside them cost the trades: {cost:?}");
    site.simulator.clear_faults();
    goes_on(&watch, told, &topic).await
}
