//! Unknown words that stand where an asset or a venue is named.

use bond_core::instrument::Venue;

use super::currency::is_capitals;
use super::error::{LanguageCode, LanguageError};
use super::phrase::Item;
use super::sentence::{Sentence, is_and, is_asset, is_watch};
use super::suggest;
use super::token::Span;

/// Refuses unknown words that stand where an asset or a venue is named.
pub(super) fn strange_words(sentence: &mut Sentence<'_>) -> Result<(), LanguageError> {
    for at in 0..sentence.phrases.len() {
        let span = sentence.phrases[at].span;
        match sentence.phrases[at].item {
            Item::Strange { signed } => check(sentence, at, signed)?,
            Item::InPlace(ticker) => not_in_place(sentence, span, ticker)?,
            Item::LoneQuote(quote) if !sentence.any(is_asset) => return Err(lone_quote(span, quote)),
            Item::LoneQuote(_) => sentence.warn_unused(span),
            _ => {}
        }
    }
    Ok(())
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
