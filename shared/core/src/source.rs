//! Where events come from, and how these sources fare.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use smol_str::SmolStr;

use crate::time::UnixNanos;

/// How a source fares. The same words in statuses, heartbeats and `exchange_status`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SourceState {
    /// Being reached for the first time.
    Connecting,
    /// Data flows.
    Connected,
    /// Connected, but data that should have come did not.
    Stale,
    /// Its order book cannot be trusted and is being rebuilt.
    Suspect,
    /// Lost, and being reached again.
    Reconnecting,
    /// Given up after too many attempts in a row; tried again at the longest backoff.
    Failed,
    /// Does not list the instrument or lacks the channel: no source.
    Unavailable,
    /// Lists the instrument, but refused it when asked: a source, and one that is lacking. The word on the wire is that of
    /// [`SourceState::Unavailable`].
    Refused,
}

impl SourceState {
    /// Every state that has a word of its own.
    pub const ALL: [Self; 7] = [
        Self::Connecting,
        Self::Connected,
        Self::Stale,
        Self::Suspect,
        Self::Reconnecting,
        Self::Failed,
        Self::Unavailable,
    ];

    /// The state that [`SourceState::as_str`] calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Stale => "stale",
            Self::Suspect => "suspect",
            Self::Reconnecting => "reconnecting",
            Self::Failed => "failed",
            Self::Unavailable | Self::Refused => "unavailable",
        }
    }
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one source fares, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The state.
    pub state: SourceState,
    /// When it came into this state, by our clock.
    pub since: UnixNanos,
    /// Whether its data are made up by a simulator.
    pub simulated: bool,
}

/// The latest status of every source by name (`binance`, `okx`, `social`, …): written by ingest, read by edges.
#[derive(Clone, Debug, Default)]
pub struct SourceBoard(Arc<RwLock<BTreeMap<SmolStr, SourceStatus>>>);

impl SourceBoard {
    /// Puts the status of `source`.
    pub fn put(&self, source: &str, status: SourceStatus) {
        self.0.write().insert(source.into(), status);
    }

    /// Takes `source` off the board.
    pub fn remove(&self, source: &str) {
        self.0.write().remove(source);
    }

    /// Puts up these statuses and no others.
    pub fn replace(&self, statuses: BTreeMap<SmolStr, SourceStatus>) {
        *self.0.write() = statuses;
    }

    /// All statuses by name.
    pub fn snapshot(&self) -> BTreeMap<SmolStr, SourceStatus> {
        self.0.read().clone()
    }
}
