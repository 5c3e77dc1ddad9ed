//! The sentence as phrases: what each word or group of words is, seen by itself.

use bond_core::instrument::{MarketType, Venue};
use rust_decimal::Decimal;

use super::currency::{self, Currency, Said};
use super::lexicon::{self, LONGEST, Term, Watch};
use super::quantity;
use super::timing::{self, Timing};
use super::token::{Kind, Span, Token, tokenize};

/// What a phrase is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Asset(Said),
    /// A word that is an asset where a sentence has one.
    InPlace(&'static str),
    /// An unknown word; whether it is signed as an asset.
    Strange {
        signed: bool,
    },
    Venue(Venue),
    AllVenues,
    Watch(Watch),
    /// One event of something to watch.
    Single(Watch),
    Event,
    /// A change of something.
    Change,
    /// A figure that nobody works out.
    Measure,
    /// A figure of the aggregate; whether it is made of prices.
    Figure {
        of_prices: bool,
    },
    Market(MarketType),
    Interval(Decimal),
    /// A number of unknown units between events.
    WithoutUnit,
    Raw,
    Windows,
    Duration(Decimal),
    History,
    /// Levels a side; `None` for all there are.
    Depth(Option<u64>),
    Url,
    /// The quote of every bare asset.
    Quote(&'static str),
    /// A quote without a base.
    LoneQuote(&'static str),
    Unsupported,
    Negator,
    But,
    With,
    /// Joins; `+` ends a negation too.
    And {
        plus: bool,
    },
    Of,
    At,
    Every,
    All,
    Data,
    Full,
    /// A number or a unit that belongs to nothing.
    Number,
    Stop,
    Noise,
    /// Noise that is told to have been left out.
    Filler,
}

/// A phrase and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Phrase {
    pub(super) span: Span,
    pub(super) item: Item,
    /// Whether a negator takes it away.
    pub(super) negated: bool,
}

/// Splits a sentence into phrases.
pub(super) fn phrases(text: &str) -> Vec<Phrase> {
    let tokens = tokenize(text);
    let shouting = is_shouting(text, &tokens);
    let mut phrases: Vec<Phrase> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let (item, used) = item(text, &tokens[at..], shouting, &phrases);
        let used = used.clamp(1, tokens.len() - at);
        let span = (tokens[at].span.0, tokens[at + used - 1].span.1);
        phrases.push(Phrase { span, item, negated: false });
        at += used;
    }
    phrases
}

/// Whether capitals mean nothing: there is no small letter, and a word that is no ticker is in capitals too.
fn is_shouting(text: &str, tokens: &[Token<'_>]) -> bool {
    let known_word = |token: &&Token<'_>| token.text.len() >= 3 && lexicon::term(token.word()).is_some();
    !text.chars().any(char::is_lowercase) && tokens.iter().any(|token| known_word(&token))
}

fn item(text: &str, tokens: &[Token<'_>], shouting: bool, before: &[Phrase]) -> (Item, usize) {
    match tokens[0].kind {
        Kind::Url => return (Item::Url, 1),
        Kind::Mark('$') if sum(tokens).is_some() => return (Item::Number, sum(tokens).unwrap_or(1)),
        Kind::Mark('@') if names_account(tokens) => return (Item::Unsupported, 2),
        Kind::Mark('@') => return (Item::At, 1),
        _ => {}
    }
    if is_always(tokens) {
        return (Item::Noise, 3);
    }
    depth(tokens)
        .or_else(|| timing::timing(tokens).map(timed))
        .or_else(|| quote(tokens, before.last().map(|phrase| &phrase.item)))
        .or_else(|| known_phrase(tokens, 2))
        .or_else(|| currency::currency(tokens, shouting, in_chain(text, tokens, before)).map(asset))
        .or_else(|| known_phrase(tokens, 1))
        .or_else(|| venue(tokens))
        .unwrap_or_else(|| (single(tokens), 1))
}

/// `24/7`
fn is_always(tokens: &[Token<'_>]) -> bool {
    let [hours, slash, days, ..] = tokens else { return false };
    (hours.text, slash.text, days.text) == ("24", "/", "7")
}

/// `$1M`, `$100k`: the length of a sum of money.
fn sum(tokens: &[Token<'_>]) -> Option<usize> {
    let [_, number, rest @ ..] = tokens else { return None };
    let shortened =
        |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && crate::assets::find(word).is_none();
    let is_sum = number.glued && (matches!(number.kind, Kind::Number(_)) || shortened(number.word()));
    is_sum.then(|| 2 + usize::from(rest.first().is_some_and(|unit| unit.glued && !unit.word().is_empty())))
}

/// `@someone`: one account's posts cannot be asked for.
fn names_account(tokens: &[Token<'_>]) -> bool {
    tokens
        .get(1)
        .is_some_and(|token| token.glued && !token.word().is_empty() && token.text.parse::<Venue>().is_err())
}

/// Whether an asset and the same sign stand right before: in `SOL/ETH/BTC`, `ETH/BTC` is no pair.
fn in_chain(text: &str, tokens: &[Token<'_>], before: &[Phrase]) -> bool {
    let ([.., asset, joint], [_, separator, ..]) = (before, tokens) else { return false };
    let joined = asset.span.1 == joint.span.0 && joint.span.1 == tokens[0].span.0;
    joined && matches!(asset.item, Item::Asset(_)) && text[joint.span.0..joint.span.1] == *separator.text
}

fn timed((timing, used): (Timing, usize)) -> (Item, usize) {
    let item = match timing {
        Timing::Interval(ms) => Item::Interval(ms),
        Timing::Duration(ms) => Item::Duration(ms),
        Timing::History => Item::History,
        Timing::WithoutUnit => Item::WithoutUnit,
        Timing::RollingDay => Item::Unsupported,
    };
    (item, used)
}

fn asset((currency, used): (Currency, usize)) -> (Item, usize) {
    let item = match currency {
        Currency::Sure(said) => Item::Asset(said),
        Currency::InPlace(ticker) => Item::InPlace(ticker),
        Currency::Unknown => Item::Strange { signed: true },
    };
    (item, used)
}

/// `depth 50`, `depth of 50`, `50 levels`, `top 50 levels`, `50-level`, `50 deep`.
fn depth(tokens: &[Token<'_>]) -> Option<(Item, usize)> {
    let word = |at: usize| tokens.get(at).map_or("", Token::word);
    if word(0) == "depth" {
        let hyphen = tokens.get(1).is_some_and(|token| token.is_mark('-'));
        let used = 1 + usize::from(word(1) == "of" || hyphen);
        let number = levels(tokens.get(used)?)?;
        let unit = usize::from(matches!(word(used + 1), "level" | "levels"));
        return Some((Item::Depth(Some(number)), used + 1 + unit));
    }
    let top = usize::from(word(0) == "top");
    let number = levels(tokens.get(top)?)?;
    let dash = usize::from(tokens.get(top + 1).is_some_and(|token| token.is_mark('-')));
    let used = top + 1 + dash;
    matches!(word(used), "level" | "levels" | "deep").then(|| {
        let deep = usize::from(matches!(word(used + 1), "deep"));
        (Item::Depth(Some(number)), used + 1 + deep)
    })
}

/// A number of levels; one that is no whole number counts as none.
fn levels(token: &Token<'_>) -> Option<u64> {
    let Kind::Number(number) = token.kind else { return None };
    Some(number.to_string().parse().unwrap_or(0))
}

/// `in EUR`, `quoted in bitcoin`; `in BTC` only after an asset, since one may be interested in BTC.
fn quote(tokens: &[Token<'_>], before: Option<&Item>) -> Option<(Item, usize)> {
    let quoted = (1..=2).rev().find_map(|words| {
        let (phrase, used) = currency::phrase(tokens, words)?;
        match lexicon::term(&phrase)? {
            Term::QuotedIn => Some((used, true)),
            Term::In => Some((used, false)),
            _ => None,
        }
    });
    let (lead, firm) = quoted?;
    let (quote, used) = currency::quote_name(tokens.get(lead..)?)?;
    let firm = firm || crate::assets::is_money(quote) || matches!(before, Some(Item::Asset(_)));
    firm.then_some((Item::Quote(quote), lead + used))
}

/// The longest phrase of the lexicon, of at least `shortest` words.
fn known_phrase(tokens: &[Token<'_>], shortest: usize) -> Option<(Item, usize)> {
    (shortest..=LONGEST).rev().find_map(|words| {
        let (phrase, used) = currency::phrase(tokens, words)?;
        Some((term_item(lexicon::term(&phrase)?), used))
    })
}

const fn term_item(term: Term) -> Item {
    match term {
        Term::Watch(watch) => Item::Watch(watch),
        Term::Single(watch) => Item::Single(watch),
        Term::Event => Item::Event,
        Term::Change => Item::Change,
        Term::Measure => Item::Measure,
        Term::Filler => Item::Filler,
        Term::Full => Item::Full,
        Term::PriceFigure => Item::Figure { of_prices: true },
        Term::Figure => Item::Figure { of_prices: false },
        Term::Market(market) => Item::Market(market),
        Term::AllVenues => Item::AllVenues,
        Term::Raw => Item::Raw,
        Term::Windows => Item::Windows,
        Term::Negator => Item::Negator,
        Term::But => Item::But,
        Term::With => Item::With,
        Term::Plus => Item::And { plus: true },
        Term::And => Item::And { plus: false },
        Term::Of => Item::Of,
        Term::At => Item::At,
        Term::Every => Item::Every,
        Term::All => Item::All,
        Term::Data => Item::Data,
        Term::Unsupported => Item::Unsupported,
        Term::Against | Term::In | Term::QuotedIn | Term::Noise => Item::Noise,
    }
}

fn venue(tokens: &[Token<'_>]) -> Option<(Item, usize)> {
    tokens[0].text.parse::<Venue>().ok().map(|venue| (Item::Venue(venue), 1))
}

fn single(tokens: &[Token<'_>]) -> Item {
    match &tokens[0].kind {
        Kind::Mark('+') => Item::And { plus: true },
        Kind::Mark(',' | '&' | '/' | '|') => Item::And { plus: false },
        Kind::Mark('%' | '<' | '>' | '=' | '≥' | '≤') => Item::Measure,
        Kind::Mark(_) => Item::Stop,
        Kind::Number(_) => Item::Number,
        Kind::Word(word) if quantity::is_unit(word) => Item::Number,
        Kind::Word(word) if crate::assets::quote(word).is_some() => {
            Item::LoneQuote(crate::assets::quote(word).unwrap_or_default())
        }
        Kind::Word(_) if quantity::number(tokens).is_some() => Item::Number,
        Kind::Word(_) | Kind::Url => Item::Strange { signed: false },
    }
}
