//! Reading venues' JSON: borrowed, in one pass, with numbers kept as text until they are parsed exactly.

use std::fmt;

use bond_core::decimal::{Price, Quantity, Rate};
use bond_core::event::Side;
use bond_core::time::UnixNanos;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use super::Reject;

/// The first string value of `key` (written with its quotes) in a frame, found without parsing. It is a hint about what to parse:
/// the parse that follows must not take it for granted.
pub(super) fn peek<'a>(frame: &'a str, key: &str) -> Option<&'a str> {
    frame.match_indices(key).find_map(|(at, _)| {
        let value = frame[at + key.len()..].trim_ascii_start().strip_prefix(':')?;
        let (text, _) = value.trim_ascii_start().strip_prefix('"')?.split_once('"')?;
        Some(text)
    })
}

/// Parses a frame, or fails with a reason short enough to be counted. On captured frames serde_json was as fast as sonic-rs (0.5 µs
/// for a trade, from text to event).
pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Reject> {
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

/// Parses a REST answer.
pub(super) fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Reject> {
    serde_json::from_slice(body).map_err(|error| malformed(&error))
}

/// Serde's words without the place, so that equal mistakes have equal reasons.
fn malformed(error: &serde_json::Error) -> Reject {
    let words = error.to_string();
    let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
    Reject::Malformed(words.chars().take(100).collect())
}

/// Parses a price.
pub(super) fn price(field: &'static str, text: &str) -> Result<Price, Reject> {
    Price::parse(text).map_err(|error| Reject::Number { field, error })
}

/// Parses an amount.
pub(super) fn quantity(field: &'static str, text: &str) -> Result<Quantity, Reject> {
    Quantity::parse(text).map_err(|error| Reject::Number { field, error })
}

/// Parses a rate.
pub(super) fn rate(field: &'static str, text: &str) -> Result<Rate, Reject> {
    Rate::parse(text).map_err(|error| Reject::Number { field, error })
}

/// Parses a field that may be missing or an empty string.
pub(super) fn optional<T>(
    parse: impl FnOnce(&'static str, &str) -> Result<T, Reject>,
    field: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, Reject> {
    text.filter(|text| !text.is_empty()).map(|text| parse(field, text)).transpose()
}

/// Parses an order's side, in any case of letters.
pub(super) fn side(field: &'static str, text: &str) -> Result<Side, Reject> {
    match text {
        _ if text.eq_ignore_ascii_case("buy") => Ok(Side::Buy),
        _ if text.eq_ignore_ascii_case("sell") => Ok(Side::Sell),
        _ => Err(Reject::Malformed(format!("{field} is neither buy nor sell"))),
    }
}

/// Parses milliseconds since the Unix epoch that come as a string.
pub(super) fn millis(field: &'static str, text: &str) -> Result<UnixNanos, Reject> {
    let millis: Result<i64, _> = text.parse();
    millis
        .map(UnixNanos::from_millis)
        .map_err(|_| Reject::Malformed(format!("{field} is no time in milliseconds")))
}

/// A level of an order book: `[price, size, …]`; what follows the size is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelText<'a> {
    pub(super) price: &'a str,
    pub(super) size: &'a str,
}

impl<'de: 'a, 'a> Deserialize<'de> for LevelText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(LevelVisitor)
    }
}

struct LevelVisitor;

impl<'de> Visitor<'de> for LevelVisitor {
    type Value = LevelText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a level: price and size")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let price = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let size = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LevelText { price, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peek_reads_a_key_and_no_value() {
        let frame = r#"{"a":"stream","stream" : "btcusdt@trade","data":{"stream":"x"}}"#;
        assert_eq!(peek(frame, "\"stream\""), Some("btcusdt@trade"));
        assert_eq!(peek(r#"{"stream":1}"#, "\"stream\""), None);
        assert_eq!(peek(r#"{"stream":"cut"#, "\"stream\""), None);
        assert_eq!(peek("", "\"stream\""), None);
    }

    #[test]
    fn a_level_has_a_price_and_a_size() {
        let read = |text| serde_json::from_str::<LevelText<'_>>(text).map_err(|_| ());
        let level = LevelText { price: "1.5", size: "2" };
        assert_eq!(read(r#"["1.5","2"]"#), Ok(level));
        assert_eq!(read(r#"["1.5","2","0","4"]"#), Ok(level));
        assert_eq!(read(r#"["1.5"]"#), Err(()));
        assert_eq!(read("[]"), Err(()));
    }
}
