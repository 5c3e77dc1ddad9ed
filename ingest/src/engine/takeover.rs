//! What a new writer reads from the log to go on where the previous writer stopped.
//!
//! For each symbol of a stream, windows go on after the last window in the stream's log. The windows that nobody wrote in between are
//! written late, with `complete: false`. A longer window of `resample` or `count` that was in progress is also marked as incomplete,
//! because its first part was only in the memory of the previous writer. Transforms have no other state that outlasts a window.
//!
//! For example, the log of a stream with an interval of 5 s ends with the windows up to 10:00:10 for BTC/USDT and up to 10:00:05 for
//! ETH/USDT, and a new writer starts at 10:00:22. BTC/USDT goes on with the window 10:00:10 to 10:00:15, and ETH/USDT with 10:00:05 to
//! 10:00:10, so that clients see no hole and no window twice. Windows without events repeat the prices that the last window carried.
//!
//! A topic's history may belong to a stream that no longer exists. If a stream was deleted while no writer ran, its topic is still in
//! the log. If it was also created again, the new stream has the same id, and therefore the same topic, but must not continue the old
//! numbers. The two cases are told apart by time: a history that ended before the current stream was created is the old one's.

use std::collections::BTreeMap;

use bond_core::instrument::Symbol;
use bond_core::log::{EventLog, Item, LogError, Run};
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use bond_core::window::WindowTakeover;

/// How many of the latest events are read to find each symbol's last window. The events of one window are appended together, one for each
/// symbol, so this covers the last window of a stream with up to 256 symbols.
const LAST_EVENTS: u64 = 256;

/// The last window of each symbol of a stream, by the symbol's name in aggregates.
#[derive(Debug, Default, PartialEq)]
pub(super) struct StreamTakeover(BTreeMap<String, WindowTakeover>);

impl StreamTakeover {
    /// The last window of a symbol; `None` stands for `*`.
    pub(super) fn of(&self, symbol: Option<&Symbol>) -> Option<WindowTakeover> {
        let name = symbol.map_or_else(|| "*".to_owned(), ToString::to_string);
        self.0.get(&name).copied()
    }

    /// Whether no window was found.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The last windows of each stream.
pub(super) type Legacies = BTreeMap<StreamId, StreamTakeover>;

/// Everything in the log that a new writer has to deal with.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TakeoverState {
    /// The streams that are still in the registry, with the windows from which they go on.
    pub(super) streams: Legacies,
    /// The topics of streams that were deleted while no writer ran. They are ended, also if the stream was created again since.
    pub(super) orphans: Vec<Topic>,
    /// The topics of markets. Whether feeds still want them is known only after the feeds have renewed their leases.
    pub(super) feeds: Vec<Topic>,
}

/// Reads the log. `wanted` are the streams in the registry, with the time at which each was created.
pub(super) async fn read(
    log: &dyn EventLog,
    wanted: &BTreeMap<StreamId, UnixNanos>,
) -> Result<TakeoverState, LogError> {
    let mut found = TakeoverState::default();
    for topic in log.topics().await? {
        let Topic::Stream(id) = &topic else {
            found.feeds.push(topic);
            continue;
        };
        match (wanted.get(id), last_events(log, &topic).await?) {
            (Some(created_at), Some(run)) if !predates(&run, *created_at) => {
                found.streams.insert(id.clone(), last_windows(&run));
            }
            _ => found.orphans.push(topic),
        }
    }
    Ok(found)
}

async fn last_events(log: &dyn EventLog, topic: &Topic) -> Result<Option<Run>, LogError> {
    let Some(Position { epoch, seq }) = log.head(topic).await? else { return Ok(None) };
    let after = Position { epoch, seq: seq.saturating_sub(LAST_EVENTS) };
    log.read(topic, Some(&after), LAST_EVENTS as usize).await
}

/// Whether the last event is older than the current stream: the history then belongs to an earlier stream of the same id.
fn predates(run: &Run, created_at: UnixNanos) -> bool {
    let last = run.items.iter().rev().find_map(|item| match item {
        Item::Event(entry) => Some(entry.at),
        Item::Status(_) => None,
    });
    last.is_some_and(|at| at < created_at)
}

/// The last window of each symbol: a later event replaces an earlier one of the same symbol.
fn last_windows(run: &Run) -> StreamTakeover {
    let carried = run.items.iter().filter_map(|item| match item {
        Item::Event(entry) => WindowTakeover::from_record(&entry.record),
        Item::Status(_) => None,
    });
    StreamTakeover(carried.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bond_core::log::{EventKind, Record};
    use bond_core::memory::{MemoryLog, Retention};
    use bond_core::time::ManualClock;

    use super::*;

    fn window(symbol: &str, end: i64, price: u32) -> Record {
        let body = format!(r#""symbol":"{symbol}","price_close":{price}"#).into();
        let ts = UnixNanos::from_secs(end);
        Record { kind: EventKind::Aggregate, ts, order: ts, body, changes: None }
    }

    fn stream(digit: u8) -> StreamId {
        StreamId::from_bytes([digit; 8])
    }

    #[tokio::test]
    async fn each_symbol_goes_on_after_its_last_window_and_deleted_streams_end() {
        let retention =
            Retention { ring: Duration::from_secs(60), topic_bytes: 1 << 20, total_bytes: 1 << 20 };
        let log = MemoryLog::new(retention, Arc::new(ManualClock::new(UnixNanos::from_secs(100))), 1);
        let fence = log.acquire().await.expect("fence");
        let windows = [("BTC/USDT", 95, 1), ("ETH/USDT", 95, 2), ("BTC/USDT", 100, 3)];
        let records: Vec<_> =
            windows.into_iter().map(|(symbol, end, price)| window(symbol, end, price)).collect();
        let feed: Topic = "trades.okx.BTC-USDT".parse().expect("topic");
        for topic in [1, 2, 3].map(|digit| Topic::Stream(stream(digit))).into_iter().chain([feed.clone()]) {
            log.append(fence, &topic, records.clone()).await.expect("append");
        }

        let wanted = [(stream(1), UnixNanos::from_secs(50)), (stream(3), UnixNanos::from_secs(101))];
        let found = read(&log, &wanted.into()).await.expect("read");
        let ends = |symbol: &str| {
            let carried = found.streams[&stream(1)].of(Some(&Symbol::parse(symbol).expect("symbol")));
            carried.map(|carried| carried.window_end)
        };
        assert_eq!(ends("BTC/USDT"), Some(UnixNanos::from_secs(100)));
        assert_eq!(ends("ETH/USDT"), Some(UnixNanos::from_secs(95)));
        assert_eq!(ends("SOL/USDT"), None);
        let orphans: std::collections::BTreeSet<_> = found.orphans.iter().cloned().collect();
        assert_eq!(orphans, [2, 3].map(|digit| Topic::Stream(stream(digit))).into());
        assert_eq!(found.feeds, [feed]);
    }
}
