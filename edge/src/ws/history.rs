//! What a ring holds: the items' places, numbers and times beside the tape of their frames.

use std::collections::VecDeque;

use bond_core::event::Channel;
use bond_core::log::{Entry, EventKind, Gap, GapReason, Item, Kept, Run};
use bond_core::message::{ServerMessage, to_json};
use bond_core::position::{Epoch, Position, Start};
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bond_core::wire;
use bytes::Bytes;

use super::frame;
use super::ring::{Behind, Cursor, Frames, Joined, Pick, Retention, Skip};
use super::tape::Tape;

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
            Topic::Raw(_) => Self::Oldest,
        }
    }
}

/// Where one item lies and what it is. A gap or status carries the number of the event it follows.
#[derive(Debug)]
struct Place {
    end: u64,
    seq: u64,
    generation: u32,
    kind: Option<EventKind>,
    at: UnixNanos,
    ts: UnixNanos,
    order: UnixNanos,
    arrival: u64,
    changes: Option<Bytes>,
}

impl Place {
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
    /// The number of the newest event.
    head: u64,
    places: VecDeque<Place>,
    /// Where statuses and gaps lie, which quiet connections skip.
    asides: VecDeque<(u64, u64)>,
    tape: Tape,
    /// The offset of the oldest kept item.
    start: u64,
    extra_bytes: u64,
    phase: Phase,
    /// Where the current epoch begins, after the gap that announces it.
    epoch_start: u64,
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
            head: 0,
            places: VecDeque::new(),
            asides: VecDeque::new(),
            tape: Tape::default(),
            start: 0,
            extra_bytes: 0,
            phase: Phase::Unknown,
            epoch_start: 0,
        }
    }

    pub(crate) fn begin(&mut self, head: Option<Position>, kept: bool) {
        self.phase = match head {
            Some(head) if kept => Phase::Filling(head),
            Some(head) => {
                (self.epoch, self.head) = (Some(head.epoch), head.seq);
                Phase::Ready
            }
            None => Phase::Ready,
        };
    }

    /// Takes a run. What is there already (tails deliver at least once) is left out.
    pub(crate) fn append(&mut self, run: &Run, arrival: &mut u64) {
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
            self.epoch = Some(run.epoch.clone());
            self.head = to_seq;
        }
        if let Some(gap) = gap {
            self.head = self.head.max(to_seq);
            let at = run.items.first().map_or(UnixNanos::EPOCH, item_time);
            let json = to_json(&ServerMessage::gap(&self.name, &run.epoch, gap));
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
        self.extra_bytes += changes.as_ref().map_or(0, |c| c.len() as u64);
        self.head = entry.seq;
        let end = self.tape.end() + block.len() as u64;
        self.places.push_back(Place {
            end,
            seq: entry.seq,
            generation: self.generation,
            kind: Some(record.kind),
            at: entry.at,
            ts: record.ts,
            order: record.order,
            arrival: next(arrival),
            changes,
        });
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
        let json = wire::status(&self.name, epoch, kept.after_seq, &kept.body);
        self.aside(&json, kept.after_seq, kept.at, arrival, block);
    }

    fn aside(&mut self, json: &[u8], seq: u64, at: UnixNanos, arrival: &mut u64, block: &mut Vec<u8>) {
        let start = self.tape.end() + block.len() as u64;
        frame::text(json, block);
        let end = self.tape.end() + block.len() as u64;
        self.asides.push_back((start, end));
        self.places.push_back(Place {
            end,
            seq,
            generation: self.generation,
            kind: None,
            at,
            ts: at,
            order: at,
            arrival: next(arrival),
            changes: None,
        });
    }

    pub(crate) fn trim(&mut self, now: UnixNanos) {
        let oldest = now.minus(self.retention.window);
        while let Some(place) = self.places.front() {
            let bytes = self.tape.end() - self.start + self.extra_bytes;
            if place.at >= oldest && bytes <= self.retention.bytes {
                break;
            }
            self.start = place.end;
            self.extra_bytes -= place.changes.as_ref().map_or(0, |c| c.len() as u64);
            self.places.pop_front();
        }
        while self.asides.front().is_some_and(|aside| aside.1 <= self.start) {
            self.asides.pop_front();
        }
        self.tape.trim(self.start);
    }

    pub(crate) fn join(&self, start: &Start, now: UnixNanos) -> Option<Joined> {
        if self.phase != Phase::Ready {
            return None;
        }
        let at = |cursor| Some(Joined { cursor, gap: None });
        match (start, start.time(now)) {
            (Start::After(position), _) => self.resume(position),
            (_, Some(time)) => at(self.at_time(time)),
            _ => at(self.cursor_before(self.places.len())),
        }
    }

    fn resume(&self, after: &Position) -> Option<Joined> {
        let epoch = self.epoch.as_ref()?;
        let oldest = self.at_time(UnixNanos::EPOCH);
        let missed = |gap: Gap| Some(Joined { cursor: oldest, gap: Some((epoch.clone(), gap)) });
        if after.epoch != *epoch || after.seq > self.head {
            return missed(Gap { from_seq: None, to_seq: oldest.seq, reason: GapReason::EpochChanged });
        }
        if after.seq < oldest.seq {
            let (from_seq, to_seq) = (Some(after.seq + 1), oldest.seq);
            return missed(Gap { from_seq, to_seq, reason: GapReason::BehindRing });
        }
        Some(Joined { cursor: self.before_first_not(|place| place.seq <= after.seq), gap: None })
    }

    /// The place before the first event of this epoch that came at or after `time`.
    fn at_time(&self, time: UnixNanos) -> Cursor {
        self.before_first_not(|place| place.at < time)
    }

    /// The place before the first event of this epoch that `passed` does not hold for, and before the statuses kept just before it.
    fn before_first_not(&self, passed: impl Fn(&Place) -> bool) -> Cursor {
        let first = self.epoch_first();
        let is_before = |place: &Place| place.generation < self.generation || passed(place);
        let mut index = self.places.partition_point(is_before).max(first);
        while index > first && self.places[index - 1].kind.is_none() {
            index -= 1;
        }
        self.cursor_before(index)
    }

    fn epoch_first(&self) -> usize {
        self.index_after(self.epoch_start)
    }

    fn cursor_before(&self, index: usize) -> Cursor {
        let offset = match index.checked_sub(1) {
            Some(before) => self.places[before].end,
            None => self.start,
        };
        let seq = match self.places.range(index..).find(|place| place.kind.is_some()) {
            Some(place) if place.generation == self.generation => place.seq - 1,
            _ => self.head,
        };
        Cursor { offset, seq, generation: self.generation }
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
    ) -> Result<(), Behind> {
        if cursor.offset < self.start {
            return Err(Behind);
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
    ) -> Result<(), Behind> {
        if cursor.offset < self.start {
            return Err(Behind);
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
        }
    }

    pub(crate) fn newest(&self, cursor: Cursor) -> Option<Pick> {
        let index = self.places.iter().rposition(|place| place.kind.is_some())?;
        (self.places[index].end > cursor.offset).then(|| self.pick(index))
    }

    pub(crate) fn frame_end(&self, offset: u64) -> Option<Cursor> {
        self.places.get(self.index_after(offset)).map(Place::cursor)
    }

    pub(crate) fn skip(&self, cursor: Cursor) -> Skip {
        let target = self.cursor_before(self.skip_index());
        let dropped = match cursor.generation == target.generation {
            true => target.seq.saturating_sub(cursor.seq),
            false => target.seq,
        };
        let gap = match cursor.generation == target.generation {
            true => {
                Gap { from_seq: Some(cursor.seq + 1), to_seq: target.seq, reason: GapReason::SlowConsumer }
            }
            false => Gap { from_seq: None, to_seq: target.seq, reason: GapReason::EpochChanged },
        };
        let gap = (dropped > 0).then_some(gap);
        Skip { cursor: target, gap: self.epoch.clone().zip(gap), dropped }
    }

    fn skip_index(&self) -> usize {
        let first = self.epoch_first();
        let Some(newest) = self.places.iter().rposition(|place| place.kind.is_some()) else {
            return self.places.len();
        };
        let windowed = self.places[newest].kind == Some(EventKind::Aggregate);
        let target = match self.conflation {
            Conflation::Newest => newest,
            Conflation::Window if windowed => self.window_start(newest),
            Conflation::Window | Conflation::Oldest => {
                self.index_after(self.start + (self.tape.end() - self.start) / 2)
            }
        };
        target.max(first)
    }

    /// The first event of the window that the event at `newest` belongs to.
    fn window_start(&self, newest: usize) -> usize {
        let window = self.places[newest].ts;
        let others =
            self.places.range(..newest).rev().take_while(|place| place.kind.is_some() && place.ts == window);
        newest - others.count()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bond_core::log::Record;

    use super::*;

    const ROOMY: Retention = Retention { window: Duration::from_secs(60), bytes: 1 << 20 };

    fn epoch(name: &str) -> Epoch {
        Epoch::new(name).expect("epoch")
    }

    fn event(seq: u64) -> Item {
        let at = UnixNanos::from_secs(seq as i64);
        let body = format!("\"n\":{seq}").into();
        let record = Record { kind: EventKind::Trade, ts: at, order: at, body, changes: None };
        Item::Event(Entry { seq, at, record })
    }

    fn status(after_seq: u64) -> Item {
        let at = UnixNanos::from_secs(after_seq as i64);
        Item::Status(Kept { after_seq, at, body: Bytes::from_static(b"\"state\":\"stale\"") })
    }

    fn history(retention: Retention, runs: &[(&str, Vec<Item>)]) -> History {
        let topic: Topic = "trades.okx.BTC-USDT".parse().expect("topic");
        let mut history = History::new(&topic, "trades.okx.BTC-USDT", retention);
        history.begin(None, false);
        for (name, items) in runs {
            history.append(&Run { epoch: epoch(name), gap: None, items: items.clone() }, &mut 0);
        }
        history
    }

    /// What a client gets from `cursor` on, in turns of `budget` bytes: `type` and number of each frame.
    fn read(history: &History, mut cursor: Cursor, control: bool, budget: u64) -> Vec<(String, u64)> {
        let (mut frames, mut bytes) = (Frames::default(), Vec::new());
        let mut events = 0;
        loop {
            history.frames(cursor, control, budget, &mut frames).expect("kept");
            let is_end = frames.to == cursor;
            cursor = frames.to;
            events += frames.events;
            assert_eq!(frames.slices.iter().map(Bytes::len).sum::<usize>(), frames.len());
            bytes.extend(frames.slices.concat());
            if is_end {
                break;
            }
        }
        let got = messages(&bytes);
        assert_eq!(got.iter().filter(|(kind, _)| kind == "trade").count() as u64, events);
        got
    }

    fn messages(mut bytes: &[u8]) -> Vec<(String, u64)> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let payload = frame::payload(bytes);
            let start = bytes.len() - payload.len();
            let length =
                if bytes[1] == 126 { u16::from_be_bytes([bytes[2], bytes[3]]) } else { bytes[1].into() };
            let json: serde_json::Value =
                serde_json::from_slice(&payload[..length.into()]).expect("a whole frame");
            let number = ["seq", "after_seq", "to_seq"].iter().find_map(|name| json[name].as_u64());
            messages.push((json["type"].as_str().expect("type").to_owned(), number.expect("number")));
            bytes = &bytes[start + usize::from(length)..];
        }
        messages
    }

    fn named(kinds: &[(&str, u64)]) -> Vec<(String, u64)> {
        kinds.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect()
    }

    #[test]
    fn quiet_clients_get_the_events_and_others_everything_in_place() {
        let items = vec![status(0), event(1), event(2), status(2), status(2), event(3), status(3)];
        let history = history(ROOMY, &[("e1", items)]);
        for budget in [1, 300, 1 << 20] {
            let quiet = read(&history, Cursor::default(), false, budget);
            assert_eq!(quiet, named(&[("trade", 1), ("trade", 2), ("trade", 3)]), "{budget}");
            let told = read(&history, Cursor::default(), true, budget);
            let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
            assert_eq!(
                kinds,
                ["status", "trade", "trade", "status", "status", "trade", "status"],
                "{budget}"
            );
        }
    }

    #[test]
    fn picks_are_what_frames_are() {
        let items: Vec<Item> = (1..50).flat_map(|seq| [event(seq), status(seq)]).collect();
        let history = history(ROOMY, &[("e1", items)]);
        for control in [false, true] {
            let mut picks = Vec::new();
            history.picks(Cursor::default(), control, usize::MAX, &mut picks).expect("kept");
            let bytes = picks.iter().map(|pick| pick.frame.clone()).collect::<Vec<_>>().concat();
            assert_eq!(messages(&bytes), read(&history, Cursor::default(), control, 1 << 20));
        }
    }

    #[test]
    fn what_comes_twice_is_there_once() {
        let runs = [("e1", vec![event(1), event(2)]), ("e1", vec![event(2), event(3)])];
        let got = read(&history(ROOMY, &runs), Cursor::default(), true, 1 << 20);
        assert_eq!(got, named(&[("trade", 1), ("trade", 2), ("trade", 3)]));
    }

    #[test]
    fn a_new_epoch_is_announced_to_who_was_there_and_not_to_who_joins() {
        let history = history(ROOMY, &[("e1", vec![event(1)]), ("e2", vec![event(1), event(2)])]);
        let there = read(&history, Cursor::default(), true, 1 << 20);
        assert_eq!(there, named(&[("trade", 1), ("gap", 0), ("trade", 1), ("trade", 2)]));
        for start in [Start::At(UnixNanos::EPOCH), Start::After(Position { epoch: epoch("e2"), seq: 0 })] {
            let joined = history.join(&start, UnixNanos::EPOCH).expect("known");
            assert_eq!(joined.gap, None);
            assert_eq!(read(&history, joined.cursor, true, 1 << 20), named(&[("trade", 1), ("trade", 2)]));
        }
    }

    #[test]
    fn a_start_in_time_begins_with_the_first_event_since_then() {
        let history = history(ROOMY, &[("e1", (1..=9).map(event).collect())]);
        for (secs, first) in [(0, 1), (5, 5), (9, 9)] {
            let start = Start::At(UnixNanos::from_secs(secs));
            let joined = history.join(&start, UnixNanos::EPOCH).expect("known");
            assert_eq!(read(&history, joined.cursor, false, 1 << 20)[0].1, first);
        }
        let later = history.join(&Start::At(UnixNanos::from_secs(10)), UnixNanos::EPOCH).expect("known");
        assert_eq!(read(&history, later.cursor, false, 1 << 20), []);
    }

    #[test]
    fn old_items_go_by_time_and_by_bytes() {
        let mut by_time = history(ROOMY, &[("e1", (1..=100).map(event).collect())]);
        by_time.trim(UnixNanos::from_secs(100));
        assert_eq!(by_time.at_time(UnixNanos::EPOCH).seq, 39);
        let tight = Retention { bytes: 2_000, ..ROOMY };
        let mut by_bytes = history(tight, &[("e1", (1..=100).map(event).collect())]);
        by_bytes.trim(UnixNanos::EPOCH);
        assert!(by_bytes.tape.end() - by_bytes.start <= 2_000);
        assert_eq!(by_bytes.frames(Cursor::default(), false, 1, &mut Frames::default()), Err(Behind));
    }

    #[test]
    fn who_fell_behind_is_told_exactly_what_it_misses() {
        let mut history =
            history(Retention { bytes: 2_000, ..ROOMY }, &[("e1", (1..=100).map(event).collect())]);
        history.trim(UnixNanos::EPOCH);
        let behind = Cursor { offset: 0, seq: 3, generation: 1 };
        let Skip { cursor, gap, dropped } = history.skip(behind);
        let (_, gap) = gap.expect("a gap");
        assert_eq!((gap.from_seq, gap.to_seq, gap.reason), (Some(4), cursor.seq, GapReason::SlowConsumer));
        assert_eq!(dropped, cursor.seq - 3);
        assert_eq!(read(&history, cursor, true, 1 << 20)[0].1, cursor.seq + 1);
    }

    #[test]
    fn nobody_joins_before_the_ring_holds_what_the_log_held() {
        let topic: Topic = "trades.okx.BTC-USDT".parse().expect("topic");
        let mut history = History::new(&topic, "trades.okx.BTC-USDT", ROOMY);
        let start = Start::At(UnixNanos::EPOCH);
        assert_eq!(history.join(&start, UnixNanos::EPOCH), None);
        history.begin(Some(Position { epoch: epoch("e1"), seq: 4 }), true);
        for (items, known) in [(vec![event(2), event(3)], false), (vec![event(4)], true)] {
            history.append(&Run { epoch: epoch("e1"), gap: None, items }, &mut 0);
            assert_eq!(history.join(&start, UnixNanos::EPOCH).is_some(), known);
        }
    }
}
