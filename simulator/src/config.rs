//! What to simulate and how.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::fault::Fault;

/// A venue whose protocol can be simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Venue {
    /// Binance: spot streams, or USD-M futures with their `/public` and `/market` paths.
    Binance,
    /// OKX v5; spot and swaps behind one address.
    Okx,
    /// Bybit v5; `/v5/public/spot` or `/v5/public/linear`.
    Bybit,
}

/// Which of a venue's markets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Market {
    /// Coins against USDT.
    Spot,
    /// Linear perpetual contracts margined in USDT.
    Perpetual,
}

/// Where frames come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Feed {
    /// Replay of recorded frames, one `recv_ns frame` a line, gzipped if the name ends in `.gz`.
    Capture {
        /// The file.
        path: PathBuf,
        /// Pace relative to the recording; infinite for as fast as clients take it.
        speed: f64,
        /// Start over at the end, with times and ids shifted so that they keep rising.
        looped: bool,
    },
    /// A made-up market: BTC, ETH, SOL, XRP and DOGE against USDT.
    Seeded {
        /// Simulators with the same seed agree on prices, whatever their venue.
        seed: u64,
        /// Book changes and trades a second, over all instruments; about half are trades.
        rate: f64,
    },
}

/// Settings of one simulated venue. [`Config::new`] gives the venue's own limits; tests shorten them.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose protocol.
    pub venue: Venue,
    /// Which of its markets.
    pub market: Market,
    /// Where frames come from.
    pub feed: Feed,
    /// How long after the first subscription a capture begins. Default 500 ms.
    pub start_after: Duration,
    /// Address to listen on. Default a free port of loopback.
    pub bind: SocketAddr,
    /// Faults injected from the start.
    pub faults: Vec<Fault>,
    /// How often the server sends a ping frame; `None` for never.
    pub ping_every: Option<Duration>,
    /// A client that leaves a ping unanswered for so long is closed.
    pub pong_timeout: Duration,
    /// A connection on which nothing came or went for so long is closed; `None` for never.
    pub idle_timeout: Option<Duration>,
    /// Frames waiting for one client; one more and it is disconnected as too slow.
    pub queue: usize,
    /// How many of the last frames sent [`crate::Simulator::sent`] remembers. Default none.
    pub record: usize,
}

impl Config {
    /// The venue as it is, on a free port of loopback.
    #[must_use]
    pub fn new(venue: Venue, market: Market, feed: Feed) -> Self {
        let seconds = Duration::from_secs;
        let (ping_every, pong_timeout, idle_timeout) = match (venue, market) {
            // Binance spot WebSocket docs, read 2026-11: ping every 20 s, pong within 60 s.
            (Venue::Binance, Market::Spot) => (Some(seconds(20)), seconds(60), None),
            // Binance USD-M docs, read 2026-11: ping every 3 min, pong within 10 min.
            (Venue::Binance, Market::Perpetual) => (Some(seconds(180)), seconds(600), None),
            // OKX v5 docs, read 2026-11: closed after 30 s without traffic.
            (Venue::Okx, _) => (None, seconds(60), Some(seconds(30))),
            // Bybit v5 docs, read 2026-11: cut after 10 min without traffic.
            (Venue::Bybit, _) => (None, seconds(60), Some(seconds(600))),
        };
        Self {
            venue,
            market,
            feed,
            start_after: Duration::from_millis(500),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            faults: Vec::new(),
            ping_every,
            pong_timeout,
            idle_timeout,
            queue: 65_536,
            record: 0,
        }
    }

    /// A seeded market.
    #[must_use]
    pub fn seeded(venue: Venue, market: Market, seed: u64, rate: f64) -> Self {
        Self::new(venue, market, Feed::Seeded { seed, rate })
    }

    /// A capture replayed once.
    #[must_use]
    pub fn capture(venue: Venue, market: Market, path: impl Into<PathBuf>, speed: f64) -> Self {
        Self::new(venue, market, Feed::Capture { path: path.into(), speed, looped: false })
    }
}
