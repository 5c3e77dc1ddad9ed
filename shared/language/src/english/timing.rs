//! How often, for how long, and since when.

use rust_decimal::Decimal;

use super::quantity::{Length, length, names_window, number, single};
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
    /// A number without a unit.
    WithoutUnit,
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
        .or_else(|| without_unit(tokens).map(|used| (Timing::WithoutUnit, used)))
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

/// `last 5 minutes`, `over the past hour`, `5 minutes ago`, `now-60s`, `since 5 minutes`.
fn history(tokens: &[Token<'_>]) -> Option<usize> {
    let ago = length_or_single(tokens).filter(|found| word(tokens, found.tokens) == "ago");
    if let Some(found) = ago {
        return Some(found.tokens + 1);
    }
    let now = optional(tokens, 0, &["from"]);
    if word(tokens, now) == "now" && tokens.get(now + 1).is_some_and(|token| token.is_mark('-')) {
        return after(tokens, now + 2, length).map(|found| found.tokens);
    }
    if word(tokens, 0) == "since" {
        return after(tokens, 1, length).map(|found| found.tokens);
    }
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
    // `for 1m candles` is no duration.
    (!names_window(&tokens[found.tokens..])).then_some(found)
}

fn interval(tokens: &[Token<'_>]) -> Option<Length> {
    [adverb, every, times, frequency, length, single_window].iter().find_map(|form| form(tokens))
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

/// `minute candles`, `minute by minute`.
fn single_window(tokens: &[Token<'_>]) -> Option<Length> {
    let found = single(tokens)?;
    let again = word(tokens, 1) == "by" && word(tokens, 2) == word(tokens, 0);
    if again {
        return Some(Length { tokens: 3, ..found });
    }
    names_window(&tokens[found.tokens..]).then_some(found)
}

/// `10 Hz`.
fn frequency(tokens: &[Token<'_>]) -> Option<Length> {
    let (count, used) = number(tokens)?;
    (word(tokens, used) == "hz").then_some(())?;
    let ms = Decimal::ONE_THOUSAND.checked_div(count).unwrap_or(Decimal::ZERO);
    Some(Length { ms, tokens: used + 1 })
}

/// `every 5`, without a unit; `every one` of something is none of these.
fn without_unit(tokens: &[Token<'_>]) -> Option<usize> {
    matches!(word(tokens, 0), "every" | "each" | "per").then_some(())?;
    let (_, used) = number(tokens.get(1..)?)?;
    let article = used == 1 && matches!(word(tokens, 1), "a" | "an" | "one");
    (!article).then_some(used + 1)
}

/// `twice a second`, `10 times per minute`.
fn times(tokens: &[Token<'_>]) -> Option<Length> {
    let (count, mut used) = match word(tokens, 0) {
        "once" => (Decimal::ONE, 1),
        "twice" => (Decimal::TWO, 1),
        "thrice" => (Decimal::from(3), 1),
        _ => {
            let (count, used) = number(tokens)?;
            matches!(word(tokens, used), "times" | "x").then_some((count, used + 1))?
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
        for text in [
            "every 5s",
            "per 5 seconds",
            "5-second",
            "12 times a minute",
            "once every 5s",
            "12x a minute",
            "0.2 Hz",
        ] {
            assert_eq!(read(text), Some(Timing::Interval(Decimal::from(5000))), "{text}");
        }
        for text in ["for an hour", "for the next hour", "next 60 minutes", "stop after 1h"] {
            assert_eq!(read(text), Some(Timing::Duration(Decimal::from(3_600_000))), "{text}");
        }
        for text in ["last 5 minutes", "over the past hour", "an hour ago", "now-60s", "since 5 minutes"] {
            assert_eq!(read(text), Some(Timing::History), "{text}");
        }
        assert_eq!(read("every five"), Some(Timing::WithoutUnit));
        for text in ["for BTC", "every one", "every trade", "last trade", "for 1m candles", "per"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
