//! Reads venues' JSON: in one pass, without copying, and with numbers as text until they are parsed exactly.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bond_core::decimal::{Price, Quantity, Rate};
use bond_core::event::{Level, Side, Ticker};
use bond_core::time::UnixNanos;
use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Reject;

/// The first string value of `key` (written with its quotes) in a frame, found without parsing. It is a hint how to parse the frame, and the
/// parser must check it.
pub(super) fn peek<'a>(frame: &'a str, key: &str) -> Option<&'a str> {
    frame.match_indices(key).find_map(|(at, _)| {
        let value = frame[at + key.len()..].trim_ascii_start().strip_prefix(':')?;
        let (text, _) = value.trim_ascii_start().strip_prefix('"')?.split_once('"')?;
        Some(text)
    })
}

/// Parses a frame. An error has a short reason, by which rejections are counted. On captured frames serde_json was as fast as sonic-rs
/// (0.5 µs for a trade, from text to event).
pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Reject> {
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

/// Parses a REST answer.
pub(super) fn parse_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Reject> {
    serde_json::from_slice(body).map_err(|error| malformed(&error))
}

/// Serde's message without line and column, so that equal mistakes have equal reasons.
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

/// A venue's time of an event: `None` if the venue gives none, an error if the value cannot be a time.
pub(super) type Time = Result<Option<UnixNanos>, Reject>;

/// The years 2001 to 2100 in seconds since the Unix epoch. The same range in milliseconds, microseconds and nanoseconds does not
/// overlap, so that a number's size tells its unit.
const CENTURY: Range<i64> = 978_307_200..4_133_980_800;

/// Reads a time from a number in milliseconds, microseconds (Binance's `timeUnit`) or nanoseconds.
pub(super) fn time(number: i64) -> Time {
    let nanos = [1_000_000, 1_000, 1].into_iter().find_map(|nanos_per_unit| {
        let units_per_second = 1_000_000_000 / nanos_per_unit;
        CENTURY.contains(&number.div_euclid(units_per_second)).then(|| number.checked_mul(nanos_per_unit))?
    });
    nanos
        .map(|nanos| Some(UnixNanos::from_nanos(nanos)))
        .ok_or_else(|| Reject::Time(number.to_string().into()))
}

/// Reads a time from a number in a string.
pub(super) fn time_text(text: &str) -> Time {
    let number: i64 = text.parse().map_err(|_| Reject::Time(text.chars().take(40).collect()))?;
    time(number)
}

/// One side of the best prices: unchanged, empty, or a price with its amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Best {
    pub(super) price: Option<Price>,
    pub(super) size: Option<Quantity>,
    pub(super) is_empty: bool,
}

impl Best {
    /// Reads a side. If it is absent, the side is unchanged. An empty text, or a price or amount of zero, means that the side is empty.
    pub(super) fn read(
        (field, text): (&'static str, Option<&str>),
        (size_field, size_text): (&'static str, Option<&str>),
        amount: impl FnOnce(&'static str, &str) -> Result<Quantity, Reject>,
    ) -> Result<Self, Reject> {
        let (found, size) = (optional(price, field, text)?, optional(amount, size_field, size_text)?);
        let no_price = text.is_some() && found.is_none_or(|price| !is_above_zero(price.get()));
        let no_size = size.is_some_and(|size| !is_above_zero(size.get()));
        if no_price || no_size {
            return Ok(Self { is_empty: true, ..Self::default() });
        }
        Ok(Self { price: found, size, is_empty: false })
    }

    /// The best of a side's levels. A side without levels is empty in a whole book, and unchanged in an update.
    pub(super) fn of(levels: &[Level], is_whole: bool) -> Self {
        match levels.first() {
            Some(level) if !level.size.is_zero() => {
                Self { price: Some(level.price), size: Some(level.size), is_empty: false }
            }
            first => Self { is_empty: is_whole || first.is_some(), ..Self::default() },
        }
    }
}

/// The best bid and ask as figures of a ticker.
pub(super) fn quote(bid: Best, ask: Best) -> Ticker {
    Ticker {
        bid: bid.price,
        bid_size: bid.size,
        no_bid: bid.is_empty,
        ask: ask.price,
        ask_size: ask.size,
        no_ask: ask.is_empty,
        ..Ticker::default()
    }
}

/// Whether a number can be the price or the amount of a trade.
pub(super) fn is_above_zero(number: Decimal) -> bool {
    number > Decimal::ZERO
}

/// Whether `name` occurs in a venue's text as a whole word: `BTC-USDT` does not occur in `BTC-USDT-SWAP`, nor `books` in `books5`.
pub(super) fn mentions(words: &str, name: &str, joiners: &[char]) -> bool {
    let ends_word = |c: char| !c.is_alphanumeric() && !joiners.contains(&c);
    words.split(ends_word).any(|word| word.trim_end_matches('.') == name)
}

/// Whether a venue's name of an instrument consists of letters and digits of any script, none of them lower case.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() && !c.is_lowercase())
}

/// A name as part of a URL's query.
pub(super) fn in_query(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

/// A list whose items are read one by one, so that an item that cannot be read does not affect the others.
pub(super) struct Items<T> {
    pub(super) good: Vec<T>,
    pub(super) bad: Vec<Reject>,
}

impl<T> From<Vec<T>> for Items<T> {
    fn from(good: Vec<T>) -> Self {
        Self { good, bad: Vec::new() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor(PhantomData))
    }
}

struct ItemsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ItemsVisitor<T> {
    type Value = Items<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Items::from(Vec::new());
        while let Some(item) = seq.next_element::<&'de RawValue>()? {
            match parse(item.get()) {
                Ok(item) => items.good.push(item),
                Err(reject) => items.bad.push(reject),
            }
        }
        Ok(items)
    }
}

/// A level of an order book: `[price, size, …]`. Whatever follows the size is ignored.
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
    fn a_time_is_known_by_its_size() {
        let read = |number| time(number).map(|time| time.map(UnixNanos::as_nanos));
        let nanos = 1_756_220_468_099_005_007;
        assert_eq!(read(nanos / 1_000_000), Ok(Some(nanos / 1_000_000 * 1_000_000)));
        assert_eq!(read(nanos / 1_000), Ok(Some(nanos / 1_000 * 1_000)));
        assert_eq!(read(nanos), Ok(Some(nanos)));
        for nonsense in [i64::MIN, -1, 0, 1, 1_756_220_468, 99_999_999_999_999, i64::MAX] {
            assert_eq!(time(nonsense), Err(Reject::Time(nonsense.to_string().into())));
        }
        for nonsense in ["", "now", "1756220468099.5", "99999999999999999999"] {
            assert_eq!(time_text(nonsense), Err(Reject::Time(nonsense.into())));
        }
    }

    #[test]
    fn a_side_is_unchanged_empty_or_a_price() {
        let read = |price, size| Best::read(("p", price), ("q", size), quantity).map(|best| best.is_empty);
        assert_eq!(Best::read(("p", None), ("q", None), quantity), Ok(Best::default()));
        for (price, size) in [("", ""), ("", "0"), ("0", "0"), ("0.000", "1"), ("1", "0.00"), ("-1", "1")] {
            assert_eq!(read(Some(price), Some(size)), Ok(true), "{price} {size}");
        }
        assert_eq!(read(Some("1"), Some("2")), Ok(false));
        assert_eq!(read(None, Some("2")), Ok(false), "a new amount at the same price");
        assert_eq!(read(None, Some("0")), Ok(true));
        assert!(read(Some("x"), None).is_err());
    }

    #[test]
    fn an_item_that_cannot_be_read_costs_itself() {
        let items: Items<u64> = parse(r#"[1, "2", 3, null, {"a":[]}]"#).expect("a list");
        assert_eq!((items.good, items.bad.len()), (vec![1, 3], 3));
        assert!(parse::<Items<u64>>("[1, 2").is_err() && parse::<Items<u64>>("{}").is_err());
    }

    #[test]
    fn a_name_is_mentioned_as_a_whole_or_not_at_all() {
        let topic = "publicTrade.DEADUSDT";
        for words in
            ["Invalid symbol :[publicTrade.DEADUSDT]", "no publicTrade.DEADUSDT.", "publicTrade.DEADUSDT"]
        {
            assert!(mentions(words, topic, &['.']), "{words}");
        }
        assert!(!mentions("publicTrade.DEADUSDT2", topic, &['.']));
        assert!(!mentions("publicTrade.币DEADUSDT", topic, &['.']));
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
