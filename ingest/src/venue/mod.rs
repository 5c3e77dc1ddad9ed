//! Venues: one folder each that says what to send and what a frame means, without socket or clock.

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

/// One thing to receive from a venue. For order books the venue's file chooses the channel; depths are cut when published.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Subscription {
    /// What it is about.
    pub instrument: Arc<Instrument>,
    /// What is carried.
    pub channel: Channel,
}

/// What of a channel comes on a stream of its own, and so may fall silent while the rest goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// The best bid and ask of a ticker.
    Quote,
    /// The last price of a ticker.
    Last,
}

impl Part {
    /// Whether `data` is a sign of life of it.
    pub const fn is_in(self, data: &MarketData) -> bool {
        match (self, data) {
            (Self::Quote, MarketData::Ticker(ticker)) => ticker.is_quote(),
            (Self::Last, MarketData::Ticker(ticker)) => ticker.last.is_some(),
            _ => true,
        }
    }
}

/// One class of URL of a venue's market; each has its own connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Route {
    /// A short name for logs: `public`, `market`.
    pub name: &'static str,
    /// The path below the WebSocket base URL.
    pub path: &'static str,
}

/// What a venue allows on its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Subscriptions on one connection.
    pub subscriptions: usize,
    /// Subscriptions named in one message.
    pub per_message: usize,
    /// The least time between two messages of ours on one connection.
    pub message_interval: Duration,
    /// The least time between two connection attempts.
    pub connect_interval: Duration,
    /// How long a connection may live before we replace it ourselves.
    pub lifetime: Duration,
}

/// How a connection is kept alive from our side. Answering the venue's ping frames is the transport's business.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// How often to send.
    pub every: Duration,
    /// The text to send.
    pub text: &'static str,
}

/// What makes consecutive updates of an order book continuous.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContinuityRule {
    /// A REST snapshot joined to buffered deltas by id ranges: `first_id <= last + 1 <= last_id`.
    Range,
    /// As `Range` for the first delta after the snapshot, then `prev_id == last`.
    RangeThenPrevious,
    /// The snapshot comes on the socket; then `prev_id == last`, whatever the new id is.
    Previous,
    /// The snapshot comes on the socket; then `last_id == last + 1`.
    PlusOne,
}

/// A frame's meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Decoded {
    /// An event of a known instrument.
    Event(MarketEvent),
    /// The venue accepted these subscriptions.
    Acknowledged(Vec<Subscription>),
    /// The venue refused these subscriptions; which may be empty where it does not say.
    Refused {
        /// Which.
        subscriptions: Vec<Subscription>,
        /// The venue's code and words.
        reason: String,
    },
    /// The venue asks us to connect anew, soon.
    Reconnect {
        /// The venue's words.
        reason: String,
    },
    /// A sign of life without data: a pong.
    Alive,
    /// A print that is no trade, though it came as one: counted apart. `number` is what it takes of the trades' numbers.
    Print {
        /// Of which instrument.
        instrument: Arc<Instrument>,
        /// What it is.
        kind: NoTrade,
        /// Its number among the trades.
        number: Option<u64>,
    },
    /// The venue refused several things together: these messages ask for them apart.
    AskApart {
        /// To be sent at the venue's pace.
        texts: Vec<String>,
        /// The venue's code and words.
        reason: String,
    },
    /// What this subscription brought last holds still: a best price sent again.
    Unchanged(Subscription, Part),
    /// A well-formed frame that carries nothing we take, and why.
    Ignored(&'static str),
}

/// What a print is that is no trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTrade {
    /// Its price or its amount is not above zero.
    NotAboveZero,
    /// It moves an insurance fund's position.
    InsuranceFund,
    /// It closes a position against another by auto-deleveraging.
    AutoDeleveraging,
    /// The venue says that it is none: Binance's `X` is `NA`, or a word that Bond does not know.
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
    /// What Bond serves of it.
    pub listings: Vec<Listing>,
    /// Entries that cannot be read, each of which costs itself.
    pub unreadable: Vec<Reject>,
    /// What to ask the next page by; `None` on the last.
    pub next: Option<SmolStr>,
}

/// Why a frame, or an item in it, was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Not JSON, or not of the documented shape.
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
    /// A number that can be no time of this century, in whichever unit; what it came with counts without a venue's time.
    #[error("no time: {0}")]
    Time(SmolStr),
    /// An instrument that is no spot pair or linear perpetual: dated, inverse, or not listed.
    #[error("instrument not served: {0}")]
    Instrument(SmolStr),
    /// A perpetual whose contract size is not known, so that its amounts cannot be converted.
    #[error("contract size unknown: {0}")]
    ContractSize(SmolStr),
    /// A book without the sequence that proves it continuous.
    #[error("no sequence: {0}")]
    NoSequence(SmolStr),
    /// A snapshot of an order book that does not say whose it is.
    #[error("no symbol: an order book that could be anybody's")]
    Unattributed,
}

/// What `venue` says on its `market`, for one connection; `None` where this build has no connector.
pub fn protocol(venue: Venue, market: MarketType, listings: Arc<Listings>) -> Option<Box<dyn Protocol>> {
    match venue {
        Venue::Binance => Some(Box::new(binance::Binance::new(market, listings))),
        Venue::Okx => Some(Box::new(okx::Okx::new(market, listings))),
        Venue::Bybit => Some(Box::new(bybit::Bybit::new(market, listings))),
        Venue::Coinbase | Venue::Hyperliquid | Venue::Kraken => None,
    }
}

/// Whether the ids of an instrument's trades count up by one, so that a jump is a loss.
///
/// Binance: `t` of trades and `a` of aggregate trades do ("Aggregate tradeId", read 2026-11, and no gap in captures of 2024). OKX: the
/// id is that of the last of `count` fills. Bybit: ids are opaque.
pub const fn numbers_trades(venue: Venue) -> bool {
    matches!(venue, Venue::Binance)
}

/// A venue's market as one connection sees it: a pure state machine. One instance serves one connection.
pub trait Protocol: Send {
    /// The venue.
    fn venue(&self) -> Venue;

    /// Its market.
    fn market(&self) -> MarketType;

    /// The class of URL that carries `channel`; `None` where the venue's market lacks it.
    fn route(&self, channel: Channel) -> Option<Route>;

    /// What the venue allows.
    fn limits(&self) -> Limits;

    /// What to send so that the connection is not cut for silence of ours.
    fn keepalive(&self) -> Option<Keepalive>;

    /// How long an instrument's channel may be silent before it counts as stale; data alone ends a silence.
    fn silence_budget(&self, channel: Channel) -> Duration;

    /// What of `channel` has to be heard of by itself.
    fn parts(&self, _channel: Channel) -> &'static [Part] {
        &[Part::Whole]
    }

    /// The messages that ask for these subscriptions. Each becomes acknowledged, refused, or neither, where a venue stays silent.
    /// What is not listed, or has no route, is not asked for; what another subscription receives already needs no message, and is
    /// acknowledged with the next frame.
    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String>;

    /// The messages that end these subscriptions.
    fn unsubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String>;

    /// The messages that ask for these subscriptions once more, as they stand at the venue: also what they share with others.
    fn resubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        let mut texts = self.unsubscribe(subscriptions);
        texts.extend(self.subscribe(subscriptions));
        texts
    }

    /// What a text frame means. A rejected item does not hide the others of its frame.
    fn decode(&mut self, frame: &str, received: UnixNanos, out: &mut Vec<Decoded>, rejects: &mut Vec<Reject>);

    /// How updates of order books follow each other.
    fn continuity(&self) -> ContinuityRule;

    /// The path and query below the REST base URL that answers with a snapshot of the order book;
    /// `None` where snapshots come on the socket, as they do unless a venue says otherwise.
    fn snapshot_request(&self, _instrument: &Instrument) -> Option<String> {
        None
    }

    /// What a snapshot's answer means.
    ///
    /// # Errors
    /// [`Reject`] where the answer is not of the documented shape.
    fn decode_snapshot(&self, _instrument: &Instrument, _body: &[u8]) -> Result<BookUpdate, Reject> {
        Err(Reject::Malformed("snapshots come on the socket".to_owned()))
    }

    /// The path and query below the REST base URL that list the market's instruments: the first page, or the one that `after` names.
    fn listings_request(&self, after: Option<&str>) -> String;

    /// The instruments in such an answer that Bond serves: spot pairs and linear perpetuals that trade.
    ///
    /// # Errors
    /// [`Reject`] where the answer is not of the documented shape.
    fn decode_listings(&self, body: &[u8]) -> Result<ListingsPage, Reject>;
}
