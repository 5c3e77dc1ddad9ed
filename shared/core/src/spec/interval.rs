//! The length of an aggregate's window.

use std::fmt;
use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The shortest window, in ms.
const MIN_MS: u32 = 100;

/// The longest window, in ms: a day.
const MAX_MS: u32 = 86_400_000;

/// A window of 0.1 to 86,400 seconds, in whole milliseconds. As JSON it is a number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Interval {
    ms: u32,
}

/// Why a length is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// Shorter than 0.1 s or longer than a day.
    #[error("an interval is 0.1 to 86400 seconds")]
    OutOfRange,
    /// Not a whole number of milliseconds.
    #[error("an interval is a whole number of milliseconds")]
    TooFine,
}

impl Interval {
    /// What a spec means that names no interval: 5 s.
    pub const DEFAULT: Self = Self { ms: 5000 };

    /// An interval of `ms` milliseconds.
    ///
    /// # Errors
    /// [`IntervalError::OutOfRange`].
    pub fn from_millis(ms: u64) -> Result<Self, IntervalError> {
        let ms = u32::try_from(ms).map_err(|_| IntervalError::OutOfRange)?;
        (MIN_MS..=MAX_MS).contains(&ms).then_some(Self { ms }).ok_or(IntervalError::OutOfRange)
    }

    /// An interval of `ms` milliseconds, given exactly.
    ///
    /// # Errors
    /// [`IntervalError`].
    pub fn from_exact_millis(ms: Decimal) -> Result<Self, IntervalError> {
        if ms < Decimal::from(MIN_MS) || ms > Decimal::from(MAX_MS) {
            return Err(IntervalError::OutOfRange);
        }
        if !ms.fract().is_zero() {
            return Err(IntervalError::TooFine);
        }
        ms.to_u64().ok_or(IntervalError::OutOfRange).and_then(Self::from_millis)
    }

    /// An interval of a JSON number of seconds.
    ///
    /// # Errors
    /// [`IntervalError`].
    pub fn from_json_seconds(number: &serde_json::Number) -> Result<Self, IntervalError> {
        let text = number.to_string();
        let seconds = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text));
        let ms = seconds.ok().and_then(|seconds| seconds.checked_mul(Decimal::ONE_THOUSAND));
        ms.ok_or(IntervalError::OutOfRange).and_then(Self::from_exact_millis)
    }

    /// The length in milliseconds.
    pub const fn as_millis(self) -> u32 {
        self.ms
    }

    /// The length.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.ms as u64)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", Decimal::new(i64::from(self.ms), 3).normalize())
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.ms.is_multiple_of(1000) {
            serializer.serialize_u32(self.ms / 1000)
        } else {
            serializer.serialize_f64(f64::from(self.ms) / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json_seconds(&serde_json::Number::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(json: &str) -> Result<u32, IntervalError> {
        let number = serde_json::from_str(json).expect("a number");
        Interval::from_json_seconds(&number).map(Interval::as_millis)
    }

    #[test]
    fn seconds_are_read_exactly_and_within_bounds() {
        for (json, ms) in [("5", 5000), ("0.1", 100), ("0.333", 333), ("1e-1", 100), ("86400.0", 86_400_000)]
        {
            assert_eq!(seconds(json), Ok(ms), "{json}");
        }
        for json in ["0", "-5", "0.099", "86400.001", "1e300", "-1e-300", "18446744073709551615"] {
            assert_eq!(seconds(json), Err(IntervalError::OutOfRange), "{json}");
        }
        assert_eq!(seconds("0.1001"), Err(IntervalError::TooFine));
    }

    #[test]
    fn every_interval_is_written_as_it_is_read() {
        for ms in (100..5000).chain([86_399_999, 86_400_000]) {
            let interval = Interval::from_millis(ms).expect("in range");
            let json = serde_json::to_string(&interval).expect("a number");
            assert_eq!(seconds(&json).map(u64::from), Ok(ms), "{json}");
        }
        assert_eq!(serde_json::to_string(&Interval::DEFAULT).expect("a number"), "5");
    }
}
