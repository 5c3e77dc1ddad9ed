//! The built-in table of assets that a bare word may mean, and the currencies they are quoted in.
//!
//! A pair that is spelled out (`XYZ/USDT`) need not be here: it is checked against the venues' instrument lists when a
//! stream runs. Tickers as listed by Binance, OKX and Bybit in November 2026.

use std::collections::HashMap;
use std::sync::LazyLock;

use bond_core::instrument::{MarketType, QUOTES, Symbol};

mod table;

pub use table::ASSETS;

/// Quotes that are no asset of their own, so that `BTC USDT` can only be a pair.
const MONEY: [&str; 12] =
    ["FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDE", "USD", "EUR", "GBP", "JPY", "TRY", "BRL"];

/// Quotes that end no English word, so that an unknown word ending in one is a pair (`XYZUSDT`).
const UNMISTAKABLE: [&str; 5] = ["FDUSD", "USDT", "USDC", "TUSD", "BUSD"];

/// When a word of a sentence may be read as an asset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Always: the word means nothing else (`btc`, `solana`).
    Plain,
    /// It is an English word too: in capitals, or where a sentence has an asset (`link price`, `BTC, near and dot`).
    InPlace,
    /// In capitals only (`ETC`, since `etc` ends lists).
    Capitals,
    /// With a sign or in a pair only (`$NOT`, `NOT/USDT`): the word is too common even in capitals.
    Signed,
}

/// One row of the table.
#[derive(Debug)]
pub struct KnownAsset {
    /// The ticker, upper case.
    pub ticker: &'static str,
    /// When the ticker may be read as the asset.
    pub reading: Reading,
    /// Names, lower case, of one to three words, that mean nothing else.
    pub names: &'static [&'static str],
    /// Names that are English words too ([`Reading::InPlace`]).
    pub word_names: &'static [&'static str],
}

/// A word that is in the table, and when it may be read so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match {
    /// The ticker it means.
    pub ticker: &'static str,
    /// When it may be read as that.
    pub reading: Reading,
}

static INDEX: LazyLock<HashMap<String, Match>> = LazyLock::new(|| {
    let mut index = HashMap::new();
    for asset in ASSETS {
        let entry = |reading| Match { ticker: asset.ticker, reading };
        index.insert(asset.ticker.to_ascii_lowercase(), entry(asset.reading));
        index.extend(asset.names.iter().map(|name| ((*name).to_owned(), entry(Reading::Plain))));
        index.extend(asset.word_names.iter().map(|name| ((*name).to_owned(), entry(Reading::InPlace))));
    }
    index
});

/// Looks a ticker or name up, in any case; words of a name are separated by one space.
pub fn find(name: &str) -> Option<Match> {
    INDEX.get(name.to_ascii_lowercase().as_str()).copied()
}

/// Every ticker and name, lower case, in no order.
pub fn names() -> impl Iterator<Item = &'static str> {
    INDEX.keys().map(String::as_str)
}

/// The currency a quote is meant by, upper case: `usdt`, `tether`, `dollars`, `EUR`, `bitcoin`.
pub fn quote(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let ticker = match name.as_str() {
        "tether" => "USDT",
        "dollar" | "dollars" | "us dollar" | "us dollars" => "USD",
        "euro" | "euros" => "EUR",
        "pound" | "pounds" | "sterling" => "GBP",
        "yen" => "JPY",
        "lira" => "TRY",
        "bitcoin" | "bitcoins" | "xbt" => "BTC",
        "ether" | "ethereum" => "ETH",
        other => return QUOTES.into_iter().find(|quote| quote.eq_ignore_ascii_case(other)),
    };
    Some(ticker)
}

/// Whether a quote is no asset of its own.
pub fn is_money(quote: &str) -> bool {
    MONEY.contains(&quote)
}

/// The pair in a word without a separator: `BTCUSDT`, `ethbtc`, and `XYZUSDT` though `XYZ` is not in the table.
///
/// An unknown base is believed only before a quote that ends no English word: `amateur` is not `AMAT/EUR`, `WBTC` not `W/BTC`.
pub fn pair_in_word(word: &str) -> Option<Symbol> {
    QUOTES.into_iter().find_map(|quote| {
        let at = word.len().checked_sub(quote.len()).filter(|at| word.is_char_boundary(*at))?;
        let (base, tail) = word.split_at(at);
        let known = ASSETS.iter().any(|asset| asset.ticker.eq_ignore_ascii_case(base));
        let believed = known || (base.chars().nth(1).is_some() && UNMISTAKABLE.contains(&quote));
        let pair = tail.eq_ignore_ascii_case(quote) && believed;
        pair.then(|| Symbol::new(base, quote, MarketType::Spot).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_stands_for_two_assets() {
        let mut seen = HashSet::new();
        for asset in ASSETS {
            let ticker = asset.ticker.to_ascii_lowercase();
            let names = asset.names.iter().chain(asset.word_names).map(|name| (*name).to_owned());
            for name in names.chain([ticker]) {
                assert!(seen.insert(name.clone()), "{name} is listed twice");
                assert_eq!(name, name.to_ascii_lowercase());
            }
        }
        assert!(ASSETS.len() >= 60);
    }

    #[test]
    fn names_are_found_in_any_case() {
        assert_eq!(find("Bitcoin").map(|found| found.ticker), Some("BTC"));
        assert_eq!(find("SHIBA INU").map(|found| found.ticker), Some("SHIB"));
        assert_eq!(find("near").map(|found| found.reading), Some(Reading::InPlace));
        assert_eq!(find("foocoin"), None);
    }

    #[test]
    fn a_pair_in_one_word_is_not_seen_in_english() {
        for (word, pair) in [
            ("ethusdt", "ETH/USDT"),
            ("SOLBTC", "SOL/BTC"),
            ("xyzusdt", "XYZ/USDT"),
            ("币安人生usdt", "币安人生/USDT"),
        ] {
            assert_eq!(pair_in_word(word).map(|symbol| symbol.to_string()).as_deref(), Some(pair));
        }
        for word in ["amateur", "Elizabeth", "WBTC", "usdt", "日usdt", "", "entrepreneur"] {
            assert_eq!(pair_in_word(word), None, "{word}");
        }
    }
}
