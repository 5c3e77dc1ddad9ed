//! A sentence that works, made of what was understood of one that does not.

use bond_core::instrument::{MarketType, Venue};
use bond_core::spec::Interval;

use super::currency::Said;
use super::demand::watch_of;
use super::phrase::Item;
use super::sentence::Sentence;
use super::{Defaults, compile, suggest};
use crate::assets::{self, Reading};

/// The nearest sentence that is understood whole, without a warning: with all that is to be watched, else with the first of it.
pub(super) fn nearest_sentence(sentence: &Sentence<'_>) -> String {
    let all = watches(sentence);
    let first = all.first().cloned().unwrap_or_default();
    let candidates = [all.join(" + "), first].map(|watches| with_watches(sentence, watches));
    let is_whole =
        |text: &String| compile(text, &Defaults::default()).is_ok_and(|result| result.warnings.is_empty());
    candidates.into_iter().find(is_whole).unwrap_or_else(|| suggest::EXAMPLES[0].to_owned())
}

fn with_watches(sentence: &Sentence<'_>, watches: String) -> String {
    let parts = [assets(sentence), market(sentence), watches, venues(sentence), interval(sentence)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What `of` makes of the wanted phrases, each once, in order.
fn distinct(sentence: &Sentence<'_>, of: impl Fn(&Item) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    for phrase in sentence.phrases.iter().filter(|phrase| !phrase.negated) {
        found.extend(of(&phrase.item).filter(|part| !found.contains(part)));
    }
    found
}

fn assets(sentence: &Sentence<'_>) -> String {
    let named = distinct(sentence, |item| match item {
        Item::Asset(said) => Some(asset(said)),
        _ => None,
    });
    if named.is_empty() { "BTC".to_owned() } else { named.join(" and ") }
}

fn asset(said: &Said) -> String {
    match said {
        Said::Pair(symbol) => symbol.to_string(),
        Said::Bare(ticker) if assets::find(ticker).is_some_and(|known| known.reading == Reading::Signed) => {
            format!("${ticker}")
        }
        Said::Bare(ticker) => (*ticker).to_owned(),
    }
}

fn market(sentence: &Sentence<'_>) -> String {
    let perpetual = sentence.any(|item| *item == Item::Market(MarketType::Perpetual));
    if perpetual { "perp".to_owned() } else { String::new() }
}

fn watches(sentence: &Sentence<'_>) -> Vec<String> {
    let named = distinct(sentence, |item| match item {
        Item::Depth(Some(levels)) => Some(format!("depth {levels}")),
        item => watch_of(item).map(|watch| watch.name().to_owned()),
    });
    if named.is_empty() { vec!["price".to_owned()] } else { named }
}

fn venues(sentence: &Sentence<'_>) -> String {
    let named = distinct(sentence, |item| match item {
        Item::Venue(venue) => Some(Venue::name(*venue).to_owned()),
        _ => None,
    });
    if named.is_empty() { String::new() } else { format!("on {}", named.join(" and ")) }
}

fn interval(sentence: &Sentence<'_>) -> String {
    let named = distinct(sentence, |item| match item {
        Item::Interval(ms) => {
            Interval::from_exact_millis(*ms).ok().map(|interval| format!("every {interval}"))
        }
        Item::Raw => Some("tick by tick".to_owned()),
        _ => None,
    });
    named.first().map(|interval| interval.replace(" s", "s")).unwrap_or_default()
}
