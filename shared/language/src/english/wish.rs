//! What a sentence asks for, before it is a spec.

use std::collections::{BTreeMap, BTreeSet};

use bond_core::instrument::{DEFAULT_QUOTE, MarketType, Symbol, Venue};
use bond_core::spec::{Interval, MAX_TTL_SEC};
use bond_core::topic::{MAX_DEPTH, published_depth};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::currency::Said;
use super::demand;
use super::error::{LanguageCode, LanguageError};
use super::lexicon::Watch;
use super::phrase::{Item, Phrase};
use super::sentence::Sentence;
use super::token::Span;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Wish {
    /// What to watch of each symbol; those said with a perpetual's spelling are perpetuals.
    pub(super) demands: BTreeMap<Symbol, BTreeSet<Watch>>,
    /// What not to watch.
    pub(super) unwanted: BTreeSet<Watch>,
    pub(super) market: Option<MarketType>,
    pub(super) venues: BTreeSet<Venue>,
    pub(super) unwanted_venues: BTreeSet<Venue>,
    pub(super) depth: Option<u16>,
    pub(super) interval: Option<Interval>,
    pub(super) ttl_sec: Option<u32>,
    pub(super) urls: Vec<(String, Span)>,
}

/// Gathers the wish from the phrases.
pub(super) fn wish(sentence: &mut Sentence<'_>) -> Result<Wish, LanguageError> {
    note_what_is_elsewhere(sentence);
    let depth = depth(sentence)?;
    let interval = interval(sentence)?;
    let ttl_sec = ttl(&sentence.phrases)?;
    let market = market(&sentence.phrases)?;
    let urls = urls(sentence)?;
    let (venues, unwanted_venues) = venues(sentence)?;
    let unwanted = unwanted(&sentence.phrases)?;
    let quote = quote(&sentence.phrases)?;
    let said = demand::demands(sentence, !urls.is_empty())?;
    let demands = with_quotes(sentence, &said, quote);
    Ok(Wish { demands, unwanted, market, venues, unwanted_venues, depth, interval, ttl_sec, urls })
}

fn error(code: LanguageCode, message: impl Into<String>) -> LanguageError {
    LanguageError::new(code, message)
}

/// The distinct values of a kind, with the place of the last.
fn distinct<T: PartialEq>(phrases: &[Phrase], of: impl Fn(&Phrase) -> Option<T>) -> Vec<(T, Span)> {
    let mut values: Vec<(T, Span)> = Vec::new();
    for phrase in phrases {
        if let Some(value) = of(phrase).filter(|value| values.iter().all(|(known, _)| known != value)) {
            values.push((value, phrase.span));
        }
    }
    values
}

fn depth(sentence: &mut Sentence<'_>) -> Result<Option<u16>, LanguageError> {
    let given = distinct(&sentence.phrases, |phrase| match phrase.item {
        Item::Depth(levels) if !phrase.negated => Some(levels),
        _ => None,
    });
    let [_, _, ..] = given.as_slice() else {
        return given
            .first()
            .map_or(Ok(None), |(levels, span)| published(sentence, *levels, *span).map(Some));
    };
    let message = "two depths of the order book: a stream has one depth";
    Err(error(LanguageCode::DepthConflict, message).at(given[1].1))
}

fn published(sentence: &mut Sentence<'_>, levels: Option<u64>, span: Span) -> Result<u16, LanguageError> {
    let Some(levels) = levels else {
        sentence.warnings.push(format!("the widest order book has {MAX_DEPTH} levels a side"));
        return Ok(MAX_DEPTH);
    };
    if levels == 0 || levels > u64::from(MAX_DEPTH) {
        let message = format!("an order book has 1 to {MAX_DEPTH} levels a side, not {levels}");
        return Err(error(LanguageCode::DepthOutOfRange, message).at(span));
    }
    let depth = published_depth(levels);
    if u64::from(depth) != levels {
        sentence.warnings.push(format!(
            "order books of more than 50 levels a side come in steps of 50: {levels} became {depth}"
        ));
    }
    Ok(depth)
}

fn interval(sentence: &Sentence<'_>) -> Result<Option<Interval>, LanguageError> {
    let given = distinct(&sentence.phrases, |phrase| match phrase.item {
        Item::Interval(ms) => Some(Some(ms)),
        Item::Raw => Some(None),
        Item::Windows if phrase.negated => Some(None),
        _ => None,
    });
    match given.as_slice() {
        [] => Ok(Some(Interval::DEFAULT)),
        [(None, _)] => Ok(None),
        [(Some(ms), span)] => Interval::from_exact_millis(*ms)
            .map(Some)
            .map_err(|refusal| error(LanguageCode::IntervalOutOfRange, refusal.to_string()).at(*span)),
        [(_, first), (_, second), ..] => {
            let (a, b) = (sentence.words(*first), sentence.words(*second));
            let message = format!("\"{a}\" and \"{b}\": a stream has one interval; make two streams");
            Err(error(LanguageCode::IntervalConflict, message).at(*second))
        }
    }
}

fn ttl(phrases: &[Phrase]) -> Result<Option<u32>, LanguageError> {
    let given = distinct(phrases, |phrase| match phrase.item {
        Item::Duration(ms) => Some(ms),
        _ => None,
    });
    match given.as_slice() {
        [] => Ok(None),
        [(ms, span)] => {
            let message = "a stream lasts a whole number of seconds, 1 second to 365 days";
            seconds(*ms).map(Some).ok_or_else(|| error(LanguageCode::DurationOutOfRange, message).at(*span))
        }
        [_, (_, span), ..] => {
            Err(error(LanguageCode::DurationConflict, "two durations: a stream has one duration").at(*span))
        }
    }
}

fn seconds(ms: Decimal) -> Option<u32> {
    let seconds = ms / Decimal::ONE_THOUSAND;
    let whole = seconds.fract().is_zero().then(|| seconds.to_u32())??;
    (1..=MAX_TTL_SEC).contains(&whole).then_some(whole)
}

/// "not spot" is perpetual and "not perp" is spot: there are two.
fn market(phrases: &[Phrase]) -> Result<Option<MarketType>, LanguageError> {
    let meant = distinct(phrases, |phrase| match (&phrase.item, phrase.negated) {
        (Item::Market(market), false) => Some(*market),
        (Item::Market(MarketType::Spot), true) => Some(MarketType::Perpetual),
        (Item::Market(MarketType::Perpetual), true) => Some(MarketType::Spot),
        _ => None,
    });
    match meant.as_slice() {
        [] => Ok(None),
        [(market, _)] => Ok(Some(*market)),
        [_, (_, span), ..] => {
            let message = "spot and perpetual at once: make two streams, or a spec with two market sources";
            Err(error(LanguageCode::Contradiction, message).at(*span))
        }
    }
}

fn urls(sentence: &Sentence<'_>) -> Result<Vec<(String, Span)>, LanguageError> {
    let mut urls = Vec::new();
    let mut before = "";
    for phrase in &sentence.phrases {
        let words = sentence.words(phrase.span);
        if phrase.item == Item::Url && before.eq_ignore_ascii_case("to") {
            let message =
                "a stream is read from its own URL and not sent to another: write \"from\" for a source";
            return Err(error(LanguageCode::UrlRefused, message).at(phrase.span));
        }
        if phrase.item == Item::Url {
            urls.push((words.to_owned(), phrase.span));
        }
        before = words;
    }
    Ok(urls)
}

type Venues = BTreeSet<Venue>;

fn venues(sentence: &mut Sentence<'_>) -> Result<(Venues, Venues), LanguageError> {
    let (mut wanted, mut unwanted) = (Venues::new(), Venues::new());
    for phrase in &sentence.phrases {
        let Item::Venue(venue) = phrase.item else { continue };
        if phrase.negated {
            unwanted.insert(venue)
        } else {
            wanted.insert(venue)
        };
        if wanted.contains(&venue) && unwanted.contains(&venue) {
            let message = format!("{venue} is both named and excluded");
            return Err(error(LanguageCode::Contradiction, message).at(phrase.span));
        }
    }
    for venue in wanted.iter().filter(|venue| !venue.is_served()) {
        sentence.warnings.push(format!("{venue} is known but not served yet: it will send nothing"));
    }
    if venue_groups(&sentence.phrases) > 1 {
        let message =
            "every venue serves every asset of a stream: for other venues per asset make two streams";
        sentence.warnings.push(message.to_owned());
    }
    Ok((wanted, unwanted))
}

/// How many times the sentence goes back from venues to assets: "BTC on binance and ETH on okx" has two groups.
fn venue_groups(phrases: &[Phrase]) -> usize {
    let mut groups = 0;
    let mut asset_since = false;
    let (mut first, mut seen) = (true, BTreeSet::new());
    for phrase in phrases.iter().filter(|phrase| !phrase.negated) {
        match &phrase.item {
            Item::Asset(said) if seen.insert(said.base()) => asset_since = true,
            Item::Venue(_) if first || asset_since => {
                groups += 1;
                (first, asset_since) = (false, false);
            }
            _ => {}
        }
    }
    groups
}

fn unwanted(phrases: &[Phrase]) -> Result<BTreeSet<Watch>, LanguageError> {
    let mut unwanted = BTreeSet::new();
    for phrase in phrases.iter().filter(|phrase| phrase.negated) {
        let Some(watch) = demand::watch_of(&phrase.item) else { continue };
        let asked =
            phrases.iter().any(|other| !other.negated && demand::watch_of(&other.item) == Some(watch));
        if asked {
            let message = format!("{} is both asked for and taken away", watch.name());
            return Err(error(LanguageCode::Contradiction, message).at(phrase.span));
        }
        unwanted.insert(watch);
    }
    Ok(unwanted)
}

fn quote(phrases: &[Phrase]) -> Result<&'static str, LanguageError> {
    let given = distinct(phrases, |phrase| match phrase.item {
        Item::Quote(quote) => Some(quote),
        _ => None,
    });
    match given.as_slice() {
        [] => Ok(DEFAULT_QUOTE),
        [(quote, _)] => Ok(quote),
        [_, (_, span), ..] => {
            let message = "two quotes for all assets: spell the pairs out, such as BTC/EUR and BTC/USD";
            Err(error(LanguageCode::Contradiction, message).at(*span))
        }
    }
}

/// A bare asset means its pairs where these are spelled out elsewhere in the sentence, else its pair with the quote.
fn with_quotes(
    sentence: &mut Sentence<'_>,
    said: &BTreeMap<Said, BTreeSet<Watch>>,
    quote: &str,
) -> BTreeMap<Symbol, BTreeSet<Watch>> {
    let mut demands: BTreeMap<Symbol, BTreeSet<Watch>> = BTreeMap::new();
    for (asset, watches) in said {
        for symbol in symbols(asset, said, quote) {
            demands.entry(symbol).or_default().extend(watches);
        }
    }
    let upside_down = demands.keys().find(|symbol| (symbol.base(), symbol.quote()) == ("BTC", "ETH"));
    if let Some(symbol) = upside_down {
        sentence
            .warnings
            .push(format!("{symbol} was read as one pair: for two assets write \"BTC and ETH\""));
    }
    demands
}

fn symbols(asset: &Said, all: &BTreeMap<Said, BTreeSet<Watch>>, quote: &str) -> Vec<Symbol> {
    let Said::Bare(base) = asset else {
        return all_pairs([asset]).collect();
    };
    let spelled_out: Vec<Symbol> = all_pairs(all.keys()).filter(|symbol| symbol.base() == *base).collect();
    if spelled_out.is_empty() {
        Symbol::new(base, quote, MarketType::Spot).into_iter().collect()
    } else {
        spelled_out
    }
}

fn all_pairs<'s>(said: impl IntoIterator<Item = &'s Said>) -> impl Iterator<Item = Symbol> {
    said.into_iter().filter_map(|said| match said {
        Said::Pair(symbol) => Some(symbol.clone()),
        Said::Bare(_) => None,
    })
}

/// Warns of what is understood but found elsewhere.
fn note_what_is_elsewhere(sentence: &mut Sentence<'_>) {
    let mut warnings = Vec::new();
    for phrase in sentence.phrases.iter().filter(|phrase| !phrase.negated) {
        let words = sentence.words(phrase.span);
        match phrase.item {
            Item::History => warnings.push(format!(
                "\"{words}\" was not used: ask for what has passed with from=now-5m on the stream's URL"
            )),
            Item::Unsupported => warnings.push(format!("\"{words}\" is not served and was left out")),
            _ => {}
        }
    }
    sentence.warnings.extend(warnings);
}
