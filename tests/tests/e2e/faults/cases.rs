//! The tables: each fault, and what a client must see of it at every venue.

use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use bond_sim::{Market, Venue};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::audit::{audit_book, audit_trades};
use super::watch::{Mark, PATIENCE, Watch, is_event, is_status};
use super::world::{CHANNELS, SITES, Site, World};

/// A client must know of a fault so soon after the channel's budget for silence has run out, which a broken connection needs none of.
pub(super) const TOLD: Duration = Duration::from_secs(5);

/// What a client must see of a fault.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// Every topic is told `reconnecting`, then `connected`; events follow, and a book begins with a snapshot.
    Reconnects,
    /// The same for trades. What is on another connection is not told anything and goes on.
    TradesReconnect,
    /// The topic of the book is told `suspect`, then `connected`; the book begins with a snapshot.
    Resyncs,
    /// Trades that never come. Binance numbers its trades: the topic is told which. Elsewhere nobody can know.
    Loses,
    /// All trades come, none twice, and nothing is told.
    Keeps,
    /// Events of this channel go on, and nothing is told.
    Shrugs(&'static str),
}

/// Faults, how often the first of them has to take effect until all end, and what follows.
struct Case {
    faults: &'static [&'static str],
    times: usize,
    outcome: Outcome,
}

const fn case(faults: &'static [&'static str], times: usize, outcome: Outcome) -> Case {
    Case { faults, times, outcome }
}

/// Faults of connections.
const CONNECTION_FAULTS: [Case; 11] = [
    case(&["close=1001"], 1, Outcome::Reconnects),
    case(&["close=4004:trade"], 1, Outcome::TradesReconnect),
    case(&["reset"], 1, Outcome::Reconnects),
    case(&["notice"], 1, Outcome::Reconnects),
    case(&["refuse", "reset"], 2, Outcome::Reconnects),
    case(&["unavailable", "reset"], 2, Outcome::Reconnects),
    case(&["ack-late=400ms:*:all", "reset"], 1, Outcome::Reconnects),
    case(&["ack-after-data:*:all", "reset"], 1, Outcome::Reconnects),
    case(&["ack-never:*:all", "reset"], 1, Outcome::Reconnects),
    case(&["slow-rest=1s:*:1", "reset"], 1, Outcome::Reconnects),
    case(&["rest-429=1s:*:1", "reset"], 1, Outcome::Reconnects),
];

/// Faults of single frames.
const FRAME_FAULTS: [Case; 15] = [
    case(&["repeat:trade:3"], 3, Outcome::Keeps),
    case(&["swap:trade:2"], 2, Outcome::Keeps),
    case(&["delay=100ms:trade:2"], 2, Outcome::Keeps),
    case(&["split:*:20"], 20, Outcome::Keeps),
    case(&["drop:trade:3"], 3, Outcome::Loses),
    case(&["malformed:trade:1"], 1, Outcome::Loses),
    case(&["drop:quote:2"], 2, Outcome::Shrugs("ticker")),
    case(&["repeat:quote:2"], 2, Outcome::Shrugs("ticker")),
    case(&["malformed:ticker:1"], 1, Outcome::Shrugs("ticker")),
    case(&["repeat:book:2"], 2, Outcome::Shrugs("orderbook")),
    case(&["drop:book:1"], 1, Outcome::Resyncs),
    case(&["swap:book:1"], 1, Outcome::Resyncs),
    case(&["delay=1s:book:1"], 1, Outcome::Resyncs),
    case(&["malformed:book:1"], 1, Outcome::Resyncs),
    case(&["jump=5:book"], 1, Outcome::Resyncs),
];

impl Case {
    /// Whether the venue knows the fault: Bybit announces nothing; OKX and Bybit send snapshots on the socket; the quotes and the last
    /// price of Bybit's and Binance's perpetuals come on one stream.
    fn concerns(&self, site: &Site) -> bool {
        let fault = self.faults[0];
        let has_quotes = (site.venue, site.market) != (Venue::Bybit, Market::Perpetual);
        let has_ticker = (site.venue, site.market) != (Venue::Binance, Market::Perpetual);
        let known = match fault {
            "notice" => site.venue != Venue::Bybit,
            _ if fault.contains("rest") => site.venue == Venue::Binance,
            _ => true,
        };
        known && (has_quotes || !fault.contains("quote")) && (has_ticker || !fault.contains("ticker"))
    }

    async fn run(&self, site: &Site, watch: &Watch) -> Result<()> {
        let mark = watch.mark();
        let faults = self.faults.iter().map(|fault| site.inject(fault)).collect::<Result<Vec<_>>>()?;
        let ids = site.applied(faults[0], self.times).await?;
        site.simulator.clear_faults();
        match self.outcome {
            Outcome::Reconnects => recovers(site, watch, mark, &CHANNELS, "reconnecting").await?,
            Outcome::TradesReconnect => {
                recovers(site, watch, mark, site.beside_trades(), "reconnecting").await?;
                for channel in CHANNELS.iter().filter(|channel| !site.beside_trades().contains(channel)) {
                    quietly_goes_on(site, watch, mark, channel, 3).await?;
                }
            }
            Outcome::Resyncs => recovers(site, watch, mark, &["orderbook"], "suspect").await?,
            Outcome::Loses => loses(site, watch, mark, &ids).await?,
            Outcome::Keeps => keeps(site, watch, mark, &ids).await?,
            Outcome::Shrugs(channel) => quietly_goes_on(site, watch, mark, channel, 3).await?,
        }
        Ok(())
    }
}

/// Each channel is told `state` in time, then `connected`, and goes on.
pub(super) async fn recovers(
    site: &Site,
    watch: &Watch,
    mark: Mark,
    channels: &[&str],
    state: &str,
) -> Result<()> {
    for channel in channels {
        let topic = site.topic(channel);
        let (lost, _) =
            watch.find(mark, &format!("{topic} told {state}"), TOLD, |m| is_status(m, &topic, state)).await?;
        goes_on(watch, lost, &topic).await?;
    }
    Ok(())
}

/// The topic is told `connected` after `lost` and has events again, a book with a snapshot first.
pub(super) async fn goes_on(watch: &Watch, lost: Mark, topic: &str) -> Result<()> {
    let event = |m: &_| is_event(m, topic);
    let connected = |m: &_| is_status(m, topic, "connected");
    let (back, _) = watch.find(lost, &format!("{topic} told connected"), PATIENCE, connected).await?;
    watch.find(back, &format!("{topic} goes on"), PATIENCE, event).await?;
    if topic.starts_with("orderbook.") {
        let (_, first) = watch.find(lost, "a book", PATIENCE, event).await?;
        ensure!(first["update_type"] == "snapshot", "{topic} goes on with {}", first["update_type"]);
    }
    Ok(())
}

/// Further events of the channel come, and no status before them.
async fn quietly_goes_on(site: &Site, watch: &Watch, mark: Mark, channel: &str, events: usize) -> Result<()> {
    let topic = site.topic(channel);
    let mut next = watch.mark();
    for _ in 0..events {
        next = watch.find(next, &format!("{topic} goes on"), PATIENCE, |m| is_event(m, &topic)).await?.0;
    }
    let told = watch.since(mark).into_iter().find(|m| m["type"] == "status" && m["topic"] == topic.as_str());
    ensure!(told.is_none(), "{topic} was told: {told:?}");
    Ok(())
}

/// Every trade of `ids` comes exactly once.
async fn keeps(site: &Site, watch: &Watch, mark: Mark, ids: &[String]) -> Result<()> {
    let topic = site.topic("trades");
    for id in ids.iter().filter(|id| site.has_sent_trade(id)) {
        let is_it = |m: &Value| is_event(m, &topic) && m["trade_id"] == id.as_str();
        watch.find(mark, &format!("{topic} has {id}"), PATIENCE, is_it).await?;
    }
    quietly_goes_on(site, watch, mark, "trades", 3).await
}

/// Binance: a status names exactly these trades. Elsewhere nothing is told.
async fn loses(site: &Site, watch: &Watch, mark: Mark, ids: &[String]) -> Result<()> {
    if site.venue != Venue::Binance {
        return quietly_goes_on(site, watch, mark, "trades", 3).await;
    }
    let ids: Vec<u64> = ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let (first, last) = (ids.first().context("none")?, ids.last().context("none")?);
    let topic = site.topic("trades");
    let (_, status) = watch
        .find(mark, &format!("{topic} told lost"), TOLD, |m| {
            m["topic"] == topic.as_str() && m["lost"].is_object()
        })
        .await?;
    ensure!(status["lost"] == json!({"from": first, "to": last}), "{status} for {ids:?}");
    Ok(())
}

/// Puts every site through the table, all sites at once, then compares all that came with all that was sent.
async fn run_all(cases: &[Case]) -> Result<()> {
    let world = World::new(&SITES, &[]).await?;
    let runs = join_all(world.sites.iter().map(|site| run_site(&world, site, cases))).await;
    let mut wrong = Vec::new();
    for (run, site) in runs.into_iter().zip(&world.sites) {
        let found = run.unwrap_or_else(|error| vec![error]);
        wrong.extend(found.into_iter().map(|error| format!("{} {:?}: {error:#}", site.name(), site.market)));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Gives what is wrong with each case.
async fn run_site(world: &World, site: &Site, cases: &[Case]) -> Result<Vec<Error>> {
    let watch = world.feed(site).await?;
    for channel in CHANNELS {
        goes_on(&watch, 0, &site.topic(channel)).await?;
    }
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| case.concerns(site)) {
        let run = case.run(site, &watch).await;
        wrong.extend(run.err().map(|error| error.context(case.faults.join(" and "))));
    }
    wrong.extend(audit_trades(site, &watch).await.err().map(|error| error.context("trades")));
    wrong.extend(audit_book(site, &watch).await.err().map(|error| error.context("book")));
    Ok(wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_told_and_recovered_from_or_does_no_harm() -> Result<()> {
    tokio::try_join!(run_all(&CONNECTION_FAULTS), run_all(&FRAME_FAULTS))?;
    Ok(())
}
