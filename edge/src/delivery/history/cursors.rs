//! Where connections begin, and where they go on when they have fallen behind.

use bond_core::log::{EventKind, Gap, GapReason};
use bond_core::position::{Position, Start};
use bond_core::time::UnixNanos;

use super::{Conflation, History, ItemMeta, Phase};
use crate::delivery::cursor::{Cursor, Joined, Skip};

impl History {
    pub(crate) fn join(&self, start: &Start, now: UnixNanos) -> Option<Joined> {
        if self.phase != Phase::Ready {
            return None;
        }
        let at = |cursor| Some(Joined { cursor, gap: None });
        let earliest = self.earliest(now);
        match (start, start.time(now)) {
            (Start::After(position), _) => self.resume(position, earliest),
            (_, Some(time)) => at(self.at_time(time.max(earliest))),
            _ => at(self.cursor_before(self.places.len())),
        }
    }

    /// Goes on after a position, or with what came at or after `earliest`.
    fn resume(&self, after: &Position, earliest: UnixNanos) -> Option<Joined> {
        let epoch = self.epoch.as_ref().filter(|_| !self.has_ended)?;
        let cursor = self.at_time(earliest);
        let missed = |gap: Gap| Some(Joined { cursor, gap: Some((epoch.clone(), gap)) });
        if after.epoch != *epoch || after.seq > self.head {
            return missed(Gap { from_seq: None, to_seq: cursor.seq, reason: GapReason::EpochChanged });
        }
        if after.seq < cursor.seq {
            let (from_seq, to_seq) = (Some(after.seq + 1), cursor.seq);
            return missed(Gap { from_seq, to_seq, reason: GapReason::BehindRing });
        }
        Some(Joined { cursor: self.before_first_not(|place| place.seq <= after.seq), gap: None })
    }

    pub(crate) fn position(&self, cursor: Cursor) -> Option<Position> {
        let (_, epoch) = self.epochs.iter().find(|(generation, _)| *generation == cursor.generation)?;
        Some(Position { epoch: epoch.clone(), seq: cursor.seq })
    }

    /// The place before the first event of this epoch that came at or after `time`.
    pub(super) fn at_time(&self, time: UnixNanos) -> Cursor {
        self.before_first_not(|place| place.at < time)
    }

    /// The place before the first event of this epoch that `passed` does not hold for, and before the statuses kept just before it.
    fn before_first_not(&self, passed: impl Fn(&ItemMeta) -> bool) -> Cursor {
        let first = self.epoch_first();
        let is_before = |place: &ItemMeta| place.generation < self.generation || passed(place);
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

    pub(crate) fn skip(&self, cursor: Cursor) -> Skip {
        let target = self.cursor_before(self.skip_index());
        let (to_seq, epoch) = (target.seq, self.epoch.clone());
        if cursor.generation != target.generation {
            let gap = Gap { from_seq: None, to_seq, reason: GapReason::EpochChanged };
            return Skip { cursor: target, gap: epoch.map(|epoch| (epoch, gap)), dropped: to_seq };
        }
        let dropped = to_seq.saturating_sub(cursor.seq);
        let gap = Gap { from_seq: Some(cursor.seq + 1), to_seq, reason: GapReason::SlowConsumer };
        Skip { cursor: target, gap: epoch.filter(|_| dropped > 0).map(|epoch| (epoch, gap)), dropped }
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
