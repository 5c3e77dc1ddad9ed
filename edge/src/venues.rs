//! Which markets `bond up` serves, and at which URLs: those of the real exchanges, of simulators in this process, or of the operator.

use std::time::Duration;

use bond_core::instrument::{MarketType, Venue};
use bond_ingest::engine::Market;
use bond_sim::Simulator;
use url::Url;

use crate::cli::{VenueArgs, Venues};
use crate::failure::{Exit, Failure};

/// The markets, and the simulators that must live as long as the markets are served.
pub struct Served {
    /// What ingest connects to.
    pub markets: Vec<Market>,
    /// Running simulators; dropping one stops it.
    pub simulators: Vec<Simulator>,
}

/// How long a server may take to say whether it is a simulator.
const ASK: Duration = Duration::from_secs(1);

/// The public market-data addresses, as the venues' API documentation gave them in November 2026: venue, market, WebSocket, REST.
const LIVE: [(Venue, MarketType, &str, &str); 6] = [
    (Venue::Binance, MarketType::Spot, "wss://stream.binance.com:9443", "https://api.binance.com"),
    (Venue::Binance, MarketType::Perpetual, "wss://fstream.binance.com", "https://fapi.binance.com"),
    (Venue::Okx, MarketType::Spot, "wss://ws.okx.com:8443", "https://www.okx.com"),
    (Venue::Okx, MarketType::Perpetual, "wss://ws.okx.com:8443", "https://www.okx.com"),
    (Venue::Bybit, MarketType::Spot, "wss://stream.bybit.com", "https://api.bybit.com"),
    (Venue::Bybit, MarketType::Perpetual, "wss://stream.bybit.com", "https://api.bybit.com"),
];

/// Finds the markets that the arguments name, and starts simulators if markets are to be simulated.
///
/// # Errors
/// Fails if a venue or URL is not understood, or a simulator cannot start.
pub async fn serve(venues: Venues, args: &VenueArgs) -> Result<Served, Failure> {
    if !args.venue_urls.is_empty() {
        let mut markets: Vec<Market> =
            args.venue_urls.iter().map(|url| named(url)).collect::<Result<_, _>>()?;
        for market in &mut markets {
            market.simulated = says_simulated(&market.rest_base).await;
        }
        return Ok(Served { markets, simulators: Vec::new() });
    }
    match venues {
        Venues::Live => {
            let markets = LIVE.iter().map(|(venue, kind, ws, rest)| market(*venue, *kind, ws, rest, false));
            Ok(Served { markets: markets.collect::<Result<_, _>>()?, simulators: Vec::new() })
        }
        Venues::Sim => simulated(args).await,
    }
}

async fn simulated(args: &VenueArgs) -> Result<Served, Failure> {
    let mut served = Served { markets: Vec::new(), simulators: Vec::new() };
    for (venue, kind, ..) in LIVE {
        let simulator = match venue {
            Venue::Binance => bond_sim::Venue::Binance,
            Venue::Okx => bond_sim::Venue::Okx,
            _ => bond_sim::Venue::Bybit,
        };
        let traded = match kind {
            MarketType::Spot => bond_sim::Market::Spot,
            MarketType::Perpetual => bond_sim::Market::Perpetual,
        };
        let config = bond_sim::Config::seeded(simulator, traded, args.sim_seed, args.sim_rate);
        let running = bond_sim::serve(config).await?;
        served.markets.push(at(venue, kind, &running.base_url(), true)?);
        served.simulators.push(running);
    }
    Ok(served)
}

/// Whether the server at `base` says that it is a simulator. If it does not answer, it counts as a real venue.
async fn says_simulated(base: &Url) -> bool {
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(ASK).build() else { return false };
    let answer = http.get(base.clone()).send().await;
    answer.is_ok_and(|answer| answer.headers().get("server").is_some_and(|server| server == "bond-sim"))
}

/// Reads `NAME=URL` or `NAME:MARKET=URL`.
fn named(argument: &str) -> Result<Market, Failure> {
    let wrong = |why: String| Failure::new(Exit::NotUnderstood, format!("--venue-url {argument}: {why}"));
    let (name, url) = argument
        .split_once('=')
        .ok_or_else(|| wrong("write NAME=URL, such as binance=http://127.0.0.1:9001".to_owned()))?;
    let (venue, kind) = name.split_once(':').unwrap_or((name, "spot"));
    let venue: Venue = venue.parse().map_err(|error| wrong(format!("{error}")))?;
    if !venue.is_served() {
        return Err(wrong(format!("{venue} is not served yet; there are {}", Venue::names(&Venue::SERVED))));
    }
    let kind = match kind {
        "spot" => MarketType::Spot,
        "perpetual" => MarketType::Perpetual,
        other => return Err(wrong(format!("no market {other}; there are spot and perpetual"))),
    };
    at(venue, kind, url, false)
}

/// A market whose WebSocket and REST have one base URL.
fn at(venue: Venue, kind: MarketType, url: &str, simulated: bool) -> Result<Market, Failure> {
    let base = url.trim_end_matches('/');
    let secure = base.starts_with("https://") || base.starts_with("wss://");
    let host = base.split_once("://").map_or(base, |(_, host)| host);
    let (ws, http) = if secure { ("wss", "https") } else { ("ws", "http") };
    market(venue, kind, &format!("{ws}://{host}"), &format!("{http}://{host}"), simulated)
}

fn market(venue: Venue, kind: MarketType, ws: &str, rest: &str, simulated: bool) -> Result<Market, Failure> {
    let url = |text: &str| {
        Url::parse(text)
            .map_err(|error| Failure::new(Exit::NotUnderstood, format!("not a URL: {text}: {error}")))
    };
    Ok(Market { venue, market: kind, ws_base: url(ws)?, rest_base: url(rest)?, simulated })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_url_gives_both_bases() {
        let market = named("binance:perpetual=http://127.0.0.1:9001/").expect("market");
        assert_eq!((market.venue, market.market), (Venue::Binance, MarketType::Perpetual));
        assert_eq!(market.ws_base.as_str(), "ws://127.0.0.1:9001/");
        assert_eq!(market.rest_base.as_str(), "http://127.0.0.1:9001/");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for argument in ["binance", "mtgox=http://x", "kraken=http://x", "okx:option=http://x", "okx=::"] {
            let failure = named(argument).expect_err(argument);
            assert_eq!(failure.exit, Exit::NotUnderstood, "{argument}");
        }
    }
}
