//! Latency from a simulated venue's trade frame to the client's, at a steady rate: straight from the simulator, which is
//! the harness's own floor, and through Bond.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use bond_bench::latency::client::{self, TradeFields};
use bond_bench::latency::{Journey, TradeKey, match_up};
use bond_bench::stats::quantile;
use bond_bench::table::{Table, millis};
use bond_bench::upgrade::Endpoint;
use bond_sim::{Config, Market, Simulator, Venue};
use clap::Parser;

/// Markets of the simulator's seeded feed.
const MARKETS: [&str; 5] = ["btcusdt", "ethusdt", "solusdt", "xrpusdt", "dogeusdt"];

const SEED: u64 = 1;

/// About half of what happens in a seeded market are trades.
const EVENTS_PER_TRADE: f64 = 2.0;

const BINANCE_FIELDS: TradeFields = TradeFields { market: "\"s\":\"", id: "\"t\":" };

#[derive(Parser)]
struct Arguments {
    /// Trades per second, over all markets.
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Length of the measurement in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut table = Table::new(&["path", "trades/s", "p50", "p99", "max", "missing"]);
    table.row(cells("simulator to client", &directly(&arguments).await?, arguments.seconds));
    table.print(&format!("latency of a trade at {} trades/s", arguments.rate));
    println!("\nbond: not measured");
    Ok(())
}

async fn simulator(arguments: &Arguments) -> Result<Simulator> {
    let mut config = Config::seeded(Venue::Binance, Market::Spot, SEED, arguments.rate * EVENTS_PER_TRADE);
    config.record = (arguments.rate * 2.0) as usize * (arguments.seconds as usize + 10);
    bond_sim::serve(config).await
}

async fn directly(arguments: &Arguments) -> Result<Journey> {
    let simulator = simulator(arguments).await?;
    let streams = MARKETS.map(|market| format!("{market}@trade")).join("/");
    let endpoint = Endpoint { address: simulator.addr(), path: format!("/stream?streams={streams}") };
    let duration = Duration::from_secs(arguments.seconds);
    let watch = move || client::watch(&endpoint, None, BINANCE_FIELDS, duration);
    let arrivals = tokio::task::spawn_blocking(watch).await??;
    Ok(journey(&simulator, &arrivals))
}

fn journey(simulator: &Simulator, arrivals: &HashMap<TradeKey, u64>) -> Journey {
    let sent = simulator.sent();
    let trades = sent.iter().filter_map(|frame| {
        let market = frame.stream.strip_suffix("@trade")?;
        Some((TradeKey::new(market, &frame.id), frame.at))
    });
    match_up(&trades.collect::<Vec<_>>(), arrivals)
}

fn cells(path: &str, journey: &Journey, seconds: u64) -> Vec<String> {
    let at = |share| quantile(&journey.latencies, share).map_or("-".to_owned(), millis);
    let rate = journey.latencies.len() as f64 / seconds as f64;
    vec![path.to_owned(), format!("{rate:.0}"), at(0.5), at(0.99), at(1.0), journey.missing.to_string()]
}
