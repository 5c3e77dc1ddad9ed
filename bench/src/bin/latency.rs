//! Latency from a simulated venue's trade frame to the client's, at a steady rate: straight from the simulator, which is
//! the harness's own floor, and through Bond.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use bond_bench::latency::bond::{self, Bond};
use bond_bench::latency::client::{self, TradeFields};
use bond_bench::latency::{Journey, TradeKey, match_up};
use bond_bench::stats::quantile;
use bond_bench::table::{Table, millis};
use bond_bench::upgrade::Endpoint;
use bond_sim::{Config, Market, Simulator, Venue};
use clap::Parser;

/// What the simulator's seeded markets trade, all against USDT.
const COINS: [&str; 5] = ["BTC", "ETH", "SOL", "XRP", "DOGE"];

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
    /// The `bond` command.
    #[arg(long, default_value = "../target/release/bond")]
    bond: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut table = Table::new(&["path", "trades/s", "p50", "p99", "max", "missing"]);
    table.row(cells("simulator to client", &directly(&arguments).await?, arguments.seconds));
    if arguments.bond.exists() {
        table.row(cells("simulator to bond to client", &through_bond(&arguments).await?, arguments.seconds));
    }
    table.print(&format!("latency of a trade at {} trades/s", arguments.rate));
    if !arguments.bond.exists() {
        println!("\nbond: not measured, {} was not built", arguments.bond.display());
    }
    Ok(())
}

async fn simulator(arguments: &Arguments) -> Result<Simulator> {
    let mut config = Config::seeded(Venue::Binance, Market::Spot, SEED, arguments.rate * EVENTS_PER_TRADE);
    config.record = (arguments.rate * 2.0) as usize * (arguments.seconds as usize + 10);
    bond_sim::serve(config).await
}

async fn directly(arguments: &Arguments) -> Result<Journey> {
    let simulator = simulator(arguments).await?;
    let streams = COINS.map(|coin| format!("{}usdt@trade", coin.to_lowercase())).join("/");
    let endpoint = Endpoint {
        address: simulator.addr(),
        path: format!("/stream?streams={streams}"),
        offers_deflate: false,
    };
    watch(&simulator, endpoint, None, BINANCE_FIELDS, arguments.seconds).await
}

async fn through_bond(arguments: &Arguments) -> Result<Journey> {
    let simulator = simulator(arguments).await?;
    let (program, url) = (arguments.bond.clone(), simulator.base_url());
    let bond = tokio::task::spawn_blocking(move || Bond::start(&program, &url)).await??;
    let hello = bond::subscription(&COINS.map(|coin| format!("{coin}/USDT")));
    watch(&simulator, bond.feed(), Some(hello), bond::FIELDS, arguments.seconds).await
}

async fn watch(
    simulator: &Simulator,
    endpoint: Endpoint,
    hello: Option<String>,
    fields: TradeFields,
    seconds: u64,
) -> Result<Journey> {
    let duration = Duration::from_secs(seconds);
    let client = move || client::watch(&endpoint, hello.as_deref(), fields, duration);
    let arrivals = tokio::task::spawn_blocking(client).await??;
    Ok(journey(simulator, &arrivals))
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
