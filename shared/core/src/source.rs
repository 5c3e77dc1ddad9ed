//! The sources of events, and the health of each.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use smol_str::{SmolStr, format_smolstr};

use crate::feed::FeedFilter;
use crate::instrument::{MarketType, Symbol, Venue};
use crate::time::UnixNanos;
use crate::topic::StreamId;

/// The health of a source. Statuses, heartbeats and `exchange_status` use the same words.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SourceState {
    /// Bond is connecting for the first time.
    Connecting,
    /// Data flows.
    Connected,
    /// The connection is up, but data that should have come did not.
    Stale,
    /// The order book cannot be trusted and is being rebuilt.
    Suspect,
    /// The connection was lost, and Bond is connecting again.
    Reconnecting,
    /// Too many attempts in a row have failed. Bond goes on trying, at the longest backoff.
    Failed,
    /// The venue does not list the instrument or does not have the channel. Aggregates do not count it as a source.
    Unavailable,
    /// The venue lists the instrument, but refused the subscription. Aggregates count it as a source that is missing. The word on the
    /// wire is the same as for [`SourceState::Unavailable`].
    Refused,
}

impl SourceState {
    /// Every state with a word of its own, that is all but `Refused`.
    pub const ALL: [Self; 7] = [
        Self::Connecting,
        Self::Connected,
        Self::Stale,
        Self::Suspect,
        Self::Reconnecting,
        Self::Failed,
        Self::Unavailable,
    ];

    /// The state that has this word on the wire.
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

/// The state of one source, and since when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The state.
    pub state: SourceState,
    /// When the source entered this state, by our clock.
    pub since: UnixNanos,
    /// Whether a simulator makes up the source's data.
    pub simulated: bool,
}

/// The prefix of the names of sources that concern one stream only.
const OF_STREAM: &str = "stream:";

/// Whether a filter names an instrument that is given as text: `okx:FOO/USDT`.
fn names(filter: &FeedFilter, instrument: &str) -> bool {
    let Some((venue, symbol)) = instrument.split_once(':') else { return false };
    let Ok(symbol) = Symbol::parse(symbol) else { return false };
    let is_named = filter.symbols.contains(&symbol) || filter.symbols.contains(&symbol.on(MarketType::Spot));
    let takes = |venue: Venue| filter.venues.is_empty() || filter.venues.contains(&venue);
    is_named && venue.parse().is_ok_and(takes)
}

/// A table of source statuses: the latest status of every source by name (`binance`, `okx`, `social`, …). Ingest writes it, edges read
/// it.
#[derive(Clone, Debug, Default)]
pub struct SourceBoard(Arc<RwLock<BTreeMap<SmolStr, SourceStatus>>>);

impl SourceBoard {
    /// Sets the status of `source`.
    pub fn put(&self, source: &str, status: SourceStatus) {
        self.0.write().insert(source.into(), status);
    }

    /// Removes `source`.
    pub fn remove(&self, source: &str) {
        self.0.write().remove(source);
    }

    /// Replaces all statuses by these.
    pub fn replace(&self, statuses: BTreeMap<SmolStr, SourceStatus>) {
        *self.0.write() = statuses;
    }

    /// The name in this table of a source `name` that only the clients of `stream` see.
    pub fn name_for(stream: &StreamId, name: &str) -> SmolStr {
        format_smolstr!("{OF_STREAM}{stream}:{name}")
    }

    /// The statuses that clients of a stream see: the common ones, and those that concern this stream only.
    pub fn for_stream(&self, stream: &StreamId) -> BTreeMap<SmolStr, SourceStatus> {
        let all = self.0.read();
        let prefix = Self::name_for(stream, "");
        let own = all.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(prefix.as_str()));
        let own = own.map(|(name, status)| (SmolStr::new(&name[prefix.len()..]), status.clone()));
        let everybodys = all.iter().filter(|(name, _)| !name.contains(':'));
        everybodys.map(|(name, status)| (name.clone(), status.clone())).chain(own).collect()
    }

    /// The statuses that a feed sees: the common ones, and those of instruments that its filter names and that are unavailable.
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
