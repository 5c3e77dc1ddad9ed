//! The history of one topic: a ring of items, oldest first.

use std::collections::VecDeque;

use bytes::Bytes;

use std::time::Duration;

use smol_str::SmolStr;

use crate::log::{
    Entry, Gap, GapReason, Item, Kept, LEAST_KEPT, LEAST_KEPT_FOR, Publication, PublishedState, Record, Run,
};
use crate::position::{Epoch, Position};
use crate::time::UnixNanos;

/// The kept part of one epoch of a topic.
#[derive(Debug)]
pub(super) struct Ring {
    epoch: Epoch,
    /// The number of the last event; 0 before the first.
    head: u64,
    /// The number of the oldest kept event, or the next one's where none is kept.
    first: u64,
    /// How many items have been dropped: the ordinal of the oldest kept item.
    dropped: u64,
    items: VecDeque<Item>,
    bytes: usize,
    last_at: UnixNanos,
    /// What publishers have made of it, where it is theirs.
    folded: Option<Folded>,
}

/// The state of a published topic at its head.
#[derive(Debug)]
struct Folded {
    ts: UnixNanos,
    state: Option<Bytes>,
    entry: Option<SmolStr>,
}

/// A reader's place between two items, statuses included.
#[derive(Clone, Debug)]
pub(super) struct RecordMeta {
    epoch: Epoch,
    seq: u64,
    ordinal: u64,
}

impl Ring {
    pub(super) const fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            head: 0,
            first: 1,
            dropped: 0,
            items: VecDeque::new(),
            bytes: 0,
            last_at: UnixNanos::from_nanos(i64::MIN),
            folded: None,
        }
    }

    pub(super) const fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn head(&self) -> Position {
        Position { epoch: self.epoch.clone(), seq: self.head }
    }

    /// Appends records and gives the first one's number.
    pub(super) fn append(&mut self, records: Vec<Record>, now: UnixNanos) -> u64 {
        let first = self.head + 1;
        let at = self.stamp(now);
        for record in records {
            self.head += 1;
            self.push(Item::Event(Entry { seq: self.head, at, record }));
        }
        first
    }

    /// Appends a publisher's batch with the state that it makes, and gives the first event's number.
    pub(super) fn publish(&mut self, publication: Publication, now: UnixNanos) -> u64 {
        let Publication { records, state, entry, .. } = publication;
        let ts = records.last().map_or(now, |record| record.ts);
        let before = self.folded.take();
        self.bytes -= before.as_ref().map_or(0, Folded::bytes);
        let entry = entry.or_else(|| before.and_then(|folded| folded.entry));
        let folded = Folded { ts, state, entry };
        self.bytes += folded.bytes();
        self.folded = Some(folded);
        self.append(records, now)
    }

    /// The head, and the state there, of a published topic.
    pub(super) fn state(&self) -> Option<PublishedState> {
        let Folded { ts, state, entry } = self.folded.as_ref()?;
        Some(PublishedState { position: self.head(), ts: *ts, state: state.clone(), entry: entry.clone() })
    }

    /// Whether nothing was published for as long as a topic is kept.
    pub(super) fn is_over(&self, now: UnixNanos, ttl: Duration) -> bool {
        self.folded.is_some() && self.last_at < now.minus(ttl)
    }

    /// Keeps a status after the last event.
    pub(super) fn keep(&mut self, body: Bytes, now: UnixNanos) {
        let at = self.stamp(now);
        self.push(Item::Status(Kept { after_seq: self.head, at, body }));
    }

    /// `now`, but not earlier than the newest item: the system's clock may step back.
    fn stamp(&mut self, now: UnixNanos) -> UnixNanos {
        self.last_at = self.last_at.max(now);
        self.last_at
    }

    fn push(&mut self, item: Item) {
        self.bytes += size(&item);
        self.items.push_back(item);
    }

    /// Drops what is older than `length`, but for the newest events of a published topic.
    pub(super) fn drop_older(&mut self, now: UnixNanos, length: Duration) {
        let least = if self.folded.is_some() { LEAST_KEPT } else { 0 };
        let (oldest, oldest_of_least) = (now.minus(length), now.minus(length.max(LEAST_KEPT_FOR)));
        while self
            .items
            .front()
            .is_some_and(|item| at(item) < oldest && (self.items.len() > least || at(item) < oldest_of_least))
        {
            self.drop_oldest();
        }
    }

    /// Drops the oldest items until at most `bound` bytes are left, but never the newest.
    pub(super) fn shrink_to(&mut self, bound: usize) {
        while self.bytes > bound && self.items.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(item) = self.items.pop_front() else { return };
        self.dropped += 1;
        self.bytes -= size(&item);
        if let Item::Event(entry) = item {
            self.first = entry.seq + 1;
        }
    }

    /// The position before the first event appended at or after `time`.
    pub(super) fn position_at(&self, time: UnixNanos) -> Position {
        let index = self.items.partition_point(|item| at(item) < time);
        let event = self.items.range(index..).find_map(|item| match item {
            Item::Event(entry) => Some(entry.seq),
            Item::Status(_) => None,
        });
        Position { epoch: self.epoch.clone(), seq: event.map_or(self.head, |seq| seq - 1) }
    }

    /// The place after `after`, or else the oldest place, and the gap before it.
    pub(super) fn place(&self, after: Option<&Position>) -> (RecordMeta, Option<Gap>) {
        let oldest = self.place_at(0);
        let Some(after) = after else { return (oldest, None) };
        if after.epoch != self.epoch || after.seq > self.head {
            return (oldest, Some(self.missing(None, GapReason::EpochChanged)));
        }
        let index = self.items.partition_point(|item| comes_before(item, after.seq));
        let behind = after.seq + 1 < self.first;
        (self.place_at(index), behind.then(|| self.missing(Some(after.seq + 1), GapReason::BehindRing)))
    }

    /// The place at which a reader at `place` goes on, and what it missed.
    pub(super) fn resume(&self, place: &RecordMeta) -> (RecordMeta, Option<Gap>) {
        if place.epoch != self.epoch {
            return (self.place_at(0), Some(self.missing(None, GapReason::EpochChanged)));
        }
        let index = usize::try_from(place.ordinal.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        let behind = place.seq + 1 < self.first;
        (self.place_at(index), behind.then(|| self.missing(Some(place.seq + 1), GapReason::BehindRing)))
    }

    const fn missing(&self, from_seq: Option<u64>, reason: GapReason) -> Gap {
        Gap { from_seq, to_seq: self.first - 1, reason }
    }

    fn place_at(&self, index: usize) -> RecordMeta {
        let seq = match self.items.get(index) {
            Some(Item::Event(entry)) => entry.seq - 1,
            Some(Item::Status(kept)) => kept.after_seq,
            None => self.head,
        };
        RecordMeta { epoch: self.epoch.clone(), seq, ordinal: self.dropped + index as u64 }
    }

    /// Reads on from `place` (which must stand in this ring): up to `limit` events and the statuses before and between them.
    /// Returns the place after them too.
    pub(super) fn take(&self, place: &RecordMeta, gap: Option<Gap>, limit: usize) -> (Run, RecordMeta) {
        let start = usize::try_from(place.ordinal - self.dropped).unwrap_or(usize::MAX).min(self.items.len());
        let mut events = 0;
        let within_limit = |item: &&Item| {
            let room = events < limit;
            events += usize::from(matches!(item, Item::Event(_)));
            room
        };
        let items: Vec<Item> = self.items.range(start..).take_while(within_limit).cloned().collect();
        let end = self.place_at(start + items.len());
        (Run { epoch: self.epoch.clone(), gap, items }, end)
    }

    /// Whether something comes after `place`.
    pub(super) fn has_after(&self, place: &RecordMeta) -> bool {
        place.ordinal < self.dropped + self.items.len() as u64
    }
}

const fn at(item: &Item) -> UnixNanos {
    match item {
        Item::Event(entry) => entry.at,
        Item::Status(kept) => kept.at,
    }
}

/// Whether a reader that asks for what comes after event `seq` is past `item`. Statuses kept after `seq` are yet to come.
const fn comes_before(item: &Item, seq: u64) -> bool {
    match item {
        Item::Event(entry) => entry.seq <= seq,
        Item::Status(kept) => kept.after_seq < seq,
    }
}

impl Folded {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.state.as_ref().map_or(0, Bytes::len)
    }
}

/// What an item takes in memory.
fn size(item: &Item) -> usize {
    let body = match item {
        Item::Event(Entry { record, .. }) => {
            record.body.len() + record.changes.as_ref().map_or(0, Bytes::len)
        }
        Item::Status(kept) => kept.body.len(),
    };
    size_of::<Item>() + body
}
