//! What a phrase means among its neighbours: words that may be assets, "every …", "all … data", "full … book".

use super::currency::Said;
use super::error::{LanguageCode, LanguageError};
use super::lexicon::Watch;
use super::nearest::nearest_sentence;
use super::phrase::Item;
use super::sentence::{Sentence, is_and, is_asset, is_watch};
use super::strange::strange_words;

/// Gives every phrase the meaning it has where it stands.
pub(super) fn resolve(sentence: &mut Sentence<'_>) -> Result<(), LanguageError> {
    refuse_command(sentence)?;
    fillers(sentence);
    words_in_place(sentence);
    every_event(sentence);
    all_data(sentence);
    full_book(sentence);
    unclear_interval(sentence)?;
    strange_words(sentence)
}

/// What is left out is said, and from then on has no meaning.
fn fillers(sentence: &mut Sentence<'_>) {
    for at in 0..sentence.phrases.len() {
        if sentence.phrases[at].item == Item::Filler {
            sentence.warn_unused(sentence.phrases[at].span);
            sentence.phrases[at].item = Item::Noise;
        }
    }
}

/// "delete BTC stream", "buy 2 BTC": a stream would be the opposite of what is meant.
fn refuse_command(sentence: &Sentence<'_>) -> Result<(), LanguageError> {
    const COMMANDS: [&str; 10] =
        ["delete", "cancel", "stop", "unsubscribe", "terminate", "kill", "remove", "buy", "sell", "trade"];
    let Some(first) = sentence.phrases.first() else { return Ok(()) };
    let mut rest = sentence.phrases[1..].iter().map(|phrase| &phrase.item);
    let object = rest.find(|item| !matches!(item, Item::Noise | Item::Number | Item::At));
    let word = sentence.words(first.span);
    let command = COMMANDS.iter().any(|command| word.eq_ignore_ascii_case(command));
    if !(command && object.is_some_and(is_asset) || exchanges_assets(sentence)) {
        return Ok(());
    }
    let message = format!("a sentence creates a stream and does nothing else: \"{word}\" is not served here");
    let error = LanguageError::new(LanguageCode::Unsupported, message).at(first.span);
    Err(error.suggest([nearest_sentence(sentence)]))
}

/// "swap BTC for ETH".
fn exchanges_assets(sentence: &Sentence<'_>) -> bool {
    let Some(first) = sentence.phrases.first() else { return false };
    let word = sentence.words(first.span);
    let is_verb = ["swap", "exchange", "convert"].iter().any(|verb| word.eq_ignore_ascii_case(verb));
    let other = (2..=3).find(|by| sentence.item(0, *by).is_some_and(is_asset));
    is_verb
        && sentence.item(0, 1).is_some_and(is_asset)
        && other.is_some_and(|by| sentence.item(0, by - 1) == Some(&Item::Of))
}

/// A word that may be an asset is one before what is watched (unless that has an object of its own: "hype tweets about BTC"),
/// before "token", after "of", or in a list with an asset.
fn words_in_place(sentence: &mut Sentence<'_>) {
    for start in 0..sentence.phrases.len() {
        let Some(end) = list_end(sentence, start) else { continue };
        let members = start..=end;
        if members.clone().any(|at| matches!(sentence.phrases[at].item, Item::InPlace(_)))
            && is_in_place(sentence, start, end)
        {
            for phrase in &mut sentence.phrases[members] {
                if let Item::InPlace(ticker) = phrase.item {
                    phrase.item = Item::Asset(Said::Bare(ticker));
                }
            }
        }
    }
}

/// The end of the list of assets that begins at `start`: `btc, dot and link`.
fn list_end(sentence: &Sentence<'_>, start: usize) -> Option<usize> {
    let member = |at: isize| sentence.item(start, at).is_some_and(names_asset);
    let and = |at: isize| sentence.item(start, at).is_some_and(is_and);
    let begins = member(0) && !(and(-1) && member(-2));
    let mut length = 0;
    loop {
        let step =
            [2, 3].into_iter().find(|step| (1..*step).all(|by| and(length + by)) && member(length + step));
        match step {
            Some(step) => length += step,
            None => break,
        }
    }
    begins.then(|| start.saturating_add_signed(length))
}

fn is_in_place(sentence: &Sentence<'_>, start: usize, end: usize) -> bool {
    let listed = sentence.phrases[start..=end].iter().any(|phrase| is_asset(&phrase.item));
    let next = sentence.item(end, 1);
    let has_object =
        sentence.item(end, 2) == Some(&Item::Of) && sentence.item(end, 3).is_some_and(names_asset);
    let before_watch = next.is_some_and(is_watch) && !has_object;
    let before_noun = sentence.phrases.get(end + 1).is_some_and(|next| {
        ["coin", "coins", "token", "tokens"]
            .iter()
            .any(|noun| sentence.words(next.span).eq_ignore_ascii_case(noun))
    });
    let after_of = sentence.item(start, -1) == Some(&Item::Of) && next.is_none_or(ends_object);
    listed || before_watch || before_noun || after_of
}

const fn names_asset(item: &Item) -> bool {
    matches!(item, Item::Asset(_) | Item::InPlace(_))
}

/// Whether `of near` may end before this.
const fn ends_object(item: &Item) -> bool {
    !matches!(item, Item::Asset(_) | Item::InPlace(_) | Item::Noise | Item::Strange { .. } | Item::Number)
}

/// "every trade", "each BTC tweet", "every price update" ask for no windows.
fn every_event(sentence: &mut Sentence<'_>) {
    for at in 0..sentence.phrases.len() {
        if sentence.phrases[at].item == Item::Every && is_event_next(sentence, at) {
            sentence.phrases[at].item = Item::Raw;
        }
    }
    let raw = sentence.any(|item| *item == Item::Raw);
    for phrase in &mut sentence.phrases {
        phrase.item = match phrase.item {
            Item::Single(watch) => Item::Watch(watch),
            Item::Event => Item::Noise,
            Item::Change => {
                if raw {
                    Item::Noise
                } else {
                    Item::Measure
                }
            }
            _ => continue,
        };
    }
}

fn is_event_next(sentence: &Sentence<'_>, every: usize) -> bool {
    let between = |item: &&Item| {
        matches!(
            item,
            Item::Asset(_)
                | Item::And { .. }
                | Item::Noise
                | Item::Market(_)
                | Item::Watch(_)
                | Item::Venue(_)
        )
    };
    let items = sentence.phrases[every + 1..].iter().map(|phrase| &phrase.item);
    let mut rest = items.skip_while(between);
    matches!(rest.next(), Some(Item::Single(_) | Item::Event | Item::Change))
}

/// "every ten", "every blue moon".
fn unclear_interval(sentence: &Sentence<'_>) -> Result<(), LanguageError> {
    for (at, phrase) in sentence.phrases.iter().enumerate() {
        let unknown = matches!(sentence.item(at, 1), Some(Item::Strange { .. } | Item::Number));
        let unclear = phrase.item == Item::WithoutUnit || (phrase.item == Item::Every && unknown);
        if unclear {
            let message = format!(
                "\"{}\" is not followed by a time: write \"every 5 seconds\"",
                sentence.words(phrase.span)
            );
            return Err(LanguageError::new(LanguageCode::IntervalUnclear, message)
                .at(phrase.span)
                .suggest(["every 5s"]));
        }
    }
    Ok(())
}

/// "all BTC data".
fn all_data(sentence: &mut Sentence<'_>) {
    for at in 0..sentence.phrases.len() {
        if sentence.phrases[at].item != Item::Data {
            continue;
        }
        let before = sentence.phrases[..at].iter().rev().map(|phrase| &phrase.item);
        let mut before = before.skip_while(|item| is_asset(item) || is_and(item));
        let all = before.next() == Some(&Item::All);
        sentence.phrases[at].item = if all { Item::Watch(Watch::Everything) } else { Item::Noise };
    }
}

/// "full BTC order book".
fn full_book(sentence: &mut Sentence<'_>) {
    for at in 0..sentence.phrases.len() {
        if sentence.phrases[at].item != Item::Full {
            continue;
        }
        let rest = sentence.phrases[at + 1..].iter().map(|phrase| &phrase.item);
        let mut rest = rest.skip_while(|item| is_asset(item) || is_and(item) || **item == Item::Noise);
        let book = rest.next() == Some(&Item::Watch(Watch::Book));
        sentence.phrases[at].item = if book { Item::Depth(None) } else { Item::Noise };
    }
}
