//! Topics: the names of logs.

mod published;

use std::fmt;
use std::str::FromStr;

use smol_str::{SmolStr, format_smolstr};

pub use self::published::{Family, OWN, PublishedTopic, SEGMENT_BYTES, is_own, is_segment};
use crate::event::Channel;
use crate::instrument::{Instrument, MarketType, Symbol, Venue};

/// The most levels per side in a published order book.
pub const MAX_DEPTH: u16 = 400;

/// Up to this depth books are published at every depth, beyond it only at its multiples. One instrument so has at most 57 views
/// (1 to 50, then 100, 150, … 400), whatever depths clients ask for.
const FINE_DEPTH: u16 = 50;

/// The depth if a client names none.
pub const DEFAULT_DEPTH: u16 = 20;

/// The published depth for `wanted` levels: the same number up to 50, beyond it the next multiple of 50, and [`MAX_DEPTH`] at most.
pub fn published_depth(wanted: u64) -> u16 {
    let depth = u16::try_from(wanted).unwrap_or(MAX_DEPTH).clamp(1, MAX_DEPTH);
    if depth <= FINE_DEPTH { depth } else { depth.next_multiple_of(FINE_DEPTH) }
}

/// The id of a stream: 16 hexadecimal characters, lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(SmolStr);

impl StreamId {
    /// Parses an id; `None` unless it is 16 lower-case hexadecimal characters.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.into()))
    }

    /// The id made of these eight bytes.
    pub fn from_bytes(digest: [u8; 8]) -> Self {
        Self(format_smolstr!("{:016x}", u64::from_be_bytes(digest)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// `streams.{stream_id}`: the events of a stream.
    Stream(StreamId),
    /// `trades.binance.BTC-USDT` and the like: one channel of one instrument.
    Market(MarketTopic),
    /// `raw.binance.BTC-USDT`: the venue's own frames about one instrument.
    Raw(Instrument),
    /// `prices.IN1234567890` and the like: what publishers send, and a state that it adds up to.
    Published(PublishedTopic),
}

/// One channel of one instrument.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MarketTopic {
    /// The channel.
    pub channel: Channel,
    /// The instrument.
    pub instrument: Instrument,
    /// Levels per side, as [`published_depth`] returns them; only for order books.
    pub depth: Option<u16>,
}

impl Topic {
    /// The topic of one channel of an instrument. An order book has [`DEFAULT_DEPTH`] if `depth` is `None`.
    pub fn market(channel: Channel, instrument: Instrument, depth: Option<u16>) -> Self {
        let depth = (channel == Channel::OrderBook).then(|| depth.unwrap_or(DEFAULT_DEPTH));
        Self::Market(MarketTopic { channel, instrument, depth })
    }

    /// The instrument that the topic is about; `None` for streams.
    pub const fn instrument(&self) -> Option<&Instrument> {
        match self {
            Self::Stream(_) | Self::Published(_) => None,
            Self::Market(topic) => Some(&topic.instrument),
            Self::Raw(instrument) => Some(instrument),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(id) => write!(f, "streams.{id}"),
            Self::Market(topic) => topic.fmt(f),
            Self::Raw(i) => write!(f, "raw.{}.{}", i.venue, i.symbol.topic_form()),
            Self::Published(topic) => topic.fmt(f),
        }
    }
}

impl fmt::Display for MarketTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Instrument { venue, symbol } = &self.instrument;
        write!(f, "{}.{venue}.{}", self.channel.name(), symbol.topic_form())?;
        match self.depth {
            Some(depth) => write!(f, ".{depth}"),
            None => Ok(()),
        }
    }
}

/// The text is not the name of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a topic: {0:.80}; topics look like streams.{{id}}, trades.binance.BTC-USDT, orderbook.okx.BTC-USDT.20, or prices.{{id}} for one of your own"
)]
pub struct TopicError(pub String);

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        parse(text).ok_or_else(|| TopicError(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<Topic> {
    let (family, rest) = text.split_once('.')?;
    match family {
        "streams" => StreamId::parse(rest).map(Topic::Stream),
        "raw" => parse_instrument(rest).map(Topic::Raw),
        _ => match Channel::from_name(family) {
            Some(channel) => parse_market(channel, rest),
            None => PublishedTopic::parse(text).map(Topic::Published),
        },
    }
}

fn parse_market(channel: Channel, rest: &str) -> Option<Topic> {
    if channel != Channel::OrderBook {
        return Some(Topic::market(channel, parse_instrument(rest)?, None));
    }
    let (instrument, depth) = match rest.rsplit_once('.') {
        Some((head, depth)) if head.contains('.') => (head, depth.parse().ok()?),
        _ => (rest, DEFAULT_DEPTH),
    };
    (published_depth(u64::from(depth)) == depth).then_some(())?;
    Some(Topic::market(channel, parse_instrument(instrument)?, Some(depth)))
}

fn parse_instrument(text: &str) -> Option<Instrument> {
    let (venue, symbol) = text.split_once('.')?;
    let (base, quote) = symbol.split_once('-')?;
    let (quote, market) = match quote.split_once('-') {
        Some((quote, "PERP")) => (quote, MarketType::Perpetual),
        Some(_) => return None,
        None => (quote, MarketType::Spot),
    };
    let symbol = Symbol::new(base, quote, market).ok()?;
    Some(Instrument { venue: venue.parse::<Venue>().ok()?, symbol })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_topics_are_one_to_one() {
        for name in [
            "streams.0123456789abcdef",
            "trades.binance.BTC-USDT",
            "ticker.okx.ETH-USDT-PERP",
            "orderbook.bybit.BTC-USDT.20",
            "orderbook.bybit.BTC-USDT.10",
            "orderbook.bybit.BTC-USDT.150",
            "raw.binance.BTC-USDT",
            "trades.binance.币安人生-USDT",
            "orderbook.binance.这是测试币-456.20",
            "prices.IN1234567890",
            "risk.u1.alerts",
        ] {
            assert_eq!(name.parse::<Topic>().map(|t| t.to_string()), Ok(name.to_owned()));
        }
        assert_eq!(
            "orderbook.okx.BTC-USDT".parse::<Topic>().map(|t| t.to_string()),
            Ok("orderbook.okx.BTC-USDT.20".into())
        );
        for name in [
            "",
            "streams.xyz",
            "trades.mtgox.BTC-USDT",
            "orderbook.okx.BTC-USDT.0",
            "orderbook.okx.BTC-USDT.51",
            "orderbook.okx.BTC-USDT.450",
            "raw.prices.X",
            "prices",
            "prices.",
            "prices.a b",
        ] {
            assert!(name.parse::<Topic>().is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_asked_for_up_to_fifty_levels_is_published_as_it_is() {
        assert!((1..=50).all(|wanted| u64::from(published_depth(wanted)) == wanted));
        assert_eq!(
            [0, 51, 100, 101, 400, 1000, u64::MAX].map(published_depth),
            [1, 100, 100, 150, 400, 400, 400]
        );
    }

    #[test]
    fn an_instrument_has_no_more_views_than_are_said() {
        let depths: std::collections::BTreeSet<u16> = (0..1000).map(published_depth).collect();
        assert_eq!((depths.len(), depths.last()), (57, Some(&MAX_DEPTH)));
    }
}
