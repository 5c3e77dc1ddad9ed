//! The fields that an aggregate has, and what transforms make of them.

use std::collections::BTreeSet;

use bond_core::spec::Transform;
use smol_str::SmolStr;

/// Fields of an aggregate that are numbers.
const FIGURES: [&str; 12] = [
    "price_avg",
    "price_open",
    "price_high",
    "price_low",
    "price_close",
    "bid_avg",
    "ask_avg",
    "volume_sum",
    "vwap",
    "tweets",
    "custom_count",
    "late",
];

/// Figures that the channel funding adds.
const FUNDING_FIGURES: [&str; 3] = ["funding_rate", "mark", "index"];

/// The other fields of an aggregate.
const MARKS: [&str; 7] =
    ["ts", "window_start", "window_end", "symbol", "complete", "raw_data", "by_exchange"];

/// The fields that an event has before a transform.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    figures: BTreeSet<SmolStr>,
    marks: BTreeSet<SmolStr>,
}

impl Fields {
    /// Those of an aggregate.
    pub(super) fn of_aggregate(has_funding: bool) -> Self {
        let funding = FUNDING_FIGURES.iter().filter(|_| has_funding);
        Self {
            figures: FIGURES.iter().chain(funding).map(|name| SmolStr::new_static(name)).collect(),
            marks: MARKS.map(SmolStr::new_static).into(),
        }
    }

    pub(super) fn has_figure(&self, name: &str) -> bool {
        self.figures.contains(name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.figures.contains(name) || self.marks.contains(name)
    }

    /// The names of the figures, for messages.
    pub(super) fn figure_names(&self) -> String {
        self.figures.iter().map(SmolStr::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The fields after `transform`.
    pub(super) fn apply(&mut self, transform: &Transform) {
        match transform {
            Transform::Resample { on, agg, .. } => {
                self.figures.extend(agg.iter().map(|agg| SmolStr::from(format!("{on}_{agg}"))));
            }
            Transform::Count { name, .. } => {
                self.figures.insert(name.clone());
            }
            Transform::Project { fields, named } => {
                self.figures.retain(|name| fields.contains(name));
                self.figures.extend(named.keys().cloned());
                self.marks.retain(|name| fields.contains(name));
            }
        }
    }
}
