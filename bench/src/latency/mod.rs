//! Latency of a trade from the venue's socket to the client's: when the simulated venue sent it against when it came.

pub mod bond;
pub mod client;

use std::collections::HashMap;

/// What identifies a trade at one venue, in all spellings of its market: `("BTCUSDT", "42")`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TradeKey {
    market: String,
    id: String,
}

impl TradeKey {
    /// From any spelling of the market (`BTC/USDT`, `btcusdt`) and the venue's trade id.
    pub fn new(market: &str, id: &str) -> Self {
        let letters = market.chars().filter(char::is_ascii_alphanumeric);
        Self { market: letters.map(|letter| letter.to_ascii_uppercase()).collect(), id: id.to_owned() }
    }
}

/// How long trades took, and which did not arrive.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Journey {
    /// Nanoseconds from venue to client, ascending.
    pub latencies: Vec<u64>,
    /// Trades sent between the first and the last that arrived, but not received themselves.
    pub missing: usize,
}

/// Matches departures (in order, Unix nanoseconds) with arrivals. Trades sent before the client's first or after its
/// last one are left out: it was not subscribed yet, or had stopped reading.
pub fn match_up(departures: &[(TradeKey, u64)], arrivals: &HashMap<TradeKey, u64>) -> Journey {
    let arrived = |(key, _): &(TradeKey, u64)| arrivals.contains_key(key);
    let (Some(first), Some(last)) =
        (departures.iter().position(arrived), departures.iter().rposition(arrived))
    else {
        return Journey::default();
    };
    let watched = &departures[first..=last];
    let took = |(key, sent): &(TradeKey, u64)| Some(arrivals.get(key)?.saturating_sub(*sent));
    let mut latencies: Vec<u64> = watched.iter().filter_map(took).collect();
    latencies.sort_unstable();
    Journey { missing: watched.len() - latencies.len(), latencies }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_market_are_one() {
        assert_eq!(TradeKey::new("BTC/USDT", "7"), TradeKey::new("btcusdt", "7"));
    }

    #[test]
    fn a_trade_that_did_not_arrive_is_missing_only_while_the_client_listened() {
        let key = |id: u64| TradeKey::new("BTCUSDT", &id.to_string());
        let departures: Vec<_> = (0..5).map(|id| (key(id), id * 100)).collect();
        let arrivals = HashMap::from([(key(1), 150), (key(3), 310)]);
        let journey = match_up(&departures, &arrivals);
        assert_eq!(journey, Journey { latencies: vec![10, 50], missing: 1 });
    }
}
