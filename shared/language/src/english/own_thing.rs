//! An asset that is named as a thing of its own: "BTC + tweets" wants its prices too, "tweets about BTC" does not.

use std::collections::BTreeSet;

use super::lexicon::Watch;
use super::phrase::Item;
use super::sentence::Sentence;

/// Whether the assets from one phrase to another are joined to posts or liquidations as one more thing.
pub(super) fn is_one(sentence: &Sentence<'_>, first: usize, last: usize) -> bool {
    let after = is_joined(sentence, last + 1..sentence.phrases.len());
    // In "ETH tweets and BTC" the tweets are of another asset, and BTC has them too.
    let is_first = !sentence.phrases[..first].iter().any(|phrase| matches!(phrase.item, Item::Asset(_)));
    after || is_first && is_joined(sentence, (0..first).rev())
}

/// Adds prices to what is watched, unless market data of any kind are.
pub(super) fn watch(watches: &mut BTreeSet<Watch>) {
    if watches.iter().all(|watch| is_beside_market(*watch)) {
        watches.insert(Watch::Price);
    }
}

const fn is_beside_market(watch: Watch) -> bool {
    matches!(watch, Watch::Posts | Watch::Liquidations)
}

/// Whether a joint and then such a thing come next, in the order of the places, with nothing between but where and how: "BTC on okx + tweets".
fn is_joined(sentence: &Sentence<'_>, places: impl Iterator<Item = usize>) -> bool {
    let mut joined = false;
    for at in places {
        let phrase = &sentence.phrases[at];
        match &phrase.item {
            Item::Noise | Item::Figure { of_prices: false } => {}
            Item::And { .. } | Item::With => joined |= is_joint(sentence.words(phrase.span)),
            Item::Of if joined => {}
            Item::Market(_) | Item::Venue(_) | Item::At | Item::AllVenues | Item::Interval(_) | Item::Raw => {
                joined = false;
            }
            Item::Watch(watch) => return joined && !phrase.negated && is_beside_market(*watch),
            _ => return false,
        }
    }
    false
}

/// A comma or a slash joins nothing: "BTC, tweets, 5s" is a list of settings.
fn is_joint(words: &str) -> bool {
    let loose = [",", "/", "|", "or", "nor", "n", "only", "just"];
    !loose.iter().any(|word| words.eq_ignore_ascii_case(word))
}
