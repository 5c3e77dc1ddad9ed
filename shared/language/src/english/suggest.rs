//! What a misspelt word may have been.

use bond_core::instrument::Venue;

use super::lexicon::{self, Watch};
use crate::assets;
use crate::spelling::nearest;

/// Sentences to begin with.
pub(super) const EXAMPLES: [&str; 4] = [
    "BTC price + tweets every 5s",
    "ETH trades and liquidations every 10 seconds",
    "BTC and ETH order book depth 50 on binance",
    "SOL perp price and funding every minute for 1 hour",
];

/// The asset's name that `word` is a misspelling of.
pub(super) fn asset(word: &str) -> Option<&'static str> {
    nearest(word, assets::names())
}

/// The venue that `word` is a misspelling of.
pub(super) fn venue(word: &str) -> Option<&'static str> {
    nearest(word, Venue::ALL.iter().map(|venue| venue.name()))
}

/// What to watch that `word` is a misspelling of, with the word that was meant.
pub(super) fn watch(word: &str) -> Option<(&'static str, Watch)> {
    let phrase = nearest(word, lexicon::watch_phrases().map(|(phrase, _)| phrase))?;
    lexicon::watch_phrases().find(|(known, _)| *known == phrase)
}

/// The thing to watch or the asset that `word` is a misspelling of.
pub(super) fn meant(word: &str) -> Option<&'static str> {
    watch(word).map(|(meant, _)| meant).or_else(|| asset(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_is_forgiven_and_short_words_are_not_guessed() {
        assert_eq!(asset("bitcon"), Some("bitcoin"));
        assert_eq!(venue("Binanse"), Some("binance"));
        assert_eq!(watch("liquidatons"), Some(("liquidations", Watch::Liquidations)));
        for word in ["world", "weather", "like", "btx", "lorem"] {
            assert_eq!((asset(word), venue(word)), (None, None), "{word}");
        }
    }
}
