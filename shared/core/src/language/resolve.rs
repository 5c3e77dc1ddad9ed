//! What a phrase means among its neighbours: words that may be assets, unknown words, "every …", "all … data".

use super::currency::{Said, is_capitals};
use super::error::{LanguageCode, LanguageError};
use super::lexicon::Watch;
use super::phrase::{Item, Phrase};
use super::suggest;
use super::token::Span;
use crate::instrument::Venue;

/// A sentence while it is being understood.
#[derive(Debug)]
pub(super) struct Sentence<'t> {
    pub(super) text: &'t str,
    pub(super) phrases: Vec<Phrase>,
    pub(super) warnings: Vec<String>,
}

impl<'t> Sentence<'t> {
    pub(super) fn words(&self, span: Span) -> &'t str {
        &self.text[span.0..span.1]
    }

    /// The item `by` places from `at`.
    fn item(&self, at: usize, by: isize) -> Option<&Item> {
        let at = at.checked_add_signed(by)?;
        self.phrases.get(at).map(|phrase| &phrase.item)
    }

    /// Warns that the phrase was read as wanted, though it stands in a list of what is not.
    pub(super) fn warn_of_reading(&mut self, at: usize) {
        let word = self.words(self.phrases[at].span);
        self.warnings
            .push(format!("\"{word}\" was read as wanted: for the opposite write \"without {word}\""));
    }

    fn any(&self, what: impl Fn(&Item) -> bool) -> bool {
        self.phrases.iter().any(|phrase| what(&phrase.item))
    }
}

const fn is_asset(item: &Item) -> bool {
    matches!(item, Item::Asset(_))
}

const fn is_watch(item: &Item) -> bool {
    matches!(item, Item::Watch(_) | Item::Single(_) | Item::Figure { of_prices: true } | Item::Depth(_))
}

const fn is_and(item: &Item) -> bool {
    matches!(item, Item::And { .. })
}

/// Gives every phrase the meaning it has where it stands.
pub(super) fn resolve(sentence: &mut Sentence<'_>) -> Result<(), LanguageError> {
    refuse_command(sentence)?;
    words_in_place(sentence);
    every_event(sentence);
    all_data(sentence);
    full_book(sentence);
    unclear_interval(sentence)?;
    strange_words(sentence)
}

/// "delete BTC stream", "buy 2 BTC": a stream would be the opposite of what is meant.
fn refuse_command(sentence: &Sentence<'_>) -> Result<(), LanguageError> {
    const COMMANDS: [&str; 9] =
        ["delete", "cancel", "stop", "unsubscribe", "terminate", "kill", "remove", "buy", "sell"];
    let Some(first) = sentence.phrases.first() else { return Ok(()) };
    let object = sentence.phrases[1..].iter().map(|phrase| &phrase.item);
    let object = object.skip_while(|item| matches!(item, Item::Noise | Item::Number | Item::At)).next();
    let word = sentence.words(first.span);
    let command = COMMANDS.iter().any(|command| word.eq_ignore_ascii_case(command));
    if !command || !object.is_some_and(is_asset) {
        return Ok(());
    }
    let message = format!("a sentence creates a stream and does nothing else: \"{word}\" is not served here");
    Err(LanguageError::new(LanguageCode::Unsupported, message).at(first.span))
}

/// A word that may be an asset is one next to what is watched, after "of", or in a list with an asset.
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
    let member = |at: isize| {
        sentence.item(start, at).is_some_and(|item| matches!(item, Item::Asset(_) | Item::InPlace(_)))
    };
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
    let before_watch = next.is_some_and(is_watch);
    let after_of = sentence.item(start, -1) == Some(&Item::Of) && next.is_none_or(ends_object);
    listed || before_watch || after_of
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
    for phrase in &mut sentence.phrases {
        phrase.item = match phrase.item {
            Item::Single(watch) => Item::Watch(watch),
            Item::Event => Item::Noise,
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
    matches!(rest.next(), Some(Item::Single(_) | Item::Event))
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

/// Refuses unknown words that stand where an asset or a venue is named; warns of the others.
fn strange_words(sentence: &mut Sentence<'_>) -> Result<(), LanguageError> {
    for at in 0..sentence.phrases.len() {
        let span = sentence.phrases[at].span;
        match sentence.phrases[at].item {
            Item::Strange { signed } => {
                check(sentence, at, signed)?;
                warn_unused(sentence, span);
            }
            Item::InPlace(ticker) => not_in_place(sentence, span, ticker)?,
            Item::LoneQuote(quote) if !sentence.any(is_asset) => return Err(lone_quote(span, quote)),
            Item::LoneQuote(_) | Item::Number => warn_unused(sentence, span),
            _ => {}
        }
    }
    Ok(())
}

fn warn_unused(sentence: &mut Sentence<'_>, span: Span) {
    let word = sentence.words(span);
    let meant = suggest::watch(word).map(|(meant, _)| meant).or_else(|| suggest::asset(word));
    let hint = meant.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
    sentence.warnings.push(format!("\"{word}\" was not used{hint}"));
}

fn not_in_place(sentence: &mut Sentence<'_>, span: Span, ticker: &str) -> Result<(), LanguageError> {
    let word = sentence.words(span);
    if sentence.any(is_asset) || sentence.any(|item| *item == Item::Url) {
        sentence
            .warnings
            .push(format!("\"{word}\" was not read as the asset {ticker}: write ${ticker} for that"));
        return Ok(());
    }
    let message = format!("\"{word}\" is a word too: write ${ticker} or {ticker} for the asset");
    Err(LanguageError::new(LanguageCode::UnknownAsset, message)
        .at(span)
        .suggest([format!("${ticker} price")]))
}

fn lone_quote(span: Span, quote: &str) -> LanguageError {
    let message =
        format!("{quote} is what others are quoted in: write the pair, such as BTC/{quote} or {quote}/USD");
    LanguageError::new(LanguageCode::UnknownAsset, message).at(span).suggest([format!("BTC/{quote} price")])
}

fn check(sentence: &Sentence<'_>, at: usize, signed: bool) -> Result<(), LanguageError> {
    let span = sentence.phrases[at].span;
    let word = sentence.words(span).trim_start_matches('$');
    if signed {
        return Err(unknown_asset(word, span));
    }
    let misspelt_watch = suggest::watch(word).is_some();
    let misspelt_asset = suggest::asset(word).is_some();
    if stands_as_venue(sentence, at) && !misspelt_watch && !misspelt_asset {
        return Err(unknown_venue(word, span));
    }
    if !misspelt_watch && stands_as_asset(sentence, at, is_capitals(word), misspelt_asset) {
        return Err(unknown_asset(word, span));
    }
    Ok(())
}

/// After "on", or in a list with a venue.
fn stands_as_venue(sentence: &Sentence<'_>, at: usize) -> bool {
    let listed =
        sentence.item(at, -1).is_some_and(is_and) && matches!(sentence.item(at, -2), Some(Item::Venue(_)));
    sentence.item(at, -1) == Some(&Item::At) || listed
}

fn stands_as_asset(sentence: &Sentence<'_>, at: usize, capitals: bool, misspelt: bool) -> bool {
    let before = sentence.item(at, -1);
    let next = sentence.item(at, 1);
    let no_asset = !sentence.any(is_asset);
    let after_and = before.is_some_and(is_and);
    let after_of = before == Some(&Item::Of) && (no_asset || sentence.item(at, -2).is_some_and(is_watch));
    let before_watch = next.is_some_and(is_watch);
    let ends = next.is_none_or(|item| !matches!(item, Item::Strange { .. } | Item::Noise));
    let after_list = after_and && sentence.item(at, -2).is_some_and(is_asset) && ends;
    let before_list = next.is_some_and(is_and) && sentence.item(at, 2).is_some_and(is_asset);
    let named = after_and || after_of || before_watch || no_asset;
    let wanted = sentence.any(is_watch) && (after_of || before_watch);
    after_list || before_list || ((capitals || misspelt) && named) || (no_asset && wanted)
}

fn unknown_asset(word: &str, span: Span) -> LanguageError {
    let pair = format!("{}/USDT", word.to_uppercase());
    let error = |message: String| LanguageError::new(LanguageCode::UnknownAsset, message).at(span);
    match suggest::asset(word) {
        Some(meant) => error(format!("unknown asset: {word}; did you mean \"{meant}\"?")).suggest([meant]),
        None => error(format!("unknown asset: {word}; spell the pair out, such as {pair}")).suggest([pair]),
    }
}

fn unknown_venue(word: &str, span: Span) -> LanguageError {
    let known = Venue::ALL.map(Venue::name);
    let meant = suggest::venue(word);
    let hint = meant.map(|meant| format!("; did you mean \"{meant}\"?"));
    let message = format!(
        "unknown venue: {word}{}",
        hint.unwrap_or_else(|| format!("; known are {}", known.join(", ")))
    );
    let error = LanguageError::new(LanguageCode::UnknownVenue, message).at(span);
    match meant {
        Some(meant) => error.suggest([meant]),
        None => error.suggest(known),
    }
}
