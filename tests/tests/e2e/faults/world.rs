//! Simulated venues in this process, and a `bond` that knows no others.

use std::sync::Arc;

use anyhow::{Context, Result};
use bond_e2e::process::Bond;
use bond_sim::{Config, Entry, FaultId, Market, Simulator, Venue, serve};
use serde_json::json;
use tokio::time::timeout;

use super::watch::{PATIENCE, Watch};

/// Every venue and market that is served.
pub(super) const SITES: [(Venue, Market); 6] = [
    (Venue::Binance, Market::Spot),
    (Venue::Binance, Market::Perpetual),
    (Venue::Okx, Market::Spot),
    (Venue::Okx, Market::Perpetual),
    (Venue::Bybit, Market::Spot),
    (Venue::Bybit, Market::Perpetual),
];

/// The spot markets alone.
pub(super) const SPOT: [(Venue, Market); 3] =
    [(Venue::Binance, Market::Spot), (Venue::Okx, Market::Spot), (Venue::Bybit, Market::Spot)];

/// The channels that every site has.
pub(super) const CHANNELS: [&str; 3] = ["trades", "ticker", "orderbook"];

/// Fast enough that no channel of BTC is silent for long, slow enough for two cores.
const EVENTS_PER_SECOND: f64 = 40.0;

/// Frames that a simulator remembers: all of a test.
const RECORDED: usize = 400_000;

/// One market of one venue, simulated.
pub(super) struct Site {
    pub(super) venue: Venue,
    pub(super) market: Market,
    pub(super) simulator: Simulator,
}

/// A `bond` and the venues that it reaches.
pub(super) struct World {
    pub(super) bond: Bond,
    pub(super) sites: Vec<Arc<Site>>,
}

impl World {
    /// Starts the venues, then `bond` with these settings besides short waits between attempts.
    pub(super) async fn new(markets: &[(Venue, Market)], settings: &[(&str, &str)]) -> Result<Self> {
        let mut sites = Vec::new();
        for (venue, market) in markets {
            sites.push(Arc::new(Site::new(*venue, *market).await?));
        }
        let named: Vec<String> = sites.iter().map(|site| site.argument()).collect();
        let arguments: Vec<&str> = named.iter().flat_map(|site| ["--venue-url", site]).collect();
        let waits = [("BOND_BACKOFF_FIRST_MS", "50"), ("BOND_BACKOFF_MAX_MS", "400")];
        let bond = Bond::up(&arguments, &[&waits, settings].concat()).await?;
        Ok(Self { bond, sites })
    }

    /// A feed of everything about BTC at one site, with control on.
    pub(super) async fn feed(&self, site: &Site) -> Result<Watch> {
        let wish = json!({
            "type": "subscribe", "channels": CHANNELS, "symbols": [site.symbol()],
            "exchanges": [site.name()], "depth": 20,
        });
        Watch::open(&format!("{}/stream?control=true", self.bond.ws), Some(&wish)).await
    }

    /// A stream with control on, from its first moment.
    pub(super) async fn stream(&self, spec: serde_json::Value) -> Result<Watch> {
        let created = self.bond.stream_of(spec).await?;
        let url = created["ws_url"].as_str().context("no ws_url")?;
        Watch::open(&format!("{url}&control=true"), None).await
    }
}

impl Site {
    async fn new(venue: Venue, market: Market) -> Result<Self> {
        // Spot and swaps of OKX share the events of one simulator.
        let rate = EVENTS_PER_SECOND * if venue == Venue::Okx { 2.0 } else { 1.0 };
        let config = Config { record: RECORDED, ..Config::seeded(venue, market, 7, rate) };
        Ok(Self { venue, market, simulator: serve(config).await? })
    }

    fn argument(&self) -> String {
        let market = if self.market == Market::Spot { "spot" } else { "perpetual" };
        format!("{}:{market}={}", self.name(), self.simulator.base_url())
    }

    pub(super) fn name(&self) -> &'static str {
        match self.venue {
            Venue::Binance => "binance",
            Venue::Okx => "okx",
            Venue::Bybit => "bybit",
        }
    }

    pub(super) fn symbol(&self) -> &'static str {
        if self.market == Market::Spot { "BTC/USDT" } else { "BTC/USDT:USDT" }
    }

    /// The topic of one of [`CHANNELS`].
    pub(super) fn topic(&self, channel: &str) -> String {
        let market = if self.market == Market::Spot { "" } else { "-PERP" };
        let depth = if channel == "orderbook" { ".20" } else { "" };
        format!("{channel}.{}.BTC-USDT{market}{depth}", self.name())
    }

    /// The channels that come on the connection of the trades. Binance's futures have an address of their own for them.
    pub(super) const fn beside_trades(&self) -> &'static [&'static str] {
        match (self.venue, self.market) {
            (Venue::Binance, Market::Perpetual) => &["trades"],
            _ => &CHANNELS,
        }
    }

    /// The venue's own name of its trades of BTC.
    pub(super) fn trades_stream(&self) -> &'static str {
        match (self.venue, self.market) {
            (Venue::Binance, Market::Spot) => "btcusdt@trade",
            (Venue::Binance, Market::Perpetual) => "btcusdt@aggTrade",
            (Venue::Okx, Market::Spot) => "trades/BTC-USDT",
            (Venue::Okx, Market::Perpetual) => "trades/BTC-USDT-SWAP",
            (Venue::Bybit, _) => "publicTrade.BTCUSDT",
        }
    }

    /// Puts a fault in force.
    pub(super) fn inject(&self, fault: &str) -> Result<FaultId> {
        Ok(self.simulator.inject(fault.parse().with_context(|| format!("fault {fault}"))?))
    }

    /// Waits until a fault has taken effect so often, and gives the ids of the frames that it met.
    pub(super) async fn applied(&self, fault: FaultId, times: usize) -> Result<Vec<String>> {
        let entries = timeout(PATIENCE, self.simulator.journal().applied(fault, times)).await;
        let entries = entries.with_context(|| format!("fault {fault} at {} had no effect", self.name()))?;
        let id = |entry| if let Entry::Applied { id, .. } = entry { id } else { String::new() };
        Ok(entries.into_iter().map(id).collect())
    }
}
