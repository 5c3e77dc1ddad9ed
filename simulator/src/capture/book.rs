//! The book of a Binance capture: the recorded REST snapshot, carried forward by the recorded differences.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;

use super::shift::{Family, Shift};

#[derive(Debug, Clone, Deserialize)]
struct Snapshot {
    #[serde(rename = "lastUpdateId")]
    last_update_id: u64,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Difference {
    u: u64,
    b: Vec<(String, String)>,
    a: Vec<(String, String)>,
}

type Levels = BTreeMap<Decimal, String>;

/// What `/depth` answers. Before the replay has passed the snapshot's own id, it is the snapshot as recorded.
#[derive(Debug)]
pub(super) struct RecordedBook {
    recorded: Snapshot,
    last_update_id: u64,
    bids: Levels,
    asks: Levels,
}

impl RecordedBook {
    pub(super) fn new(answer: &str) -> Option<Self> {
        let recorded: Snapshot = serde_json::from_str(answer).ok()?;
        let mut book = Self { recorded, last_update_id: 0, bids: Levels::new(), asks: Levels::new() };
        book.reset(&Shift::default());
        Some(book)
    }

    /// Back to the snapshot, its id moved as those of the round are.
    pub(super) fn reset(&mut self, shift: &Shift) {
        self.last_update_id = self.recorded.last_update_id + shift.of(Family::Book);
        self.bids = levels(&self.recorded.bids);
        self.asks = levels(&self.recorded.asks);
    }

    pub(super) fn jump(&mut self, by: u64) {
        self.last_update_id += by;
    }

    /// Applies a recorded `depthUpdate` unless it lies before the book.
    pub(super) fn apply(&mut self, frame: &str) {
        let Ok(difference) = serde_json::from_str::<Difference>(frame) else {
            return;
        };
        if difference.u <= self.last_update_id {
            return;
        }
        self.last_update_id = difference.u;
        difference.b.iter().for_each(|level| set(&mut self.bids, level));
        difference.a.iter().for_each(|level| set(&mut self.asks, level));
    }

    /// The answer of `/depth` with at most `limit` levels a side.
    pub(super) fn encode(&self, limit: usize) -> String {
        let bids = encode(self.bids.iter().rev().take(limit));
        let asks = encode(self.asks.iter().take(limit));
        format!("{{\"lastUpdateId\":{},\"bids\":[{bids}],\"asks\":[{asks}]}}", self.last_update_id)
    }
}

fn levels(recorded: &[(String, String)]) -> Levels {
    let mut levels = Levels::new();
    recorded.iter().for_each(|level| set(&mut levels, level));
    levels
}

/// A price that is not a number is passed over.
fn set(levels: &mut Levels, (price, quantity): &(String, String)) {
    let Ok(price) = price.parse::<Decimal>() else {
        return;
    };
    if quantity.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        levels.remove(&price);
    } else {
        levels.insert(price, quantity.clone());
    }
}

fn encode<'a>(levels: impl Iterator<Item = (&'a Decimal, &'a String)>) -> String {
    levels.map(|(price, quantity)| format!("[\"{price}\",\"{quantity}\"]")).collect::<Vec<_>>().join(",")
}
