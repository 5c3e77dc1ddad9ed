//! What an earlier writer left in the log, and where a new one goes on.
//!
//! A stream's windows go on after the last one in its log, per symbol: those missed since are given out late, and say that they are not
//! complete. So does a longer window of `resample` or `count` that was under way, since its first part was counted in the memory of the
//! writer that is gone. Nothing else of a transform outlives a window.

use std::collections::BTreeMap;

use bond_core::instrument::Symbol;
use bond_core::log::{EventLog, Item, LogError, Run};
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use bond_core::window::WindowTakeover;

/// The most events that are read to find each symbol's last window. A window's events are appended together, one for each symbol.
const LAST_EVENTS: u64 = 256;

/// Where an earlier writer left off with each symbol of a stream, by the name that aggregates carry.
#[derive(Debug, Default, PartialEq)]
pub(super) struct StreamTakeover(BTreeMap<String, WindowTakeover>);

impl StreamTakeover {
    /// What it left of a symbol, or of `*`.
    pub(super) fn of(&self, symbol: Option<&Symbol>) -> Option<WindowTakeover> {
        let name = symbol.map_or_else(|| "*".to_owned(), ToString::to_string);
        self.0.get(&name).copied()
    }

    /// Whether nothing was left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where an earlier writer left off with each stream.
pub(super) type Legacies = BTreeMap<StreamId, StreamTakeover>;

/// All that an earlier writer left.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TakeoverState {
    /// The streams that are still wanted.
    pub(super) streams: Legacies,
    /// Streams that were deleted, or deleted and created again, while nobody wrote.
    pub(super) orphans: Vec<Topic>,
    /// The other topics; whether they are wanted is not known before feeds renew their wishes.
    pub(super) feeds: Vec<Topic>,
}

/// Reads what was left, given the streams that are wanted and when each was created.
pub(super) async fn read(
    log: &dyn EventLog,
    wanted: &BTreeMap<StreamId, UnixNanos>,
) -> Result<TakeoverState, LogError> {
    let mut inheritance = TakeoverState::default();
    for topic in log.topics().await? {
        let Topic::Stream(id) = &topic else {
            inheritance.feeds.push(topic);
            continue;
        };
        match (wanted.get(id), last_events(log, &topic).await?) {
            (Some(created_at), Some(run)) if !predates(&run, *created_at) => {
                inheritance.streams.insert(id.clone(), legacy(&run));
            }
            _ => inheritance.orphans.push(topic),
        }
    }
    Ok(inheritance)
}

async fn last_events(log: &dyn EventLog, topic: &Topic) -> Result<Option<Run>, LogError> {
    let Some(Position { epoch, seq }) = log.head(topic).await? else { return Ok(None) };
    let after = Position { epoch, seq: seq.saturating_sub(LAST_EVENTS) };
    log.read(topic, Some(&after), LAST_EVENTS as usize).await
}

/// Whether the history ended before the stream that is wanted now was created: it belongs to one that was deleted.
fn predates(run: &Run, created_at: UnixNanos) -> bool {
    let last = run.items.iter().rev().find_map(|item| match item {
        Item::Event(entry) => Some(entry.at),
        Item::Status(_) => None,
    });
    last.is_some_and(|at| at < created_at)
}

fn legacy(run: &Run) -> StreamTakeover {
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
