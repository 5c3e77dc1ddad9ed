//! Venues: one folder each. A venue's code knows what to send and what a frame means; it has neither socket nor clock.

mod binance;
mod bybit;
mod listing;
mod okx;
mod sink;
mod subscription_tracker;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{BookUpdate, Channel, MarketData, MarketEvent};
use bond_core::instrument::{Instrument, MarketType, Venue};
use bond_core::time::UnixNanos;
use smol_str::SmolStr;

pub use listing::{Listing, Listings};

/// One channel of one instrument that is to be received from a venue. The venue's code chooses which of the venue's channels serves it. An
/// order book is received at one depth, and cut to the wanted depths when it is published.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subscription {
    /// The instrument.
    pub instrument: Arc<Instrument>,
    /// The channel.
    pub channel: Channel,
}

/// A part of a channel that the venue sends as a stream of its own. It may fall silent while the rest goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// The whole channel.
    Whole,
    /// The best bid and ask of a ticker.
    Quote,
    /// The last price of a ticker.
    Last,
}

impl Part {
    /// Whether `data` shows that this part is alive.
    pub const fn is_in(self, data: &MarketData) -> bool {
        match (self, data) {
            (Self::Quote, MarketData::Ticker(ticker)) => ticker.is_quote(),
            (Self::Last, MarketData::Ticker(ticker)) => ticker.last.is_some(),
            _ => true,
        }
    }
}

/// One class of URL of a venue's market. Each route has its own connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Route {
    /// A short name for logs: `public`, `market`.
    pub name: &'static str,
    /// The path below the WebSocket base URL.
    pub path: &'static str,
}

/// The limits of a venue on its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most subscriptions on one connection.
    pub subscriptions: usize,
    /// The most subscriptions in one message.
    pub per_message: usize,
    /// The least time between two messages that we send on one connection.
    pub message_interval: Duration,
    /// The least time between two connection attempts.
    pub connect_interval: Duration,
    /// How long a connection may live before we replace it.
    pub lifetime: Duration,
}

/// The message by which we keep a connection alive. Ping frames of the venue are answered by the transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// How often to send.
    pub every: Duration,
    /// The text to send.
    pub text: &'static str,
}

/// The rule by which consecutive updates of an order book follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContinuityRule {
    /// A REST snapshot is joined to buffered deltas by their id ranges: `first_id <= last + 1 <= last_id`.
    Range,
    /// Like `Range` for the first delta after the snapshot; from then on `prev_id == last`.
    RangeThenPrevious,
    /// The snapshot comes on the socket. From then on `prev_id == last`, whatever the new id is.
    Previous,
    /// The snapshot comes on the socket. From then on `last_id == last + 1`.
    PlusOne,
}

/// The meaning of a frame, or of one item in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// An event of a known instrument.
    Event(MarketEvent),
    /// The venue accepted these subscriptions.
    Acknowledged(Vec<Subscription>),
    /// The venue refused subscriptions.
    Refused {
        /// The refused subscriptions; empty if the venue does not name them.
        subscriptions: Vec<Subscription>,
        /// The venue's code and text.
        reason: String,
    },
    /// The venue asks us to connect again soon.
    Reconnect {
        /// The venue's text.
        reason: String,
    },
    /// A sign of life without data: a pong.
    Alive,
    /// A print on the trades channel that is not a trade. It is counted separately.
    Print {
        /// The instrument.
        instrument: Arc<Instrument>,
        /// Why it is not a trade.
        kind: NoTrade,
        /// The trade number that the print uses, if the venue numbers trades.
        number: Option<u64>,
    },
    /// The venue refused a message with several subscriptions. They are to be requested again in smaller messages.
    AskApart {
        /// The messages to send, at the rate that the venue allows.
        texts: Vec<String>,
        /// The venue's code and text.
        reason: String,
    },
    /// The last data of this subscription still hold: the venue has sent the same best price again.
    Unchanged(Subscription, Part),
    /// A well-formed frame without anything that Bond uses, and why.
    Ignored(&'static str),
}

/// Why a print is not a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTrade {
    /// The price or the amount is not above zero.
    NotAboveZero,
    /// The print moves a position of an insurance fund.
    InsuranceFund,
    /// The print closes a position against another by auto-deleveraging.
    AutoDeleveraging,
    /// The venue marks the print as something else than a trade: Binance's field `X` is `NA`, or a word that Bond does not know.
    Unnamed,
}

impl NoTrade {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAboveZero => "not_above_zero",
            Self::InsuranceFund => "insurance_fund",
            Self::AutoDeleveraging => "adl",
            Self::Unnamed => "unnamed",
        }
    }
}

/// One page of a venue's list of instruments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListingsPage {
    /// The instruments that Bond serves.
    pub listings: Vec<Listing>,
    /// Entries that could not be read. They do not affect the others.
    pub unreadable: Vec<Reject>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<SmolStr>,
}

/// Why a frame, or an item in it, was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// The frame is not JSON, or does not have the documented shape.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A number that cannot be kept exactly.
    #[error("bad number in {field}: {error}")]
    Number {
        /// The venue's field.
        field: &'static str,
        /// What is wrong.
        error: bond_core::decimal::DecimalError,
    },
    /// A number that is not a time of this century in any unit. The event counts as one without a venue time.
    #[error("no time: {0}")]
    Time(SmolStr),
    /// An instrument that is neither a spot pair nor a linear perpetual: dated, inverse, or not listed.
    #[error("instrument not served: {0}")]
    Instrument(SmolStr),
    /// A perpetual whose contract size is not known, so that its amounts cannot be converted.
    #[error("contract size unknown: {0}")]
    ContractSize(SmolStr),
    /// An order book without the ids by which updates follow each other.
    #[error("no sequence: {0}")]
    NoSequence(SmolStr),
    /// A snapshot of an order book that does not name its instrument.
    #[error("no symbol: an order book that could be anybody's")]
    Unattributed,
}

/// The protocol of one connection to a market of `venue`; `None` if this build has no connector for it.
pub fn protocol(venue: Venue, market: MarketType, listings: Arc<Listings>) -> Option<Box<dyn Protocol>> {
    match venue {
        Venue::Binance => Some(Box::new(binance::Binance::new(market, listings))),
        Venue::Okx => Some(Box::new(okx::Okx::new(market, listings))),
        Venue::Bybit => Some(Box::new(bybit::Bybit::new(market, listings))),
        Venue::Coinbase | Venue::Hyperliquid | Venue::Kraken => None,
    }
}

/// Whether the ids of an instrument's trades increase by one, so that a jump means lost trades.
///
/// Binance: `t` of trades and `a` of aggregate trades do ("Aggregate tradeId", read 2026-11, and no gap in captures of 2024). OKX: the
/// id is that of the last of `count` fills. Bybit: ids are opaque.
pub const fn numbers_trades(venue: Venue) -> bool {
    matches!(venue, Venue::Binance)
}

/// The protocol of a venue's market: a pure state machine that encodes requests and decodes frames. One instance serves one connection.
pub trait Protocol: Send {
    /// The venue.
    fn venue(&self) -> Venue;

    /// The kind of market.
    fn market(&self) -> MarketType;

    /// The route that carries `channel`; `None` if the market does not have the channel.
    fn route(&self, channel: Channel) -> Option<Route>;

    /// The venue's limits.
    fn limits(&self) -> Limits;

    /// The message that keeps the venue from closing the connection because we are silent; `None` if none is needed.
    fn keepalive(&self) -> Option<Keepalive>;

    /// How long an instrument's channel may be silent before it counts as stale. Only data end a silence.
    fn silence_budget(&self, channel: Channel) -> Duration;

    /// The parts of `channel` that are watched separately.
    fn parts(&self, _channel: Channel) -> &'static [Part] {
        &[Part::Whole]
    }

    /// The messages that request these subscriptions. The venue acknowledges or refuses each, or stays silent. Subscriptions that are not
    /// listed, or have no route, are not requested. A subscription whose data another one receives already needs no message, and is
    /// acknowledged with the next frame.
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String>;

    /// The messages that end these subscriptions.
    fn unsubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String>;

    /// The messages that end these subscriptions at the venue and request them again, including what they share with others.
    fn resubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        let mut texts = self.unsubscribe(subscriptions);
        texts.extend(self.subscribe(subscriptions));
        texts
    }

    /// Decodes a text frame. If one item of a frame is rejected, the others are still decoded.
    fn decode(&mut self, frame: &str, received: UnixNanos, out: &mut Vec<Decoded>, rejects: &mut Vec<Reject>);

    /// The rule by which updates of order books follow each other.
    fn continuity(&self) -> ContinuityRule;

    /// The path and query, below the REST base URL, of a snapshot of the order book. `None`, the default, if snapshots come on the
    /// socket.
    fn snapshot_request(&self, _instrument: &Instrument) -> Option<String> {
        None
    }

    /// Decodes the answer to a request for a snapshot.
    ///
    /// # Errors
    /// [`Reject`] if the answer does not have the documented shape.
    fn decode_snapshot(&self, _instrument: &Instrument, _body: &[u8]) -> Result<BookUpdate, Reject> {
        Err(Reject::Malformed("snapshots come on the socket".to_owned()))
    }

    /// The path and query, below the REST base URL, of the market's list of instruments: the first page, or the one with the cursor `after`.
    fn listings_request(&self, after: Option<&str>) -> String;

    /// Decodes a page of the list. The instruments that Bond serves are the spot pairs and linear perpetuals that are being traded.
    ///
    /// # Errors
    /// [`Reject`] if the answer does not have the documented shape.
    fn decode_listings(&self, body: &[u8]) -> Result<ListingsPage, Reject>;
}
