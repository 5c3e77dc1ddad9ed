//! The configuration of a market's session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bond_core::instrument::{MarketType, Venue};
use url::Url;

use super::outages::OutageLog;
use crate::venue::{self, Listings, Protocol};
use bond_core::backoff::BackoffPolicy;

/// Makes the protocol of one connection, for the instruments of the given list.
pub type ProtocolFactory = Arc<dyn Fn(Arc<Listings>) -> Box<dyn Protocol> + Send + Sync>;

/// One market of one venue.
#[derive(Clone)]
pub struct MarketConfig {
    /// Makes the venue's protocol, which also names the venue and the market.
    pub protocol: ProtocolFactory,
    /// The base URL of WebSocket endpoints: `wss://stream.binance.com:9443`.
    pub ws_base: Url,
    /// The base URL of REST endpoints: `https://api.binance.com`.
    pub rest_base: Url,
    /// The timeouts and intervals.
    pub timing: Timing,
    /// Limits what is logged while the venue cannot be reached. The markets of a venue share one.
    pub outages: Arc<OutageLog>,
}

impl MarketConfig {
    /// A market of a venue that this build serves, with default timing; `None` for any other venue.
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

/// The timeouts and intervals of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Waits between attempts to connect, and to get the list of instruments.
    pub backoff: BackoffPolicy,
    /// How long a connection may take to open, TLS and handshake included.
    pub connect_timeout: Duration,
    /// How long a channel may be silent, in percent of the venue's own budget for it.
    pub silence_percent: u32,
    /// A connection counts as dead if nothing, not even a ping or pong, arrives for this long. After half of it we send a ping.
    pub heartbeat: Duration,
    /// How long the venue may take to acknowledge a subscription or to send data for it.
    pub ack_timeout: Duration,
    /// How long to wait before a refused subscription is tried again.
    pub refused_retry: Duration,
    /// How long a connection without subscriptions is kept open.
    pub linger: Duration,
    /// How long a REST answer may take.
    pub rest_timeout: Duration,
    /// The least time between two REST requests of the market in the long run. A snapshot of 5,000 levels takes 250 of the 6,000
    /// that Binance grants a minute ("REST API", read 2026-11): 3 s leave a sixth of it.
    pub rest_interval: Duration,
    /// How many REST requests may follow each other at once after a pause.
    pub rest_burst: u32,
    /// Waits between attempts to rebuild an order book. After `failed_after` failures in a row the connection is replaced.
    pub resync: BackoffPolicy,
    /// How often the list of instruments is read again.
    pub listings_refresh: Duration,
    /// The least time between two readings of the list that happen because an instrument is missing in it.
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

/// The lower limit of configurable waits. A distant venue needs time to answer, whatever an operator sets.
const LEAST_WAIT: Duration = Duration::from_secs(2);

impl Timing {
    /// The same timing with the waits for silent channels, silent connections and answers scaled to `percent`. The last two are never less
    /// than 2 s.
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

    /// How long a channel may be silent, given the venue's own budget for it.
    pub(super) fn silence(&self, budget: Duration) -> Duration {
        budget.saturating_mul(self.silence_percent) / 100
    }
}
