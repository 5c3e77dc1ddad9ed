//! How often, for how long, and since when.

use rust_decimal::Decimal;

use super::quantity::{Length, length, number, single};
use super::token::Token;

/// What a phrase about time asks for, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Timing {
    /// A window.
    Interval(Decimal),
    /// A life of the stream.
    Duration(Decimal),
    /// Something that is over.
    History,
    /// A figure over the venue's own rolling day.
    RollingDay,
}

/// The phrase about time that `tokens` begin with, and its length in tokens.
pub(super) fn timing(tokens: &[Token<'_>]) -> Option<(Timing, usize)> {
    let of = |timing: fn(Decimal) -> Timing| move |found: Length| (timing(found.ms), found.tokens);
    rolling_day(tokens)
        .map(|used| (Timing::RollingDay, used))
        .or_else(|| history(tokens).map(|used| (Timing::History, used)))
        .or_else(|| duration(tokens).map(of(Timing::Duration)))
        .or_else(|| interval(tokens).map(of(Timing::Interval)))
}

fn word<'t>(tokens: &'t [Token<'_>], at: usize) -> &'t str {
    tokens.get(at).map_or("", |token| token.word())
}

/// How many tokens from `at` on are one of `words`: one or none.
fn optional(tokens: &[Token<'_>], at: usize, words: &[&str]) -> usize {
    usize::from(words.contains(&word(tokens, at)))
}

fn after(tokens: &[Token<'_>], used: usize, of: fn(&[Token<'_>]) -> Option<Length>) -> Option<Length> {
    let found = of(tokens.get(used..)?)?;
    Some(Length { tokens: found.tokens + used, ..found })
}

/// A length, or a unit that stands for one of it.
fn length_or_single(tokens: &[Token<'_>]) -> Option<Length> {
    length(tokens).or_else(|| single(tokens))
}

/// `24h volume`: the venue's rolling statistics.
fn rolling_day(tokens: &[Token<'_>]) -> Option<usize> {
    let found = length(tokens).filter(|found| found.ms == Decimal::from(86_400_000))?;
    let figure = ["volume", "high", "low", "change", "turnover", "stats", "statistics"];
    figure.contains(&word(tokens, found.tokens)).then_some(found.tokens + 1)
}

/// `last 5 minutes`, `over the past hour`.
fn history(tokens: &[Token<'_>]) -> Option<usize> {
    let mut used = optional(tokens, 0, &["for", "over", "of", "from", "in", "during", "since"]);
    used += optional(tokens, used, &["the"]);
    matches!(word(tokens, used), "last" | "past" | "previous").then_some(())?;
    after(tokens, used + 1, length_or_single).map(|found| found.tokens)
}

/// `for 1 hour`, `for the next 30 minutes`, `stop after an hour`.
fn duration(tokens: &[Token<'_>]) -> Option<Length> {
    let (lead, firm) = match (word(tokens, 0), word(tokens, 1)) {
        ("stop" | "end" | "ends" | "stops", "after" | "in")
        | ("expires" | "expire" | "expiring", "in" | "after") => (2, true),
        ("for" | "lasting", _) => (1, true),
        ("over" | "during" | "within" | "in", _) => (1, false),
        _ => (0, false),
    };
    let lead = lead + optional(tokens, lead, &["the", "about", "only", "just"]);
    let next = optional(tokens, lead, &["next", "coming", "following", "upcoming"]);
    let found = match (next, firm) {
        (1, _) => after(tokens, lead + 1, length_or_single)?,
        (_, true) => after(tokens, lead, length)?,
        _ => return None,
    };
    (!is_window(tokens, found.tokens)).then_some(found)
}

/// `for 1m candles` is no duration.
fn is_window(tokens: &[Token<'_>], used: usize) -> bool {
    let at = used + usize::from(tokens.get(used).is_some_and(|token| token.is_mark('-')));
    let windows = ["candle", "bar", "kline", "candlestick", "window", "bucket", "interval", "ohlc", "ohlcv"];
    windows.contains(&word(tokens, at).trim_end_matches('s'))
}

fn interval(tokens: &[Token<'_>]) -> Option<Length> {
    adverb(tokens).or_else(|| every(tokens)).or_else(|| times(tokens)).or_else(|| length(tokens))
}

fn adverb(tokens: &[Token<'_>]) -> Option<Length> {
    let ms: u64 = match word(tokens, 0) {
        "minutely" => 60_000,
        "hourly" => 3_600_000,
        "daily" => 86_400_000,
        "weekly" => 604_800_000,
        "monthly" => 2_592_000_000,
        "yearly" | "annually" => 31_536_000_000,
        _ => return None,
    };
    Some(Length { ms: Decimal::from(ms), tokens: 1 })
}

/// `every 5s`, `once per minute`, `each other second`, `every -5s`.
fn every(tokens: &[Token<'_>]) -> Option<Length> {
    let once = optional(tokens, 0, &["once"]);
    matches!(word(tokens, once), "every" | "each" | "per").then_some(())?;
    let used = once + 1;
    if word(tokens, used) == "other" {
        let other = after(tokens, used + 1, single)?;
        return Some(Length { ms: other.ms.saturating_add(other.ms), ..other });
    }
    if tokens.get(used).is_some_and(|token| token.is_mark('-')) {
        return after(tokens, used + 1, length).map(|found| Length { ms: -found.ms, ..found });
    }
    after(tokens, used, length_or_single)
}

/// `twice a second`, `10 times per minute`.
fn times(tokens: &[Token<'_>]) -> Option<Length> {
    let (count, mut used) = match word(tokens, 0) {
        "once" => (Decimal::ONE, 1),
        "twice" => (Decimal::TWO, 1),
        "thrice" => (Decimal::from(3), 1),
        _ => {
            let (count, used) = number(tokens)?;
            (word(tokens, used) == "times").then_some((count, used + 1))?
        }
    };
    used += optional(tokens, used, &["in"]);
    let lead = optional(tokens, used, &["a", "an", "per", "each", "every"]);
    (lead == 1).then_some(())?;
    let found = after(tokens, used + 1, length_or_single)?;
    Some(Length { ms: found.ms.checked_div(count).unwrap_or(Decimal::ZERO), ..found })
}

#[cfg(test)]
mod tests {
    use super::super::token::tokenize;
    use super::*;

    fn read(text: &str) -> Option<Timing> {
        timing(&tokenize(text)).map(|(timing, _)| timing)
    }

    #[test]
    fn time_has_three_uses() {
        for text in ["every 5s", "per 5 seconds", "5-second", "12 times a minute", "once every 5s"] {
            assert_eq!(read(text), Some(Timing::Interval(Decimal::from(5000))), "{text}");
        }
        for text in ["for an hour", "for the next hour", "next 60 minutes", "stop after 1h"] {
            assert_eq!(read(text), Some(Timing::Duration(Decimal::from(3_600_000))), "{text}");
        }
        for text in ["last 5 minutes", "over the past hour"] {
            assert_eq!(read(text), Some(Timing::History), "{text}");
        }
        for text in ["for BTC", "every trade", "last trade", "for 1m candles", "per"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
