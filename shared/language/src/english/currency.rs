//! Assets and pairs in a sentence.

use bond_core::instrument::{MarketType, QUOTES, Symbol};

use super::lexicon;
use super::token::{Kind, Token};
use crate::assets::{self, Match, Reading};

/// An asset as it was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Said {
    /// Without a quote.
    Bare(&'static str),
    /// With one.
    Pair(Symbol),
}

impl Said {
    pub(super) fn base(&self) -> &str {
        match self {
            Self::Bare(ticker) => ticker,
            Self::Pair(symbol) => symbol.base(),
        }
    }
}

/// What tokens that look like an asset are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Currency {
    /// An asset.
    Sure(Said),
    /// A word that is an asset where a sentence has one.
    InPlace(&'static str),
    /// Signed as an asset, but unknown.
    Unknown,
}

/// The asset or pair that `tokens` begin with, and its length in tokens. `shouting`: capitals mean nothing in this sentence;
/// `in_chain`: a list such as `SOL/ETH/BTC` goes on, in which there are no pairs.
pub(super) fn currency(tokens: &[Token<'_>], shouting: bool, in_chain: bool) -> Option<(Currency, usize)> {
    let sign = usize::from(matches!(tokens.first()?.kind, Kind::Mark('$' | '#')));
    if sign == 1 {
        return signed(tokens);
    }
    if let Some((pair, used)) = separated_pair(tokens).filter(|_| !in_chain) {
        return Some(settled_elsewhere(&tokens[used..]).map_or_else(
            || (Currency::Sure(Said::Pair(pair)), used),
            |more| (Currency::Unknown, used + more),
        ));
    }
    let (found, used) = name(tokens)?;
    let said = match (found, &tokens[..used]) {
        (Name::Pair(pair), _) => Currency::Sure(Said::Pair(pair)),
        (Name::Asset(asset), words) => read(asset, words, shouting)?,
    };
    Some(with_quote(said, used, tokens))
}

/// `$BTC`, `#bitcoin`, `$ETH/BTC`.
fn signed(tokens: &[Token<'_>]) -> Option<(Currency, usize)> {
    let rest = tokens.get(1..)?;
    rest.first().filter(|token| token.glued && matches!(token.kind, Kind::Word(_)))?;
    let (said, used) = if let Some((pair, used)) = separated_pair(rest) {
        (Said::Pair(pair), used)
    } else {
        match name(rest) {
            Some((Name::Pair(pair), used)) => (Said::Pair(pair), used),
            Some((Name::Asset(asset), used)) => (Said::Bare(asset.ticker), used),
            None if tokens[0].is_mark('$') => return Some((Currency::Unknown, 2)),
            None => return None,
        }
    };
    Some((Currency::Sure(said), used + 1))
}

/// `BTC/USDT`, `btc-usd`, `BTC/USDT:USDT`, `BTC-USDT-PERP`; not `SOL/ETH/BTC`, which is a list.
fn separated_pair(tokens: &[Token<'_>]) -> Option<(Symbol, usize)> {
    let [base, separator, quote, rest @ ..] = tokens else { return None };
    let joined = separator.glued && quote.glued && matches!(separator.kind, Kind::Mark('/' | '-' | '_'));
    let meaningless = lexicon::term(base.word()).is_none() || assets::find(base.word()).is_some();
    let quote = QUOTES.into_iter().find(|code| quote.text.eq_ignore_ascii_case(code))?;
    (joined && meaningless && !base.word().is_empty()).then_some(())?;
    let (market, tail) = match rest {
        [mark, tail, ..] if mark.glued && tail.glued => match (&mark.kind, tail.word()) {
            (Kind::Mark(':'), word) if word.eq_ignore_ascii_case(quote) => (MarketType::Perpetual, 2),
            (Kind::Mark('-' | '_'), "perp" | "swap" | "perpetual") => (MarketType::Perpetual, 2),
            (Kind::Mark('/' | '-'), word) if *mark.text == *separator.text && is_currency(word) => {
                return None;
            }
            _ => (MarketType::Spot, 0),
        },
        _ => (MarketType::Spot, 0),
    };
    let symbol = Symbol::new(base.text, quote, market).ok().filter(|symbol| symbol.base() != quote)?;
    Some((symbol, 3 + tail))
}

/// `:BTC` after `BTC/USD`: a contract that is not settled in its quote, which is none of those served.
fn settled_elsewhere(tokens: &[Token<'_>]) -> Option<usize> {
    let [mark, currency, ..] = tokens else { return None };
    let glued = mark.glued && mark.is_mark(':') && currency.glued;
    (glued && is_currency(currency.word())).then_some(2)
}

fn is_currency(word: &str) -> bool {
    assets::find(word).is_some() || assets::quote(word).is_some()
}

enum Name {
    Asset(Match),
    Pair(Symbol),
}

/// A name of one to three words from the table, or a pair in one word.
fn name(tokens: &[Token<'_>]) -> Option<(Name, usize)> {
    let listed = [3, 2, 1].into_iter().find_map(|words| {
        let (phrase, used) = phrase(tokens, words)?;
        Some((Name::Asset(assets::find(&phrase)?), used))
    });
    listed.or_else(|| {
        let word = tokens.first()?;
        let unknown = !word.word().is_empty() && lexicon::term(word.word()).is_none();
        let pair = unknown.then(|| assets::pair_in_word(word.text)).flatten()?;
        let used = if is_marked_perpetual(&tokens[1..]) { 3 } else { 1 };
        let market = if used == 3 { MarketType::Perpetual } else { MarketType::Spot };
        Some((Name::Pair(pair.on(market)), used))
    })
}

/// `BTCUSDT.P`, as charts write perpetuals.
fn is_marked_perpetual(tokens: &[Token<'_>]) -> bool {
    let [dot, mark, ..] = tokens else { return false };
    dot.glued && dot.is_mark('.') && mark.glued && matches!(mark.word(), "p" | "perp")
}

/// `words` words from the first token on, in lower case with blanks between, whether they are hyphenated or not.
pub(super) fn phrase(tokens: &[Token<'_>], words: usize) -> Option<(String, usize)> {
    let mut phrase = tokens.first().map(|token| token.word().to_owned()).filter(|word| !word.is_empty())?;
    let mut used = 1;
    for _ in 1..words {
        let hyphen = tokens.get(used).is_some_and(|token| token.glued && token.is_mark('-'));
        used += usize::from(hyphen);
        let token = tokens.get(used)?;
        if matches!(token.kind, Kind::Mark(_) | Kind::Url) {
            return None;
        }
        phrase.push(' ');
        phrase.push_str(if token.word().is_empty() { token.text } else { token.word() });
        used += 1;
    }
    Some((phrase, used))
}

fn read(asset: Match, words: &[Token<'_>], shouting: bool) -> Option<Currency> {
    let capitals = !shouting && words.iter().all(|word| is_capitals(word.text));
    match asset.reading {
        Reading::Plain => Some(Currency::Sure(Said::Bare(asset.ticker))),
        Reading::InPlace | Reading::Capitals if capitals => Some(Currency::Sure(Said::Bare(asset.ticker))),
        Reading::InPlace => Some(Currency::InPlace(asset.ticker)),
        Reading::Capitals | Reading::Signed => None,
    }
}

/// Two or more letters, none of them small.
pub(super) fn is_capitals(text: &str) -> bool {
    text.chars().filter(|c| c.is_alphabetic()).count() >= 2 && !text.chars().any(char::is_lowercase)
}

/// `BTC USDT`, `BTC vs USD`, `ETH against BTC`: the quote makes it a pair.
fn with_quote(said: Currency, used: usize, tokens: &[Token<'_>]) -> (Currency, usize) {
    let base = match &said {
        Currency::Sure(Said::Bare(base)) | Currency::InPlace(base) => *base,
        _ => return (said, used),
    };
    let Some((quote, more)) = following_quote(base, &tokens[used..]) else { return (said, used) };
    match Symbol::new(base, quote, MarketType::Spot) {
        Ok(pair) => (Currency::Sure(Said::Pair(pair)), used + more),
        Err(_) => (said, used),
    }
}

fn following_quote(base: &str, tokens: &[Token<'_>]) -> Option<(&'static str, usize)> {
    let first = tokens.first()?;
    let joined =
        tokens.get(1).is_some_and(|next| next.glued && matches!(next.kind, Kind::Mark('/' | '-' | '_')));
    let code = QUOTES.into_iter().find(|code| first.text.eq_ignore_ascii_case(code));
    if let Some(code) = code.filter(|code| assets::is_money(code) && *code != base && !joined) {
        return Some((code, 1));
    }
    (lexicon::term(first.word()) == Some(lexicon::Term::Against)).then_some(())?;
    let lead = 1 + usize::from(tokens.get(1).is_some_and(|token| token.word() == "the"));
    let (quote, used) = quote_name(tokens.get(lead..)?)?;
    let a_pair = assets::is_money(quote) || (first.word() != "to" && (base, quote) != ("BTC", "ETH"));
    (a_pair && quote != base).then_some((quote, used + lead))
}

/// A quote by its code or name: `USDT`, `us dollars`, `bitcoin`.
pub(super) fn quote_name(tokens: &[Token<'_>]) -> Option<(&'static str, usize)> {
    [2, 1].into_iter().find_map(|words| {
        let (phrase, used) = phrase(tokens, words)?;
        Some((assets::quote(&phrase)?, used))
    })
}
