//! What is left over of a sentence when all that is understood has been taken.
//!
//! A word that nobody knows may be what matters: "BTC order book imbalance" without its last word is another wish. So what is neither
//! understood nor on the closed list of words that change nothing is an error, with the nearest sentence that works.

use super::demand;
use super::error::{LanguageCode, LanguageError};
use super::nearest::nearest_sentence;
use super::phrase::Item;
use super::sentence::{Sentence, is_asset, is_watch};
use super::suggest;
use super::token::Span;

/// Refuses a sentence with leftovers, if anything else of it is understood; if nothing is, that will be said.
pub(super) fn refuse_leftovers(sentence: &Sentence<'_>) -> Result<(), LanguageError> {
    let recognised = |item: &Item| is_asset(item) || is_watch(item) || *item == Item::Url;
    if !sentence.any(recognised) || misspelt_alone(sentence) {
        return Ok(());
    }
    if let Some(at) = (0..sentence.phrases.len()).find(|at| qualifies(sentence, *at)) {
        return Err(demand::unsupported(sentence, sentence.phrases[at].span));
    }
    let spans = leftovers(sentence);
    if spans.is_empty() { Ok(()) } else { Err(not_understood(sentence, &spans)) }
}

/// Whether the only thing to watch is a misspelt one: what was meant will be asked for.
fn misspelt_alone(sentence: &Sentence<'_>) -> bool {
    let misspelt =
        |item: &Item, words| matches!(item, Item::Strange { .. }) && suggest::watch(words).is_some();
    demand::watches(&sentence.phrases).is_empty()
        && sentence.phrases.iter().any(|phrase| misspelt(&phrase.item, sentence.words(phrase.span)))
}

/// Whether a thing that is not served says more of its neighbour than its name: of "whale trades" the trades alone are half of it. In a list
/// of its own it is left out, with a warning.
fn qualifies(sentence: &Sentence<'_>, at: usize) -> bool {
    let phrase = &sentence.phrases[at];
    let meant = |item: &&Item| **item != Item::Noise;
    let mut next = sentence.phrases[at + 1..].iter().map(|phrase| &phrase.item).filter(meant);
    phrase.item == Item::Unsupported && !phrase.negated && next.next().is_some_and(is_watch)
}

/// The stretches that are left over. What stands together is one.
fn leftovers(sentence: &Sentence<'_>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for at in (0..sentence.phrases.len()).filter(|at| is_left_over(sentence, *at)) {
        let span = sentence.phrases[at].span;
        match spans.last_mut() {
            Some(last) if sentence.text[last.1..span.0].trim().is_empty() => last.1 = span.1,
            _ => spans.push(span),
        }
    }
    spans
}

fn is_left_over(sentence: &Sentence<'_>, at: usize) -> bool {
    let words = sentence.words(sentence.phrases[at].span);
    match &sentence.phrases[at].item {
        Item::Strange { .. } => true,
        Item::Measure => !(words.eq_ignore_ascii_case("basis") && follows_interval(sentence, at)),
        // "1 BTC" is BTC.
        Item::Number => words != "1" || !sentence.item(at, 1).is_some_and(is_asset),
        Item::Noise => compares_venues(sentence, at),
        _ => false,
    }
}

/// "on a daily basis".
fn follows_interval(sentence: &Sentence<'_>, at: usize) -> bool {
    matches!(sentence.item(at, -1), Some(Item::Interval(_) | Item::Raw))
}

/// "binance vs okx", "compare binance and okx": one merged stream is no comparison.
fn compares_venues(sentence: &Sentence<'_>, at: usize) -> bool {
    let is = |words: &[&str]| {
        words.iter().any(|word| sentence.words(sentence.phrases[at].span).eq_ignore_ascii_case(word))
    };
    let is_venue = |item: &Item| matches!(item, Item::Venue(_));
    let venues = sentence.phrases.iter().filter(|phrase| is_venue(&phrase.item)).count();
    let after_venue = sentence.item(at, -1).is_some_and(is_venue);
    venues > 1 && (is(&["compare", "compared"]) || after_venue && is(&["vs", "versus", "against"]))
}

/// Stretches that an error names at most.
const MOST_NAMED: usize = 5;

fn not_understood(sentence: &Sentence<'_>, spans: &[Span]) -> LanguageError {
    let named: Vec<String> =
        spans.iter().take(MOST_NAMED).map(|span| quoted(sentence.words(*span))).collect();
    let meant = spans.iter().find_map(|span| suggest::meant(sentence.words(*span)));
    let nearest = nearest_sentence(sentence);
    let advice = match meant {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("without it, write \"{nearest}\""),
    };
    let message = format!("not understood: {}; {advice}", named.join(", "));
    LanguageError::new(LanguageCode::NotUnderstood, message).at(spans[0]).suggest([nearest])
}

/// In quotes, and no longer than can be read.
fn quoted(words: &str) -> String {
    let short: String = words.chars().take(60).collect();
    format!("\"{short}\"")
}
