//! Which sources a symbol has, and which of them a window lacked.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use crate::source::{SourceState, SourceStatus};
use crate::time::UnixNanos;

/// The sources of one symbol, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(BTreeMap<SmolStr, SourceWatch>);

#[derive(Clone, Copy, Debug)]
struct SourceWatch {
    state: SourceState,
    simulated: bool,
    /// The event time at which it last came up; windows that began before lacked it.
    up_since: UnixNanos,
}

impl SourceWatch {
    fn is_lacking(&self, window_start: UnixNanos) -> bool {
        match self.state {
            SourceState::Connected => window_start < self.up_since,
            SourceState::Unavailable => false,
            _ => true,
        }
    }
}

impl Sources {
    /// Sources that are still to be reached.
    pub(super) fn new(names: &BTreeSet<SmolStr>) -> Self {
        let watch =
            SourceWatch { state: SourceState::Connecting, simulated: false, up_since: UnixNanos::EPOCH };
        Self(names.iter().map(|name| (name.clone(), watch)).collect())
    }

    /// Whether `name` is one of them.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Takes note of a source's status at event time `at`; a name that is new becomes one of the sources.
    pub(super) fn put(&mut self, name: &str, status: &SourceStatus, at: Option<UnixNanos>) {
        let at = at.unwrap_or(UnixNanos::EPOCH);
        let new = SourceWatch { state: status.state, simulated: status.simulated, up_since: at };
        let watch = self.0.entry(name.into()).or_insert(new);
        if status.state == SourceState::Connected && watch.state != SourceState::Connected {
            watch.up_since = at;
        }
        (watch.state, watch.simulated) = (status.state, status.simulated);
    }

    /// Those that a window which began at `window_start` and is now closed was without, at any moment until its close.
    pub(super) fn lacking(&self, window_start: UnixNanos) -> Vec<SmolStr> {
        let lacking = self.0.iter().filter(|(_, watch)| watch.is_lacking(window_start));
        lacking.map(|(name, _)| name.clone()).collect()
    }

    /// Whether any of them is made up by a simulator.
    pub(super) fn any_simulated(&self) -> bool {
        self.0.values().any(|watch| watch.simulated && watch.state != SourceState::Unavailable)
    }
}
