//! `bond sim`: a simulated venue on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bond_sim::{Config, Fault, Feed, Venue};

use crate::cli::{Market, SimArgs};
use crate::failure::{Exit, Failure, Outcome};
use crate::{ready, signal};

/// Runs until it is told to stop.
///
/// # Errors
/// Where the arguments name nothing that can be simulated, or the port or capture cannot be had.
pub async fn run(args: &SimArgs) -> Outcome {
    let simulator = bond_sim::serve(config(args)?).await?;
    let (venue, market, url) = (&args.venue, name(args.market), simulator.base_url());
    let banner = format!(
        "{venue} {market} at {url}  (simulated)\nuse it with: bond up --venue-url {venue}:{market}={url}\n"
    );
    ready::announce(None, &banner)?;
    signal::stop_requested().await;
    simulator.shutdown();
    Ok(())
}

fn config(args: &SimArgs) -> Result<Config, Failure> {
    let feed = match &args.capture {
        Some(path) => Feed::Capture { path: path.clone(), speed: args.speed, looped: args.looped },
        None => Feed::Seeded { seed: args.seed, rate: args.rate },
    };
    let faults: Result<Vec<Fault>, _> = args.faults.iter().map(|fault| fault.parse::<Fault>()).collect();
    let faults = faults.map_err(|error| Failure::new(Exit::NotUnderstood, error))?;
    Ok(Config {
        start_after: Duration::from_millis(args.start_after),
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        faults,
        ..Config::new(venue(&args.venue)?, args.market.into(), feed)
    })
}

fn venue(name: &str) -> Result<Venue, Failure> {
    match name {
        "binance" => Ok(Venue::Binance),
        "okx" => Ok(Venue::Okx),
        "bybit" => Ok(Venue::Bybit),
        _ => Err(Failure::new(
            Exit::NotUnderstood,
            format!("no simulator of {name}; there are binance, okx, bybit"),
        )),
    }
}

const fn name(market: Market) -> &'static str {
    match market {
        Market::Spot => "spot",
        Market::Perpetual => "perpetual",
    }
}

impl From<Market> for bond_sim::Market {
    fn from(market: Market) -> Self {
        match market {
            Market::Spot => Self::Spot,
            Market::Perpetual => Self::Perpetual,
        }
    }
}
