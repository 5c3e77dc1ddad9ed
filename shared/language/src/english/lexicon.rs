//! The words that the grammar knows, besides assets, venues, numbers and units.

use std::collections::HashMap;
use std::sync::LazyLock;

use bond_core::instrument::MarketType;

use super::filler;

/// Something to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Watch {
    Price,
    Trades,
    Ticker,
    Book,
    Funding,
    OpenInterest,
    Liquidations,
    Posts,
    Everything,
}

impl Watch {
    /// What a user would call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Trades => "trades",
            Self::Ticker => "ticker",
            Self::Book => "order book",
            Self::Funding => "funding",
            Self::OpenInterest => "open interest",
            Self::Liquidations => "liquidations",
            Self::Posts => "tweets",
            Self::Everything => "everything",
        }
    }
}

/// What a word or phrase is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Something to watch.
    Watch(Watch),
    /// One event of something to watch: after "every" it asks for each of them.
    Single(Watch),
    /// An event of any kind; means something after "every" only.
    Event,
    /// A change of something: an event after "every", else a figure that is not served.
    Change,
    /// Full: before an order book, the widest.
    Full,
    /// A figure of the aggregate that is made of prices.
    PriceFigure,
    /// Any other figure of the aggregate.
    Figure,
    /// A kind of market.
    Market(MarketType),
    /// All venues.
    AllVenues,
    /// No windows.
    Raw,
    /// Windows; means something when negated only.
    Windows,
    /// Takes away what follows.
    Negator,
    /// Takes away what follows, after "everything" and "all venues".
    But,
    /// Gives again after a negation.
    With,
    /// Joins.
    And,
    /// Joins, and gives again after a negation.
    Plus,
    /// What follows is watched (of, for, about).
    Of,
    /// A venue follows.
    At,
    /// A quote may follow.
    In,
    /// A quote follows.
    QuotedIn,
    /// The other half of a pair may follow.
    Against,
    /// Every, without a time after it.
    Every,
    /// All: with "data" further on, everything.
    All,
    /// Data: after "all", everything.
    Data,
    /// Known, but not served.
    Unsupported,
    /// A figure that would have to be worked out, or a choice that would have to be made, and is not.
    Measure,
    /// Has no meaning for a stream.
    Noise,
    /// Says what a stream is for, or the like: not used, and that is said.
    Filler,
}

use Term::{
    Against, All, AllVenues, And, At, But, Change, Data, Event, Every, Figure, Filler, Full, In, Market,
    Measure, Negator, Noise, Of, Plus, PriceFigure, QuotedIn, Raw, Single, Unsupported, Windows, With,
};

/// The phrases of each term, in lower case, of one to [`LONGEST`] words. A hyphen within is a blank here.
#[rustfmt::skip]
const PHRASES: &[(Term, &[&str])] = &[
    (Term::Watch(Watch::Price), &[
        "price", "prices", "pricing", "cost", "value", "worth", "rate", "rates", "market data", "market price",
        "market prices", "price action", "price feed", "price data", "exchange rate", "how much",
    ]),
    (Term::Watch(Watch::Trades), &[
        "trades", "transactions", "fills", "executions", "prints", "volume", "volumes", "turnover", "order flow",
        "trade flow", "trading volume", "trade volume", "trade data", "time and sales",
    ]),
    (Single(Watch::Trades), &["trade", "transaction", "fill", "execution", "single trade"]),
    (Term::Watch(Watch::Ticker), &[
        "ticker", "tickers", "bid", "bids", "ask", "asks", "best bid", "best ask", "best bids", "best asks", "spread",
        "spreads", "quotes", "bbo", "top of book", "top of the book", "top of order book", "top of the order book", "best quote",
        "best quotes", "best offer", "best offers", "mid", "mid price", "midprice", "l1", "level 1",
        "best bid offer", "offer", "offers", "bid ask spread",
    ]),
    (Single(Watch::Ticker), &["quote"]),
    (Term::Watch(Watch::Book), &[
        "order book", "orderbook", "order books", "orderbooks", "book", "books", "l2", "level 2", "depth", "dom",
        "depth of market", "limit order book", "lob",
    ]),
    (Full, &["full", "entire", "whole", "complete", "deepest", "widest"]),
    (Term::Watch(Watch::Funding), &[
        "funding", "funding rate", "funding rates", "fundings", "mark price", "index price", "mark prices",
        "index prices",
    ]),
    (Term::Watch(Watch::OpenInterest), &["open interest", "oi"]),
    (Term::Watch(Watch::Liquidations), &["liquidations", "liqs", "liq", "forced closings", "liquidation data"]),
    (Single(Watch::Liquidations), &["liquidation"]),
    (Term::Watch(Watch::Posts), &[
        "tweets", "twitter", "mentions", "sentiment", "social", "socials", "social media", "social sentiment", "posts",
        "x posts", "x mentions", "on x", "from x", "via x", "x feed", "x data", "buzz", "chatter", "x.com",
        "tweeting", "tweeted", "posting", "people are saying", "are people saying", "people say", "people saying", "people think",
        "people are thinking", "social volume", "social mentions", "social posts", "social feed", "social data", "twitter sentiment", "twitter mentions", "twitter volume", "tweet count", "tweet volume", "tweet sentiment",
    ]),
    (Single(Watch::Posts), &["tweet", "post", "mention", "x post"]),
    (Term::Watch(Watch::Everything), &[
        "everything", "all data", "all channels", "all the data", "all available data", "the lot", "all of it",
        "everything there is", "all market data",
    ]),
    (Event, &["update", "tick", "event", "message"]),
    (Change, &["change", "move"]),
    (PriceFigure, &[
        "vwap", "volume weighted average price", "volume weighted average", "volume weighted price", "ohlc", "ohlcv", "candle", "candles", "candlestick", "candlesticks", "bar", "bars", "kline", "klines",
        "high", "highs", "low", "lows", "open", "close", "closing", "opening", "last", "last price",
    ]),
    (Figure, &[
        "average", "averages", "averaged", "avg", "mean", "count", "counts", "number", "sum", "sums", "total", "min", "max",
        "minimum", "maximum", "aggregate", "aggregated", "aggregates", "resampled",
    ]),
    (Market(MarketType::Spot), &["spot", "spot market", "spot markets", "cash market"]),
    (Market(MarketType::Perpetual), &[
        "perp", "perps", "perpetual", "perpetuals", "future", "futures", "swap", "swaps", "perpetual swap",
        "perpetual swaps", "perpetual future", "perpetual futures", "perp futures", "usdt m", "linear", "derivatives",
        "perpetual contract", "perpetual contracts",
    ]),
    (AllVenues, &[
        "all exchanges", "all venues", "every exchange", "every venue", "any exchange", "any venue", "each exchange",
        "each venue", "everywhere", "anywhere", "all the exchanges", "all markets", "all the venues",
    ]),
    (Raw, &[
        "tick by tick", "raw", "unaggregated", "as it happens", "as they happen", "as it comes", "as they come",
        "every time it changes", "each time it changes", "whenever it changes", "as it changes", "tick data", "ticks", "event by event", "trade by trade", "no windows", "windowless",
    ]),
    (Windows, &["aggregation", "aggregating", "windows", "windowing", "resampling", "batching"]),
    (Negator, &[
        "without", "no", "not", "except", "except for", "excluding", "exclude", "excludes", "excl", "minus", "skip",
        "omit", "omitting", "ignore", "ignoring", "drop", "don't", "dont", "do not", "other than", "apart from",
        "with no", "but not", "but no", "but without", "anything but", "rather than", "instead of", "neither", "never", "less", "leave out", "leaving out",
    ]),
    (But, &["but"]),
    (With, &["with", "along with", "together with", "combined with", "including", "include", "only", "just", "incl", "but with", "but also", "but include"]),
    (And, &["and", "or", "nor", "n", "and also"]),
    (Plus, &["plus", "as well as"]),
    (Of, &["of", "for", "about", "regarding", "concerning", "around", "mentioning", "in the price of"]),
    (At, &["on", "from", "at", "via", "using", "through"]),
    (In, &["in", "in the"]),
    (QuotedIn, &["priced in", "quoted in", "denominated in", "valued in", "expressed in", "measured in"]),
    (Against, &["against", "vs", "versus", "to"]),
    (Every, &["every", "each", "per"]),
    (Unsupported, &[
        "news", "headlines", "on chain", "onchain", "on chain activity", "onchain activity", "on chain data",
        "onchain data", "whale", "whales", "whale alerts", "wallet", "wallets", "gas fees", "gas price", "gas prices",
        "options", "greeks", "implied volatility", "reddit", "telegram", "discord", "google trends", "polymarket",
        "market cap", "marketcap", "dominance", "all time high", "all time low", "ath", "fear and greed", "fear and greed index", "tvl", "hash rate", "hashrate",
        "dated futures", "quarterly futures", "l3", "level 3", "stocks", "forex",
    ]),
    (All, &["all"]),
    (Data, &["data"]),
    (Measure, filler::MEASURES),
    (Noise, filler::SILENT),
    (Filler, filler::TOLD),
];

/// Words in the longest phrase.
pub(super) const LONGEST: usize = 5;

static INDEX: LazyLock<HashMap<&'static str, Term>> = LazyLock::new(|| {
    PHRASES.iter().flat_map(|(term, phrases)| phrases.iter().map(|phrase| (*phrase, *term))).collect()
});

/// What a phrase in lower case is for.
pub(super) fn term(phrase: &str) -> Option<Term> {
    INDEX.get(phrase).copied()
}

/// Every phrase that names something to watch.
pub(super) fn watch_phrases() -> impl Iterator<Item = (&'static str, Watch)> {
    PHRASES
        .iter()
        .filter_map(|(term, phrases)| match term {
            Term::Watch(watch) | Single(watch) => Some((*phrases, *watch)),
            _ => None,
        })
        .flat_map(|(phrases, watch)| phrases.iter().map(move |phrase| (*phrase, watch)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets;

    #[test]
    fn no_phrase_has_two_terms() {
        let listed = PHRASES.iter().map(|(_, phrases)| phrases.len()).sum::<usize>();
        let mut all: Vec<&str> = PHRASES.iter().flat_map(|(_, phrases)| phrases.iter().copied()).collect();
        all.sort_unstable();
        all.dedup_by(|a, b| {
            assert_ne!(a, b, "listed twice");
            false
        });
        assert_eq!(INDEX.len(), listed);
    }

    #[test]
    fn phrases_are_lower_case_and_no_longer_than_looked_for() {
        for (_, phrases) in PHRASES {
            for phrase in *phrases {
                assert_eq!(*phrase, phrase.to_lowercase());
                assert!(phrase.split(' ').count() <= LONGEST, "{phrase}");
            }
        }
    }

    #[test]
    fn no_plain_name_of_an_asset_is_a_phrase_too() {
        for (_, phrases) in PHRASES {
            for phrase in *phrases {
                let plain = assets::find(phrase).is_some_and(|found| found.reading == assets::Reading::Plain);
                assert!(!plain, "{phrase}");
            }
        }
    }
}
