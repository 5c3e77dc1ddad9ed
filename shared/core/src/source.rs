//! Where events come from, and how these sources fare.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use smol_str::{SmolStr, format_smolstr};

use crate::feed::FeedFilter;
use crate::instrument::{MarketType, Symbol, Venue};
use crate::time::UnixNanos;
use crate::topic::StreamId;

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

/// What the names of that begin which concerns one stream alone.
const OF_STREAM: &str = "stream:";

/// Whether a filter names an instrument, given as text: `okx:FOO/USDT`.
fn names(filter: &FeedFilter, instrument: &str) -> bool {
    let Some((venue, symbol)) = instrument.split_once(':') else { return false };
    let Ok(symbol) = Symbol::parse(symbol) else { return false };
    let is_named = filter.symbols.contains(&symbol) || filter.symbols.contains(&symbol.on(MarketType::Spot));
    let takes = |venue: Venue| filter.venues.is_empty() || filter.venues.contains(&venue);
    is_named && venue.parse().is_ok_and(takes)
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

    /// The name under which `name` is shown to the clients of `stream` alone.
    pub fn name_for(stream: &StreamId, name: &str) -> SmolStr {
        format_smolstr!("{OF_STREAM}{stream}:{name}")
    }

    /// What the clients of a stream are shown: what everybody is, and what concerns this stream alone.
    pub fn for_stream(&self, stream: &StreamId) -> BTreeMap<SmolStr, SourceStatus> {
        let all = self.0.read();
        let prefix = Self::name_for(stream, "");
        let own = all.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(prefix.as_str()));
        let own = own.map(|(name, status)| (SmolStr::new(&name[prefix.len()..]), status.clone()));
        let everybodys = all.iter().filter(|(name, _)| !name.contains(':'));
        everybodys.map(|(name, status)| (name.clone(), status.clone())).chain(own).collect()
    }

    /// What a feed is shown: what everybody is, and the instruments that it names and that cannot be had.
    pub fn for_feed(&self, filter: Option<&FeedFilter>) -> BTreeMap<SmolStr, SourceStatus> {
        let names = |name: &str| filter.is_some_and(|filter| names(filter, name));
        let all = self.0.read();
        let shown = all.iter().filter(|(name, _)| !name.contains(':') || names(name));
        shown.map(|(name, status)| (name.clone(), status.clone())).collect()
    }

    /// All statuses by name.
    pub fn snapshot(&self) -> BTreeMap<SmolStr, SourceStatus> {
        self.0.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_shown_what_is_everybodys_and_what_is_theirs() {
        let board = SourceBoard::default();
        let own = StreamId::from_bytes([7; 8]);
        let status =
            SourceStatus { state: SourceState::Unavailable, since: UnixNanos::EPOCH, simulated: false };
        for name in ["okx", "social", "okx:FOO/USDT", "okx:FOO/USDT:USDT", "okx:BAR/USDT"] {
            board.put(name, status.clone());
        }
        board.put(&SourceBoard::name_for(&own, "okx:BAZ/USDT"), status.clone());
        board.put(&SourceBoard::name_for(&StreamId::from_bytes([8; 8]), "example.com#1"), status);
        let names = |shown: BTreeMap<SmolStr, SourceStatus>| shown.into_keys().collect::<Vec<_>>();
        assert_eq!(names(board.for_stream(&own)), ["okx", "okx:BAZ/USDT", "social"]);
        assert_eq!(names(board.for_feed(None)), ["okx", "social"]);
        assert_eq!(names(board.for_feed(Some(&FeedFilter::default()))), ["okx", "social"]);
        let symbols = [Symbol::parse("FOO/USDT").expect("symbol")].into();
        let filter = FeedFilter { symbols, ..FeedFilter::default() };
        assert_eq!(
            names(board.for_feed(Some(&filter))),
            ["okx", "okx:FOO/USDT", "okx:FOO/USDT:USDT", "social"]
        );
    }
}
