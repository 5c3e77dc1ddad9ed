//! What a ring holds: the items' places, numbers and times beside the tape of their frames.

mod cursors;
mod deflated;
mod folding;
#[cfg(test)]
mod tests;
mod thinned;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::Channel;
use bond_core::log::{Entry, EventKind, Gap, GapReason, Item, Kept, Run};
use bond_core::log::{LEAST_KEPT, LEAST_KEPT_FOR, PublishedState};
use bond_core::message::envelope::{self, Place};
use bond_core::message::{ServerMessage, to_json};
use bond_core::position::{Epoch, Position};
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bond_core::wire;
use bytes::Bytes;

use super::cursor::{BehindRing, Cursor, Frames, Pick, Retention};
use super::deflate::DeflatedForms;
use super::frame;
use super::frame_buffer::FrameBuffer;
use folding::{Folding, PublishedMeta};

/// How much longer than the window items are kept: whoever joins at the window's very beginning must not find it gone a moment later.
const GRACE: Duration = Duration::from_secs(2);

/// How many epochs are remembered, for cursors that are still in one before the current.
const EPOCHS: usize = 8;

/// What a slow client is sent on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conflation {
    /// The newest event, being complete in itself.
    Newest,
    /// The events of the latest window, or where the stream has no windows, as [`Conflation::Oldest`].
    Window,
    /// The middle of what is kept: the oldest are dropped.
    Oldest,
}

impl Conflation {
    fn of(topic: &Topic) -> Self {
        match topic {
            Topic::Stream(_) => Self::Window,
            Topic::Market(market) => match market.channel {
                Channel::Ticker | Channel::OrderBook | Channel::Funding => Self::Newest,
                Channel::Trades | Channel::Liquidations => Self::Oldest,
            },
            Topic::Raw(_) | Topic::Published(_) => Self::Oldest,
        }
    }
}

/// Where one item lies and what it is. A gap or status carries the number of the event it follows.
#[derive(Debug)]
struct ItemMeta {
    end: u64,
    seq: u64,
    generation: u32,
    kind: Option<EventKind>,
    at: UnixNanos,
    ts: UnixNanos,
    order: UnixNanos,
    arrival: u64,
    changes: Option<Bytes>,
    published: Option<Box<PublishedMeta>>,
    deflated: Option<Arc<DeflatedForms>>,
}

impl ItemMeta {
    /// What it takes besides its frame and itself.
    fn extra_bytes(&self) -> u64 {
        self.changes.as_ref().map_or(0, |changes| changes.len() as u64)
            + self.published.as_deref().map_or(0, PublishedMeta::bytes)
            + self.deflated.as_deref().map_or(0, DeflatedForms::counted)
    }

    fn cursor(&self) -> Cursor {
        Cursor { offset: self.end, seq: self.seq, generation: self.generation }
    }
}

/// The items of one topic, oldest first.
#[derive(Debug)]
pub(crate) struct History {
    name: String,
    conflation: Conflation,
    retention: Retention,
    epoch: Option<Epoch>,
    generation: u32,
    /// The latest epochs by generation, the oldest first.
    epochs: VecDeque<(u32, Epoch)>,
    /// The number of the newest event.
    head: u64,
    places: VecDeque<ItemMeta>,
    /// Where statuses and gaps lie, which quiet connections skip.
    asides: VecDeque<(u64, u64)>,
    tape: FrameBuffer,
    /// The offset of the oldest kept item.
    start: u64,
    extra_bytes: u64,
    phase: Phase,
    /// Where the current epoch begins, after the gap that announces it.
    epoch_start: u64,
    /// Whether the topic has ended, and no epoch has followed yet.
    has_ended: bool,
    /// What a published topic has besides; these alone have it.
    folding: Option<Box<Folding>>,
}

/// Whether the ring holds what the log held when the ring began.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Unknown,
    Filling(Position),
    Ready,
}

impl History {
    pub(crate) fn new(topic: &Topic, name: &str, retention: Retention) -> Self {
        Self {
            name: name.to_owned(),
            conflation: Conflation::of(topic),
            retention,
            epoch: None,
            generation: 1,
            epochs: VecDeque::new(),
            head: 0,
            places: VecDeque::new(),
            asides: VecDeque::new(),
            tape: FrameBuffer::default(),
            start: 0,
            extra_bytes: 0,
            phase: Phase::Unknown,
            epoch_start: 0,
            has_ended: false,
            folding: matches!(topic, Topic::Published(_)).then(Box::default),
        }
    }

    pub(crate) fn begin(&mut self, head: Option<Position>, kept: bool, state: Option<PublishedState>) {
        if let Some(folding) = &mut self.folding {
            folding.begin(state);
        }
        self.phase = match head {
            Some(head) if kept => Phase::Filling(head),
            Some(head) => {
                self.head = head.seq;
                self.enter(head.epoch);
                Phase::Ready
            }
            None => Phase::Ready,
        };
    }

    fn enter(&mut self, epoch: Epoch) {
        self.epochs.push_back((self.generation, epoch.clone()));
        if self.epochs.len() > EPOCHS {
            self.epochs.pop_front();
        }
        self.epoch = Some(epoch);
    }

    /// The log's head when the ring began, while the ring does not hold it yet.
    pub(crate) const fn filling(&self) -> Option<&Position> {
        match &self.phase {
            Phase::Filling(head) => Some(head),
            Phase::Unknown | Phase::Ready => None,
        }
    }

    /// The topic has ended. Its followers may still take what is here; whoever joins from here on gets nothing of it.
    pub(crate) fn end(&mut self, now: UnixNanos, arrival: &mut u64) {
        if let Some(mut folding) = self.folding.take() {
            folding.end();
            self.folding = Some(folding);
            self.tell_end(now, arrival);
        }
        self.generation += 1;
        self.epoch_start = self.tape.end();
        self.has_ended = true;
    }

    /// Tells the followers of a published topic that it has ended. They stay: it may be published to again.
    fn tell_end(&mut self, now: UnixNanos, arrival: &mut u64) {
        let Some(epoch) = self.epoch.clone().filter(|_| !self.has_ended) else { return };
        let mut block = Vec::new();
        let kept = Kept { after_seq: self.head, at: now, body: Bytes::from_static(br#""state":"ended""#) };
        self.status(&epoch, &kept, arrival, &mut block);
        self.tape.push(block.into());
        self.head = 0;
    }

    /// Takes a run. What is there already (tails deliver at least once) is left out, and what still comes of an epoch that has ended.
    pub(crate) fn append(&mut self, run: &Run, arrival: &mut u64) {
        if self.has_ended && self.epoch.as_ref() == Some(&run.epoch) {
            return;
        }
        let mut block = Vec::with_capacity(run.items.len() * 256);
        self.continue_from(run, arrival, &mut block);
        for item in &run.items {
            match item {
                Item::Event(entry) if entry.seq <= self.head => {}
                Item::Event(entry) => self.event(&run.epoch, entry, arrival, &mut block),
                Item::Status(kept) => self.status(&run.epoch, kept, arrival, &mut block),
            }
        }
        self.tape.push(block.into());
    }

    /// Announces what is missing between the newest item and the run.
    fn continue_from(&mut self, run: &Run, arrival: &mut u64, block: &mut Vec<u8>) {
        let first = first_seq(run);
        let to_seq = first.saturating_sub(1);
        let is_new = self.epoch.as_ref() != Some(&run.epoch);
        let gap = match (&self.epoch, run.gap) {
            (None, _) => None,
            (Some(_), _) if is_new => Some(Gap { from_seq: None, to_seq, reason: GapReason::EpochChanged }),
            (Some(_), Some(gap)) => Some(Gap { from_seq: Some(self.head + 1), to_seq, reason: gap.reason }),
            (Some(_), None) => None,
        };
        if is_new {
            self.generation += u32::from(self.epoch.is_some());
            self.enter(run.epoch.clone());
            self.has_ended = false;
            self.head = to_seq;
        }
        if let Some(gap) = gap {
            self.head = self.head.max(to_seq);
            let at = run.items.first().map_or(UnixNanos::EPOCH, item_time);
            let json = match &mut self.folding {
                Some(folding) => {
                    if !is_new || to_seq > 0 {
                        folding.lose();
                    }
                    envelope::gap(&self.name, Some(&run.epoch), gap, at)
                }
                None => to_json(&ServerMessage::gap(&self.name, &run.epoch, gap)),
            };
            self.aside(&json, to_seq, at, arrival, block);
        }
        if is_new {
            self.epoch_start = self.tape.end() + block.len() as u64;
        }
    }

    fn event(&mut self, epoch: &Epoch, entry: &Entry, arrival: &mut u64, block: &mut Vec<u8>) {
        let record = &entry.record;
        let encode = |body: &[u8], out: &mut Vec<u8>| {
            frame::text(&wire::frame(&self.name, epoch, entry.seq, record.ts, record.kind, body), out);
        };
        encode(&record.body, block);
        let changes = record.changes.as_ref().map(|body| {
            let mut changes = Vec::with_capacity(body.len() + 256);
            encode(body, &mut changes);
            Bytes::from(changes)
        });
        let published = self.folding.as_mut().and_then(|folding| folding.take(epoch, entry));
        self.head = entry.seq;
        let end = self.tape.end() + block.len() as u64;
        let place = ItemMeta {
            end,
            seq: entry.seq,
            generation: self.generation,
            kind: Some(record.kind),
            at: entry.at,
            ts: record.ts,
            order: record.order,
            arrival: next(arrival),
            changes,
            published,
            deflated: None,
        };
        self.extra_bytes += place.extra_bytes();
        self.places.push_back(place);
        self.note_fill(epoch, entry.seq);
    }

    /// Takes note once the ring holds what the log held when the ring began.
    fn note_fill(&mut self, epoch: &Epoch, seq: u64) {
        if let Phase::Filling(target) = &self.phase
            && (target.epoch != *epoch || seq >= target.seq)
        {
            self.phase = Phase::Ready;
        }
    }

    fn status(&mut self, epoch: &Epoch, kept: &Kept, arrival: &mut u64, block: &mut Vec<u8>) {
        let json = if self.folding.is_some() {
            let place = Place { topic: &self.name, epoch: Some(epoch), seq: kept.after_seq };
            envelope::status(place, &String::from_utf8_lossy(&kept.body), kept.at)
        } else {
            wire::status(&self.name, epoch, kept.after_seq, &kept.body)
        };
        self.aside(&json, kept.after_seq, kept.at, arrival, block);
    }

    fn aside(&mut self, json: &[u8], seq: u64, at: UnixNanos, arrival: &mut u64, block: &mut Vec<u8>) {
        let start = self.tape.end() + block.len() as u64;
        frame::text(json, block);
        let end = self.tape.end() + block.len() as u64;
        self.asides.push_back((start, end));
        self.places.push_back(ItemMeta {
            end,
            seq,
            generation: self.generation,
            kind: None,
            at,
            ts: at,
            order: at,
            arrival: next(arrival),
            changes: None,
            published: None,
            deflated: None,
        });
    }

    pub(crate) fn trim(&mut self, now: UnixNanos) {
        let oldest = now.minus(self.retention.window).minus(GRACE);
        let most = self.retention.bytes;
        let Some(_) = self.folding else {
            return self.drop_while(|place, bytes| place.at < oldest || bytes > most);
        };
        let oldest_of_least = now.minus(self.retention.window.max(LEAST_KEPT_FOR)).minus(GRACE);
        let mut spare = self.places.len().saturating_sub(LEAST_KEPT);
        self.drop_while(|place, bytes| {
            let is_spare = spare > 0;
            spare = spare.saturating_sub(1);
            (is_spare && place.at < oldest) || place.at < oldest_of_least || bytes > most
        });
    }

    /// Drops what is oldest, until `most` bytes are left.
    pub(crate) fn shrink_to(&mut self, most: u64) {
        self.drop_while(|_, bytes| bytes > most);
    }

    /// How much is held: frames, and what is kept beside each.
    pub(crate) fn bytes(&self) -> u64 {
        let beside = self.places.len() * size_of::<ItemMeta>();
        self.tape.end() - self.start + self.extra_bytes + beside as u64
    }

    /// Drops items from the front, for as long as `is_too_much` of the first and of the bytes that are held.
    fn drop_while(&mut self, mut is_too_much: impl FnMut(&ItemMeta, u64) -> bool) {
        while let Some(place) = self.places.front() {
            if !is_too_much(place, self.bytes()) {
                break;
            }
            self.start = place.end;
            self.extra_bytes -= place.extra_bytes();
            self.places.pop_front();
        }
        while self.asides.front().is_some_and(|aside| aside.1 <= self.start) {
            self.asides.pop_front();
        }
        self.tape.trim(self.start);
    }

    /// How many kept items end at or before `offset`.
    fn index_after(&self, offset: u64) -> usize {
        self.places.partition_point(|place| place.end <= offset)
    }

    pub(crate) fn frames(
        &self,
        cursor: Cursor,
        control: bool,
        budget: u64,
        into: &mut Frames,
    ) -> Result<(), BehindRing> {
        if cursor.offset < self.start {
            return Err(BehindRing);
        }
        into.slices.clear();
        let (from, limit) = self.span(cursor.offset, control);
        (into.from, into.to, into.events) = (from, Cursor { offset: from, ..cursor }, 0);
        into.more = false;
        let first = self.index_after(from);
        let fitting = self.index_after(limit.min(from + budget)).max(first + 1);
        let Some(last) = self.places.get(fitting - 1).filter(|last| last.end <= limit) else { return Ok(()) };
        into.to = last.cursor();
        into.newest = last.at;
        into.more = last.end < self.tape.end();
        into.events = (fitting - first - self.asides_between(from, last.end)) as u64;
        self.tape.slices(from, last.end, &mut into.slices);
        Ok(())
    }

    /// The stretch after `offset` that may be sent as it lies: all of it, or for quiet connections what is between two asides.
    fn span(&self, offset: u64, control: bool) -> (u64, u64) {
        let (mut from, mut limit) = (offset, self.tape.end());
        if !control {
            let next = self.asides.partition_point(|aside| aside.1 <= offset);
            for (start, end) in self.asides.range(next..) {
                if *start > from {
                    limit = *start;
                    break;
                }
                from = *end;
            }
        }
        (from, limit)
    }

    fn asides_between(&self, from: u64, to: u64) -> usize {
        let before = |offset| self.asides.partition_point(|aside| aside.1 <= offset);
        before(to) - before(from)
    }

    pub(crate) fn picks(
        &self,
        cursor: Cursor,
        control: bool,
        limit: usize,
        into: &mut Vec<Pick>,
    ) -> Result<(), BehindRing> {
        if cursor.offset < self.start {
            return Err(BehindRing);
        }
        let first = self.index_after(cursor.offset);
        let wanted = |index: &usize| control || self.places[*index].kind.is_some();
        into.extend((first..self.places.len()).filter(wanted).take(limit).map(|index| self.pick(index)));
        Ok(())
    }

    fn pick(&self, index: usize) -> Pick {
        let place = &self.places[index];
        let start = index.checked_sub(1).map_or(self.start, |before| self.places[before].end);
        Pick {
            to: place.cursor(),
            arrival: place.arrival,
            order: place.order,
            at: place.at,
            kind: place.kind,
            frame: self.tape.frame(start, place.end),
            changes: place.changes.clone(),
            deflated: place.deflated.clone(),
            subtopic: place.published.as_ref().and_then(|published| published.subtopic.clone()),
            is_state: false,
        }
    }

    pub(crate) fn newest(&self, cursor: Cursor) -> Option<Pick> {
        let index = self.places.iter().rposition(|place| place.kind.is_some())?;
        (self.places[index].end > cursor.offset).then(|| self.pick(index))
    }

    pub(crate) fn head(&self) -> Cursor {
        Cursor { offset: self.tape.end(), seq: self.head, generation: self.generation }
    }

    /// The number of the newest event, and its time; `None` for a topic without any.
    pub(crate) fn latest(&self) -> Option<(u64, UnixNanos)> {
        if self.head == 0 || self.has_ended {
            return None;
        }
        let newest = self.places.iter().rev().find(|place| place.kind.is_some()).map(|place| place.ts);
        let folded = || self.folding.as_ref().and_then(|folding| folding.time());
        Some((self.head, newest.or_else(folded)?))
    }

    pub(crate) fn first_after(&self, cursor: Cursor) -> Option<UnixNanos> {
        let after = self.places.range(self.index_after(cursor.offset)..);
        after.into_iter().find(|place| place.kind.is_some()).map(|place| place.at)
    }

    pub(crate) fn frame_end(&self, offset: u64) -> Option<Cursor> {
        self.places.get(self.index_after(offset)).map(ItemMeta::cursor)
    }
}

fn next(arrival: &mut u64) -> u64 {
    *arrival += 1;
    *arrival
}

fn first_seq(run: &Run) -> u64 {
    match run.items.first() {
        Some(Item::Event(entry)) => entry.seq,
        Some(Item::Status(kept)) => kept.after_seq + 1,
        None => run.gap.map_or(1, |gap| gap.to_seq + 1),
    }
}

fn item_time(item: &Item) -> UnixNanos {
    match item {
        Item::Event(entry) => entry.at,
        Item::Status(kept) => kept.at,
    }
}
