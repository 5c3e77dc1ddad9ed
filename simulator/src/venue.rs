//! The protocols: what a client may ask for, and how the venue answers.

pub(crate) mod binance;
pub(crate) mod bybit;
pub(crate) mod okx;

use std::collections::{BTreeSet, VecDeque};

use crate::clock::UnixNanos;
use crate::config::{Config, Venue};

/// An accepted WebSocket request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Opening {
    /// Binance USD-M: `public` or `market`.
    pub(crate) route: &'static str,
    /// Binance: data comes wrapped with the name of its stream.
    pub(crate) combined: bool,
    /// Streams named in the address.
    pub(crate) streams: Vec<String>,
}

/// What the venue knows of one connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) opening: Opening,
    pub(crate) streams: BTreeSet<String>,
    /// Times of recent messages or requests, for limits.
    pub(crate) recent: VecDeque<UnixNanos>,
}

impl Client {
    pub(crate) fn new(id: u64, opening: Opening) -> Self {
        Self { id, opening, streams: BTreeSet::new(), recent: VecDeque::new() }
    }

    /// Counts one more event; answers whether more than `limit` fell into the last `window` nanoseconds.
    pub(crate) fn exceeds(&mut self, limit: usize, window: u64, now: UnixNanos) -> bool {
        self.recent.retain(|at| now.saturating_sub(*at) < window);
        self.recent.push_back(now);
        self.recent.len() > limit
    }

    /// Identifier that OKX and Bybit give a connection.
    pub(crate) fn connection_id(&self) -> String {
        format!("b04d51{:010x}", self.id)
    }
}

/// What the venue does about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Answers.
    Reply(String),
    /// Answers with an error.
    Reject(String),
    /// Subscribes and acknowledges; `refusals` are the errors it would give instead, one for each stream that it may be for.
    Subscribe { streams: Vec<String>, ack: String, refusals: Vec<String> },
    /// Ends subscriptions and acknowledges.
    Unsubscribe { streams: Vec<String>, ack: String },
    /// Closes the connection.
    Close { code: u16, reason: &'static str },
}

/// A venue's WebSocket protocol.
pub(crate) trait Protocol: Send + Sync {
    /// Whether there is a WebSocket at this address; `None` is answered 404.
    fn open(&self, path: &str, query: &str) -> Option<Opening>;

    /// What the venue does about a text message. `lists` tells whether an instrument exists.
    fn receive(
        &self,
        client: &mut Client,
        text: &str,
        lists: &dyn Fn(&str) -> bool,
        now: UnixNanos,
    ) -> Vec<Output>;

    /// Whether a connection of this kind ever carries the stream.
    fn carries(&self, _opening: &Opening, _stream: &str) -> bool {
        true
    }

    /// Messages, pings included, that a client may send per second.
    fn inbound_per_second(&self) -> Option<usize> {
        None
    }

    /// The message by which the venue says that it will close the connection.
    fn notice(&self, client: &Client, now: UnixNanos) -> Option<String>;
}

pub(crate) fn protocol(config: &Config) -> Box<dyn Protocol> {
    match config.venue {
        Venue::Binance => Box::new(binance::Binance { market: config.market }),
        Venue::Okx => Box::new(okx::Okx),
        Venue::Bybit => Box::new(bybit::Bybit { market: config.market }),
    }
}
