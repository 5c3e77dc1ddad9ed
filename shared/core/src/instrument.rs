//! Venues, markets and symbols, in the spellings people and venues use.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, format_smolstr};

mod asset;

pub use asset::{MAX_ASSET_BYTES, is_name_char};

/// A trading venue that Bond knows by name. Venues are ordered by name; this order decides between events of the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Venue {
    /// Binance, spot and USD-M futures.
    Binance,
    /// Bybit v5, spot and linear.
    Bybit,
    /// Coinbase; known by name, not served yet.
    Coinbase,
    /// Hyperliquid; known by name, not served yet.
    Hyperliquid,
    /// Kraken; known by name, not served yet.
    Kraken,
    /// OKX v5, spot and swaps.
    Okx,
}

impl Venue {
    /// Every venue known by name.
    pub const ALL: [Self; 6] =
        [Self::Binance, Self::Bybit, Self::Coinbase, Self::Hyperliquid, Self::Kraken, Self::Okx];

    /// The venues for which this build has a connector.
    pub const SERVED: [Self; 3] = [Self::Binance, Self::Bybit, Self::Okx];

    /// The name used in specs, topics and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Bybit => "bybit",
            Self::Coinbase => "coinbase",
            Self::Hyperliquid => "hyperliquid",
            Self::Kraken => "kraken",
            Self::Okx => "okx",
        }
    }

    /// Whether this build has a connector for it.
    pub fn is_served(self) -> bool {
        Self::SERVED.contains(&self)
    }

    /// The names of some venues, as a list in a text.
    pub fn names(venues: &[Self]) -> String {
        venues.iter().map(|venue| venue.name()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Venue {
    type Err = UnknownVenue;

    fn from_str(text: &str) -> Result<Self, UnknownVenue> {
        Self::ALL
            .into_iter()
            .find(|venue| venue.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownVenue(text.chars().take(32).collect()))
    }
}

/// A name that is no venue Bond knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown venue: {0}; known are {known}", known = Venue::names(&Venue::ALL))]
pub struct UnknownVenue(pub String);

/// The kind of market an instrument trades on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarketType {
    /// Immediate delivery.
    #[default]
    Spot,
    /// Perpetual swaps settled in the quote currency.
    Perpetual,
}

impl MarketType {
    /// The name used in specs and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::Perpetual => "perpetual",
        }
    }
}

impl fmt::Display for MarketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The quote currencies that are tried, longest first, if a symbol has no separator (`BTCUSDT`).
pub const QUOTES: [&str; 14] =
    ["FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDE", "USD", "EUR", "GBP", "JPY", "TRY", "BRL", "BTC", "ETH"];

/// The quote currency for an asset that is named without one.
pub const DEFAULT_QUOTE: &str = "USDT";

/// The most bytes of a symbol in its longest spelling: `BASE/QUOTE:QUOTE`.
pub const MAX_SYMBOL_BYTES: usize = 3 * MAX_ASSET_BYTES + 2;

/// What is traded against what, and on which kind of market: `BTC/USDT`, or `BTC/USDT:USDT` for a perpetual.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol {
    base: SmolStr,
    quote: SmolStr,
    market: MarketType,
}

impl Symbol {
    /// A symbol of `base` against `quote`.
    ///
    /// # Errors
    /// [`SymbolError`] where a name is empty, longer than [`MAX_ASSET_BYTES`], or not letters and digits of any script.
    pub fn new(base: &str, quote: &str, market: MarketType) -> Result<Self, SymbolError> {
        Ok(Self { base: currency(base)?, quote: currency(quote)?, market })
    }

    /// Parses any common spelling, in any script: `BTCUSDT`, `BTC-USDT`, `btc/usdt`, `BTC_USDT`, and for perpetuals
    /// `BTC/USDT:USDT`, `BTC-USDT-PERP`, `BTC-USDT-SWAP`.
    ///
    /// # Errors
    /// [`SymbolError`] where the text is none of these, or names a dated or inverse contract.
    pub fn parse(text: &str) -> Result<Self, SymbolError> {
        let malformed = || SymbolError(text.chars().take(40).collect());
        if text.len() > MAX_SYMBOL_BYTES {
            return Err(malformed());
        }
        let mut parts = text.split(['/', '-', '_', ':']);
        let (base, quote, tail) = (parts.next().unwrap_or(""), parts.next(), parts.next());
        if parts.next().is_some() {
            return Err(malformed());
        }
        let Some(quote) = quote else {
            let (base, quote) = split_quote(text).ok_or_else(malformed)?;
            return Self::new(base, quote, MarketType::Spot).map_err(|_| malformed());
        };
        let market = match tail {
            None => MarketType::Spot,
            Some(tail) if is_perpetual_tail(tail, quote) => MarketType::Perpetual,
            Some(_) => return Err(malformed()),
        };
        Self::new(base, quote, market).map_err(|_| malformed())
    }

    /// The currency that is bought and sold, upper case.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The currency it is paid in, upper case.
    pub fn quote(&self) -> &str {
        &self.quote
    }

    /// The kind of market.
    pub const fn market(&self) -> MarketType {
        self.market
    }

    /// The same pair on another kind of market.
    #[must_use]
    pub fn on(&self, market: MarketType) -> Self {
        Self { market, ..self.clone() }
    }

    /// The form used in topics: `BTC-USDT`, `BTC-USDT-PERP`.
    pub fn topic_form(&self) -> SmolStr {
        match self.market {
            MarketType::Spot => format_smolstr!("{}-{}", self.base, self.quote),
            MarketType::Perpetual => format_smolstr!("{}-{}-PERP", self.base, self.quote),
        }
    }
}

fn currency(text: &str) -> Result<SmolStr, SymbolError> {
    asset::name(text).ok_or_else(|| SymbolError(text.chars().take(40).collect()))
}

fn is_perpetual_tail(tail: &str, quote: &str) -> bool {
    ["PERP", "SWAP", quote].iter().any(|known| tail.eq_ignore_ascii_case(known))
}

fn split_quote(text: &str) -> Option<(&str, &str)> {
    QUOTES.into_iter().find_map(|quote| {
        let at = text.len().checked_sub(quote.len()).filter(|at| *at > 0 && text.is_char_boundary(*at))?;
        let (base, tail) = text.split_at(at);
        tail.eq_ignore_ascii_case(quote).then_some((base, tail))
    })
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.quote)?;
        match self.market {
            MarketType::Spot => Ok(()),
            MarketType::Perpetual => write!(f, ":{}", self.quote),
        }
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Symbol {
    type Err = SymbolError;

    fn from_str(text: &str) -> Result<Self, SymbolError> {
        Self::parse(text)
    }
}

/// A text that is no symbol in any known spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a symbol: {0}; write BTC/USDT, or BTC/USDT:USDT for a perpetual")]
pub struct SymbolError(pub String);

/// One symbol at one venue. Events share it by reference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instrument {
    /// Where it trades.
    pub venue: Venue,
    /// What trades.
    pub symbol: Symbol,
}

impl Instrument {
    /// `symbol` at `venue`, ready to be shared.
    pub fn shared(venue: Venue, symbol: Symbol) -> Arc<Self> {
        Arc::new(Self { venue, symbol })
    }
}

impl fmt::Display for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.venue, self.symbol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_spelling_is_one_symbol() {
        for text in ["BTCUSDT", "BTC-USDT", "btc/usdt", "btc_usdt", "BtcUsdt"] {
            assert_eq!(Symbol::parse(text).map(|s| s.to_string()), Ok("BTC/USDT".to_owned()), "{text}");
        }
        for text in ["BTC/USDT:USDT", "BTC-USDT-PERP", "btc-usdt-swap"] {
            assert_eq!(Symbol::parse(text).map(|s| s.to_string()), Ok("BTC/USDT:USDT".to_owned()), "{text}");
        }
        assert_eq!(Symbol::parse("1000PEPEUSDT").map(|s| s.to_string()), Ok("1000PEPE/USDT".to_owned()));
    }

    #[test]
    fn a_symbol_in_any_script_is_one_symbol_in_every_spelling() {
        for text in ["币安人生USDT", "币安人生-USDT", "币安人生/usdt", "币安人生_usdt"] {
            assert_eq!(Symbol::parse(text).map(|s| s.to_string()), Ok("币安人生/USDT".to_owned()), "{text}");
        }
        assert_eq!(Symbol::parse("这是测试币/456").map(|s| s.topic_form()), Ok("这是测试币-456".into()));
        let name = "A".repeat(MAX_ASSET_BYTES);
        let longest = Symbol::new(&name, &name, MarketType::Perpetual).expect("a symbol");
        assert_eq!(longest.to_string().len(), MAX_SYMBOL_BYTES);
        assert_eq!(Symbol::parse(&longest.to_string()), Ok(longest));
    }

    #[test]
    fn what_is_no_symbol_is_refused() {
        for text in [
            "",
            "BTC",
            "USDT",
            "BTC/",
            "/USDT",
            "BTC-USD-220527",
            "BTC/USDT:BTC",
            "BTC USDT",
            "🚀USDT",
            "BTC\u{202e}/USDT",
        ] {
            assert!(Symbol::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_venue_is_known_by_name() {
        assert_eq!("OKX".parse(), Ok(Venue::Okx));
        assert!("mtgox".parse::<Venue>().is_err());
    }
}
