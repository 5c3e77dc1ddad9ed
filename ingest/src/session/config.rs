//! What a market's session needs to know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bond_core::instrument::{MarketType, Venue};
use url::Url;

use super::outages::OutageLog;
use crate::venue::{self, Listings, Protocol};
use bond_core::backoff::BackoffPolicy;

/// Makes the protocol of one connection, which knows the instruments of the list it is given.
pub type ProtocolFactory = Arc<dyn Fn(Arc<Listings>) -> Box<dyn Protocol> + Send + Sync>;

/// One market of one venue.
#[derive(Clone)]
pub struct MarketConfig {
    /// What to say and how to understand; also names venue and market.
    pub protocol: ProtocolFactory,
    /// What a route's path is appended to: `wss://stream.binance.com:9443`.
    pub ws_base: Url,
    /// What a request's path is appended to: `https://api.binance.com`.
    pub rest_base: Url,
    /// How patient to be.
    pub timing: Timing,
    /// What is logged when the venue cannot be reached; its markets share one.
    pub outages: Arc<OutageLog>,
}

impl MarketConfig {
    /// A market of a venue that this build serves, with default patience; `None` for any other.
    pub fn new(venue: Venue, market: MarketType, ws_base: Url, rest_base: Url) -> Option<Self> {
        let make = move |listings| venue::protocol(venue, market, listings);
        make(Arc::default())?;
        let protocol: ProtocolFactory =
            Arc::new(move |listings| make(listings).expect("a venue that is served stays served"));
        Some(Self { protocol, ws_base, rest_base, timing: Timing::default(), outages: Arc::default() })
    }
}

impl fmt::Debug for MarketConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MarketConfig")
            .field("ws_base", &self.ws_base.as_str())
            .field("rest_base", &self.rest_base.as_str())
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// How patient to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Waits between attempts to connect, and to get the list of instruments.
    pub backoff: BackoffPolicy,
    /// How long a connection may take to open, TLS and handshake included.
    pub connect_timeout: Duration,
    /// How long a channel may be silent, in percent of the venue's own budget for it.
    pub silence_percent: u32,
    /// How long a connection may be silent, pings and pongs included, until it is dead. At half of it we ping.
    pub heartbeat: Duration,
    /// How long the venue may take to acknowledge a subscription or to send data for it.
    pub ack_timeout: Duration,
    /// After how long a refused subscription is asked for again.
    pub refused_retry: Duration,
    /// How long a connection that carries nothing is kept.
    pub linger: Duration,
    /// How long a REST answer may take.
    pub rest_timeout: Duration,
    /// The least time between two REST requests of the market in the long run. A snapshot of 5,000 levels takes 250 of the 6,000
    /// that Binance grants a minute ("REST API", read 2026-11): 3 s leave a sixth of it.
    pub rest_interval: Duration,
    /// How many REST requests may follow each other at once after a pause.
    pub rest_burst: u32,
    /// Waits between attempts to get an order book right; after `failed_after` of them in a row the connection is made anew.
    pub resync: BackoffPolicy,
    /// How often the list of instruments is read again.
    pub listings_refresh: Duration,
    /// The least time between readings of the list because an instrument is not on it.
    pub listings_retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            backoff: BackoffPolicy::default(),
            connect_timeout: Duration::from_secs(10),
            silence_percent: 100,
            heartbeat: Duration::from_secs(30),
            ack_timeout: Duration::from_secs(10),
            refused_retry: Duration::from_secs(300),
            linger: Duration::from_secs(10),
            rest_timeout: Duration::from_secs(15),
            rest_interval: Duration::from_secs(3),
            rest_burst: 3,
            resync: BackoffPolicy {
                first: Duration::from_secs(1),
                most: Duration::from_secs(60),
                failed_after: 6,
            },
            listings_refresh: Duration::from_secs(3600),
            listings_retry: Duration::from_secs(60),
        }
    }
}

/// A venue at the other end of the world has to have time to answer, however impatient an operator is.
const LEAST_WAIT: Duration = Duration::from_secs(2);

impl Timing {
    /// The same, where every wait for a sign of life is `percent` of what it was: of a channel, of a connection, of an answer. The last
    /// two are never less than 2 s.
    #[must_use]
    pub fn patient_by(self, percent: u32) -> Self {
        let part = |wait: Duration| wait.saturating_mul(percent) / 100;
        Self {
            silence_percent: self.silence_percent.saturating_mul(percent) / 100,
            heartbeat: part(self.heartbeat).max(LEAST_WAIT),
            ack_timeout: part(self.ack_timeout).max(LEAST_WAIT),
            refused_retry: part(self.refused_retry),
            ..self
        }
    }

    /// How long a channel may be silent whose venue grants it `budget`.
    pub(super) fn silence(&self, budget: Duration) -> Duration {
        budget.saturating_mul(self.silence_percent) / 100
    }
}
