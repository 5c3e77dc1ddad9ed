//! Numbers and lengths of time, in digits and in words.

use rust_decimal::Decimal;

use super::token::{Kind, Token};

/// A length of time in milliseconds, and how many tokens said it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Length {
    pub(super) ms: Decimal,
    pub(super) tokens: usize,
}

/// The milliseconds of a unit, by its name in lower case; microseconds and finer are fractions.
fn unit(name: &str) -> Option<Decimal> {
    let ms: i64 = match name {
        "us" | "µs" | "μs" | "microsecond" | "microseconds" => return Some(Decimal::new(1, 3)),
        "ns" | "nanosecond" | "nanoseconds" => return Some(Decimal::new(1, 6)),
        "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        "w" | "wk" | "week" | "weeks" => 604_800_000,
        "month" | "months" => 2_592_000_000,
        "year" | "years" => 31_536_000_000,
        _ => return None,
    };
    Some(Decimal::from(ms))
}

/// Whether a word in lower case is a unit of time.
pub(super) fn is_unit(name: &str) -> bool {
    unit(name).is_some()
}

/// Whether letters right after digits are read apart from these: a unit, or what makes a frequency.
pub(super) fn follows_number(name: &str) -> bool {
    is_unit(name) || matches!(name, "x" | "hz")
}

/// The unit that a token names; `M` alone is a month, as on charts.
fn unit_of(token: &Token<'_>) -> Option<Decimal> {
    unit(if token.text == "M" { "month" } else { token.word() })
}

/// A unit written out, so that it stands for one without a number (`every minute`).
pub(super) fn single(tokens: &[Token<'_>]) -> Option<Length> {
    let token = tokens.first()?;
    let written_out = token.word().len() > 1 && !token.word().ends_with('s');
    let ms = unit_of(token).filter(|_| written_out)?;
    Some(and_a_half(Length { ms, tokens: 1 }, ms, tokens))
}

/// `minute and a half`.
fn and_a_half(length: Length, unit: Decimal, tokens: &[Token<'_>]) -> Length {
    if words(&tokens[length.tokens..], &["and", "a", "half"]) {
        Length { ms: length.ms.saturating_add(unit / Decimal::TWO), tokens: length.tokens + 3 }
    } else {
        length
    }
}

/// Numbers and units: `5s`, `ten seconds`, `half a minute`, `an hour`, `5-second`, `1h30m`, `1 hour and 30 minutes`.
pub(super) fn length(tokens: &[Token<'_>]) -> Option<Length> {
    let (mut whole, mut smallest) = part(tokens)?;
    while let Some((more, unit)) = next_part(&tokens[whole.tokens..], smallest) {
        whole = Length { ms: whole.ms.saturating_add(more.ms), tokens: whole.tokens + more.tokens };
        smallest = unit;
    }
    Some(whole)
}

/// A further part, in a smaller unit; not `5s candles` after `for 1 hour`.
fn next_part(tokens: &[Token<'_>], smallest: Decimal) -> Option<(Length, Decimal)> {
    let and = usize::from(words(tokens, &["and"]));
    let (part, unit) = part(tokens.get(and..)?)?;
    let tokens_used = part.tokens + and;
    let goes_on = unit < smallest && !names_window(&tokens[tokens_used..]);
    goes_on.then_some((Length { tokens: tokens_used, ..part }, unit))
}

/// Whether a word for a window comes next: what stands before it is an interval.
pub(super) fn names_window(tokens: &[Token<'_>]) -> bool {
    let at = usize::from(tokens.first().is_some_and(|token| token.is_mark('-')));
    let windows = ["candle", "bar", "kline", "candlestick", "window", "bucket", "interval", "ohlc", "ohlcv"];
    tokens.get(at).is_some_and(|token| windows.contains(&token.word().trim_end_matches('s')))
}

/// One number and its unit, with the milliseconds of the unit.
fn part(tokens: &[Token<'_>]) -> Option<(Length, Decimal)> {
    let (number, mut used) = number(tokens)?;
    if tokens.get(used).is_some_and(|token| token.is_mark('-')) {
        used += 1;
    }
    let unit = unit_of(tokens.get(used)?)?;
    let ms = unit.checked_mul(number).unwrap_or(Decimal::MAX);
    Some((and_a_half(Length { ms, tokens: used + 1 }, unit, tokens), unit))
}

/// A number, and how many tokens said it.
pub(super) fn number(tokens: &[Token<'_>]) -> Option<(Decimal, usize)> {
    let (number, used) = fraction(tokens).or_else(|| couple(tokens)).or_else(|| whole(tokens))?;
    let half = words(&tokens[used..], &["and", "a", "half"]);
    Some(if half { (number.saturating_add(Decimal::new(5, 1)), used + 3) } else { (number, used) })
}

fn words(tokens: &[Token<'_>], expected: &[&str]) -> bool {
    tokens.len() >= expected.len() && tokens.iter().zip(expected).all(|(token, word)| token.word() == *word)
}

fn is_article(token: &Token<'_>) -> bool {
    matches!(token.word(), "a" | "an" | "one")
}

/// `half`, `a half`, `half a`, `quarter of an`.
fn fraction(tokens: &[Token<'_>]) -> Option<(Decimal, usize)> {
    let mut used = usize::from(is_article(tokens.first()?));
    let value = match tokens.get(used)?.word() {
        "half" => Decimal::new(5, 1),
        "quarter" => Decimal::new(25, 2),
        "fifth" => Decimal::new(2, 1),
        "tenth" => Decimal::new(1, 1),
        _ => return None,
    };
    used += 1;
    used += usize::from(words(&tokens[used..], &["of"]));
    used += usize::from(tokens.get(used).is_some_and(is_article));
    Some((value, used))
}

/// `a couple of`.
fn couple(tokens: &[Token<'_>]) -> Option<(Decimal, usize)> {
    let article = usize::from(is_article(tokens.first()?));
    (tokens.get(article)?.word() == "couple").then_some(())?;
    let used = article + 1;
    Some((Decimal::TWO, used + usize::from(words(&tokens[used..], &["of"]))))
}

fn whole(tokens: &[Token<'_>]) -> Option<(Decimal, usize)> {
    if let Kind::Number(number) = tokens.first()?.kind {
        return Some((number, 1));
    }
    let (mut value, mut used) = below_hundred(tokens)?;
    if tokens.get(used).is_some_and(|token| token.word() == "hundred") {
        value *= 100;
        used += 1;
    }
    Some((Decimal::from(value), used))
}

/// `seven`, `twenty`, `twenty-five`, `twenty five`, `a`.
fn below_hundred(tokens: &[Token<'_>]) -> Option<(u32, usize)> {
    let first = tokens.first()?;
    if is_article(first) {
        return Some((1, 1));
    }
    let Some(tens) = tens(first.word()) else { return small(first.word()).map(|value| (value, 1)) };
    let dash = usize::from(tokens.get(1).is_some_and(|token| token.is_mark('-')));
    let ones =
        tokens.get(1 + dash).and_then(|token| small(token.word())).filter(|ones| (1..10).contains(ones));
    Some(ones.map_or((tens, 1), |ones| (tens + ones, 2 + dash)))
}

fn small(word: &str) -> Option<u32> {
    const NAMES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    NAMES.iter().position(|name| *name == word).and_then(|value| u32::try_from(value).ok())
}

fn tens(word: &str) -> Option<u32> {
    const NAMES: [&str; 8] = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    NAMES.iter().position(|name| *name == word).and_then(|tens| u32::try_from(tens * 10 + 20).ok())
}

#[cfg(test)]
mod tests {
    use super::super::token::tokenize;
    use super::*;

    #[test]
    fn lengths_in_digits_and_words() {
        for (text, ms) in [
            ("5s", 5000),
            ("twenty-five seconds", 25_000),
            ("ninety ms", 90),
            ("half a minute", 30_000),
            ("a quarter of an hour", 900_000),
            ("one and a half seconds", 1500),
            ("a couple of hours", 7_200_000),
            ("five hundred ms", 500),
            ("1h30m", 5_400_000),
            ("1 hour and 30 minutes", 5_400_000),
            ("1 hour and a half", 5_400_000),
            ("1 hour 5s candles", 3_600_000),
            ("5 seconds 1 hour", 5000),
            ("1M", 2_592_000_000_i64),
        ] {
            let found = length(&tokenize(text)).map(|length| length.ms);
            assert_eq!(found, Some(Decimal::from(ms)), "{text}");
        }
        for text in ["seconds", "5", "five bananas", "half", ""] {
            assert_eq!(length(&tokenize(text)), None, "{text}");
        }
    }
}
