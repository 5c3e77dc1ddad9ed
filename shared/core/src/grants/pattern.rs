//! Patterns of topic names.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use crate::topic::is_segment;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256;

/// Stands for one segment.
const ONE: &str = "*";

/// Stands for one segment or more, at the end of a pattern.
const REST: &str = ">";

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a pattern of topics: segments of 1 to 64 letters, digits, _ and - with dots between, * for any one segment, > at the end for all \
     that follow, {MAX_PATTERN_BYTES} bytes at most: {0}"
)]
pub struct PatternError(String);

/// Which topics, by their dotted names: `prices.IN1234567890`, `prices.*`, `prices.>`, `>`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TopicPattern(SmolStr);

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if is_pattern(text) {
            Ok(Self(text.into()))
        } else {
            Err(PatternError(text.chars().take(80).collect()))
        }
    }

    /// The pattern of every topic.
    pub const fn all() -> Self {
        Self(SmolStr::new_static(REST))
    }

    /// A text that was put together of segments and is one.
    pub(super) const fn trusted(text: SmolStr) -> Self {
        Self(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic of this name is one of these. The case of letters counts.
    pub fn covers(&self, topic: &str) -> bool {
        let mut names = topic.split('.');
        for wanted in self.0.split('.') {
            match names.next() {
                None | Some("") => return false,
                Some(_) if wanted == REST => return names.all(|name| !name.is_empty()),
                Some(name) if wanted != ONE && wanted != name => return false,
                Some(_) => {}
            }
        }
        names.next().is_none()
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TopicPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TopicPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&SmolStr::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn is_pattern(text: &str) -> bool {
    let (head, last) = text.rsplit_once('.').map_or((None, text), |(head, last)| (Some(head), last));
    let is_one = |segment: &str| segment == ONE || is_segment(segment);
    text.len() <= MAX_PATTERN_BYTES
        && (last == REST || is_one(last))
        && head.is_none_or(|head| head.split('.').all(is_one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_says_and_nothing_else() {
        let cases = [
            ("prices.IN1", &["prices.IN1"][..], &["prices", "prices.in1", "prices.IN1.x", "prices.IN12"][..]),
            (
                "prices.*",
                &["prices.IN1", "prices.BTC-USDT"],
                &["prices", "prices.", "prices.a.b", "auctions.a"],
            ),
            (
                "prices.>",
                &["prices.IN1", "prices.a.b.c"],
                &["prices", "prices.", "prices..a", "prices.a.", "price.a"],
            ),
            (
                "risk.*.alerts",
                &["risk.u1.alerts"],
                &["risk.u1", "risk.alerts", "risk.u1.x", "risk.u1.alerts.x"],
            ),
            (">", &["prices.a", "system", "trades.binance.币安人生-USDT"], &["", ".", "a.", ".a"]),
            ("*", &["system"], &["", "prices.a"]),
        ];
        for (pattern, inside, outside) in cases {
            let pattern = TopicPattern::parse(pattern).expect(pattern);
            for topic in inside {
                assert!(pattern.covers(topic), "{pattern} covers {topic}");
            }
            for topic in outside {
                assert!(!pattern.covers(topic), "{pattern} does not cover {topic}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_one_is() {
        let long = ["a".repeat(65), format!("a.{}.>", "b".repeat(65)), vec!["a".repeat(63); 5].join(".")];
        let plain =
            ["", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a*", "a.b*", "a>", "a b", "a/b", "币", "a.\n"];
        for text in plain.into_iter().chain(long.iter().map(String::as_str)) {
            let refused = TopicPattern::parse(text).expect_err(text).to_string();
            assert!(refused.contains("segments of 1 to 64"), "{refused}");
        }
        assert!(TopicPattern::parse(&vec!["a".repeat(63); 4].join(".")).is_ok(), "255 bytes");
    }

    #[test]
    fn a_segment_keeps_its_case_and_has_a_bound() {
        assert!(["a", "User_1", "IN-1", &"x".repeat(64)].into_iter().all(is_segment));
        assert!(["", "a.b", "*", ">", "é", &"x".repeat(65)].iter().all(|text| !is_segment(text)));
    }
}
