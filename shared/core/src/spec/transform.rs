//! What is done, in order, with the aggregates of a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::interval::Interval;
use super::source::{read_texts, texts};

/// One step over the aggregates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum Transform {
    /// Reduces one figure over a longer window: gives `{on}_{agg}` for each of `agg`.
    Resample {
        /// The longer window.
        window: Window,
        /// The figure.
        on: SmolStr,
        /// How it is reduced; never empty.
        #[serde(serialize_with = "texts", deserialize_with = "read_texts")]
        agg: BTreeSet<Agg>,
    },
    /// Counts events over a longer window.
    Count {
        /// The longer window.
        window: Window,
        /// The name of the field it gives.
        #[serde(rename = "as")]
        name: SmolStr,
    },
    /// Keeps these fields and gives figures new names, and keeps what tells events apart: `window_start`, `window_end` and `symbol`.
    Project {
        /// The fields.
        fields: BTreeSet<SmolStr>,
        /// New names, and the figure that each stands for.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        named: BTreeMap<SmolStr, SmolStr>,
    },
}

impl Transform {
    /// Its longer window, if it has one.
    pub const fn window(&self) -> Option<Window> {
        match self {
            Self::Resample { window, .. } | Self::Count { window, .. } => Some(*window),
            Self::Project { .. } => None,
        }
    }
}

/// How a figure is reduced. The order is that of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Agg {
    /// How many there were.
    Count,
    /// The last one.
    Last,
    /// The greatest.
    Max,
    /// The arithmetic mean.
    Mean,
    /// The least.
    Min,
    /// The sum.
    Sum,
}

impl Agg {
    /// Every one of them.
    pub const ALL: [Self; 6] = [Self::Count, Self::Last, Self::Max, Self::Mean, Self::Min, Self::Sum];

    /// The name in specs and in the fields it gives.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Last => "last",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Sum => "sum",
        }
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|agg| agg.name() == name)
    }
}

impl fmt::Display for Agg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no aggregation's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown aggregation: {0}; known are count, last, max, mean, min, sum")]
pub struct UnknownAgg(String);

impl FromStr for Agg {
    type Err = UnknownAgg;

    fn from_str(name: &str) -> Result<Self, UnknownAgg> {
        Self::from_name(name).ok_or_else(|| UnknownAgg(name.chars().take(40).collect()))
    }
}

/// The window of a transform: as long as an [`Interval`] may be, written `60s` or `500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(Interval);

impl Window {
    /// Parses `500ms`, `60s`, `1m`, `1h`, `1d`: a whole number and a unit.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms: u64 = match unit.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
        Interval::from_millis(ms).ok().map(Self)
    }

    /// Its length.
    pub const fn as_duration(self) -> Duration {
        self.0.as_duration()
    }

    /// Whether it is made of whole intervals of `ms` milliseconds.
    pub const fn is_multiple_of_ms(self, ms: u32) -> bool {
        self.0.as_millis().is_multiple_of(ms)
    }

    /// Its length in milliseconds.
    pub const fn as_millis(self) -> u32 {
        self.0.as_millis()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_millis();
        if ms.is_multiple_of(1000) { write!(f, "{}s", ms / 1000) } else { write!(f, "{ms}ms") }
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SmolStr::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom(format!("not a window: {text}")))
    }
}
