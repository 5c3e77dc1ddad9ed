//! What a stream is made of.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::event::Channel;
use crate::instrument::{DEFAULT_QUOTE, MarketType, Symbol, Venue};

/// One source of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Source {
    /// Market data of exchanges.
    Market(MarketSource),
    /// Posts on a social network.
    Social(SocialSource),
    /// Forced closings of perpetual positions.
    Liquidations(LiquidationsSource),
    /// Any WebSocket that sends JSON.
    WebSocket(WebSocketSource),
}

/// Market data of one kind of market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketSource {
    /// The symbols, all of `market_type`.
    #[serde(serialize_with = "texts", deserialize_with = "read_texts")]
    pub symbols: BTreeSet<Symbol>,
    /// The venues that were named. Empty: none was, and the configured ones serve it when it runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exchanges: BTreeSet<Venue>,
    /// Any of trades, ticker, orderbook and funding; never empty.
    #[serde(serialize_with = "channel_names", deserialize_with = "read_channels")]
    pub channels: BTreeSet<Channel>,
    /// The kind of market.
    pub market_type: MarketType,
    /// Levels a side, as [`crate::topic::published_depth`] gives them; with the channel orderbook and only then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u16>,
}

/// Posts that mention assets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocialSource {
    /// Where they are posted.
    pub provider: Provider,
    /// Tickers of the assets, upper case.
    pub symbols: BTreeSet<SmolStr>,
}

/// A social network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// X, once Twitter.
    X,
}

/// Liquidations of the perpetuals of these pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiquidationsSource {
    /// The pairs, written as on the spot market; their perpetuals are meant.
    #[serde(serialize_with = "texts", deserialize_with = "read_texts")]
    pub symbols: BTreeSet<Symbol>,
    /// As in [`MarketSource::exchanges`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exchanges: BTreeSet<Venue>,
}

/// A WebSocket of the user's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocketSource {
    /// Its URL, `ws` or `wss`, as the WHATWG URL standard writes it.
    pub url: String,
    /// Where in a message its figures stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<FieldMap>,
}

/// JSON pointers (RFC 6901) into a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldMap {
    /// The figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The sender's time; it fills `ts_exchange` and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<String>,
}

impl Source {
    /// Its place among the kinds of source in a normalised spec.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Market(_) => 0,
            Self::Social(_) => 1,
            Self::Liquidations(_) => 2,
            Self::WebSocket(_) => 3,
        }
    }

    /// How many symbols it names.
    pub(super) fn symbol_count(&self) -> usize {
        match self {
            Self::Market(market) => market.symbols.len(),
            Self::Social(social) => social.symbols.len(),
            Self::Liquidations(liquidations) => liquidations.symbols.len(),
            Self::WebSocket(_) => 0,
        }
    }
}

/// The symbols of a stream: those of its market sources; of liquidations and posts only what these do not cover.
///
/// Liquidations of `BTC/USDT` belong to either market of that pair, a post to every symbol of its base.
pub(super) fn symbols_of(sources: &[Source]) -> BTreeSet<Symbol> {
    let mut symbols = BTreeSet::new();
    for source in sources {
        if let Source::Market(market) = source {
            symbols.extend(market.symbols.iter().cloned());
        }
    }
    for source in sources {
        if let Source::Liquidations(liquidations) = source {
            let missing = liquidations.symbols.iter().filter(|pair| !has_pair(&symbols, pair));
            symbols.extend(missing.cloned().collect::<Vec<_>>());
        }
    }
    for source in sources {
        if let Source::Social(social) = source {
            let missing = social.symbols.iter().filter(|base| !symbols.iter().any(|s| s.base() == *base));
            symbols.extend(missing.filter_map(default_pair).collect::<Vec<_>>());
        }
    }
    symbols
}

fn has_pair(symbols: &BTreeSet<Symbol>, pair: &Symbol) -> bool {
    [MarketType::Spot, MarketType::Perpetual].iter().any(|market| symbols.contains(&pair.on(*market)))
}

fn default_pair(base: &SmolStr) -> Option<Symbol> {
    Symbol::new(base, DEFAULT_QUOTE, MarketType::Spot).ok()
}

/// Writes a set as the list of its texts.
pub(super) fn texts<S: Serializer, T: Display>(set: &BTreeSet<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(set.iter().map(ToString::to_string))
}

fn channel_names<S: Serializer>(channels: &BTreeSet<Channel>, serializer: S) -> Result<S::Ok, S::Error> {
    let names: BTreeSet<&str> = channels.iter().map(|channel| channel.name()).collect();
    serializer.collect_seq(names)
}

/// Reads what [`texts`] writes.
pub(super) fn read_texts<'de, D, T>(deserializer: D) -> Result<BTreeSet<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display> + Ord,
{
    let texts = Vec::<SmolStr>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

fn read_channels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Channel>, D::Error> {
    let unknown = |name: &SmolStr| D::Error::custom(format!("unknown channel: {name}"));
    let names = Vec::<SmolStr>::deserialize(deserializer)?;
    names.iter().map(|name| Channel::from_name(name).ok_or_else(|| unknown(name))).collect()
}
