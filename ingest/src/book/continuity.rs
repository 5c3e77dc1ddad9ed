//! Checks that the updates of an order book follow each other without a hole.

use std::collections::VecDeque;

use bond_core::event::{BookUpdate, BookUpdateKind};

use crate::venue::ContinuityRule;

/// The most deltas that are kept while a snapshot is awaited: 100 s of a stream with an update each 100 ms. Beyond it the oldest are
/// dropped, and the snapshot has to be newer than them.
const MAX_BUFFERED: usize = 1_000;

/// The ids of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateIds {
    /// Whether the update is the whole book or changes.
    pub kind: BookUpdateKind,
    /// The first id that the update covers, if the venue gives a range.
    pub first: Option<u64>,
    /// The id of the update before, if the venue names it.
    pub previous: Option<u64>,
    /// The id of the book after the update.
    pub last: u64,
}

impl From<&BookUpdate> for UpdateIds {
    fn from(update: &BookUpdate) -> Self {
        Self { kind: update.kind, first: update.first_id, previous: update.prev_id, last: update.last_id }
    }
}

/// What to do with an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// Apply these in order: the update itself, and after a snapshot the deltas that waited for it.
    Apply(Vec<T>),
    /// The update ends at the id that the book already has, so it brings nothing new.
    Ignore,
    /// The update ends before the id that the book has. The venue's rule is to ignore such updates. If no other updates come, the venue has
    /// begun to count from the start again.
    Old {
        /// The id of the book.
        stands: u64,
        /// The last id of the update.
        got: u64,
    },
    /// The update waits for a snapshot. If the venue gives snapshots by REST, request one.
    Buffered,
    /// Updates are missing, so the book cannot be trusted until a snapshot comes. The update itself is kept if the snapshot may need it.
    Gap {
        /// The id that should have followed.
        expected: u64,
        /// The id that came.
        got: u64,
    },
    /// The snapshot ends before the first kept delta begins. Request another one. A live book stays live.
    TooOld {
        /// The id of the snapshot.
        snapshot: u64,
        /// The id at which the first kept delta begins.
        first: u64,
    },
}

/// Checks the updates of one order book by its venue's rule. The rules are quoted at [`continuity`](crate::venue::Protocol::continuity) of
/// each venue. `T` is the content of an update, which is passed through.
#[derive(Clone, Debug)]
pub struct Continuity<T> {
    rule: ContinuityRule,
    position: Option<Position>,
    buffer: VecDeque<(UpdateIds, T)>,
    reseeding: bool,
}

/// The id of a book, and how it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// After a snapshot from REST. Its id may lie within the range of a delta.
    Seeded(u64),
    /// After a delta, or a snapshot of the same sequence.
    After(u64),
}

/// How a delta relates to the book's position.
enum Step {
    Old,
    Next,
    Missing { expected: u64, got: u64 },
}

impl<T: Clone> Continuity<T> {
    /// The state of a book that has no snapshot yet.
    pub const fn new(rule: ContinuityRule) -> Self {
        Self { rule, position: None, buffer: VecDeque::new(), reseeding: false }
    }

    /// Whether the book has a snapshot, and no update is missing since.
    pub const fn is_live(&self) -> bool {
        self.position.is_some()
    }

    /// Forgets everything, as after a reconnect.
    pub fn reset(&mut self) {
        *self = Self::new(self.rule);
    }

    /// Records that a new snapshot of a live book was requested. The book keeps its deltas from now on, to apply the newer ones after the
    /// snapshot.
    pub const fn reseed(&mut self) {
        self.reseeding = true;
    }

    /// Takes an update, and returns what to do with it.
    pub fn offer(&mut self, ids: UpdateIds, item: T) -> Verdict<T> {
        match (ids.kind, self.rule) {
            (BookUpdateKind::Snapshot, ContinuityRule::Range | ContinuityRule::RangeThenPrevious) => {
                self.join(ids.last, item)
            }
            (BookUpdateKind::Snapshot, ContinuityRule::Previous | ContinuityRule::PlusOne) => {
                self.position = Some(Position::After(ids.last));
                Verdict::Apply(vec![item])
            }
            (BookUpdateKind::Delta, _) => self.follow(ids, item),
        }
    }

    fn follow(&mut self, ids: UpdateIds, item: T) -> Verdict<T> {
        let Some(position) = self.position else { return self.wait(ids, item) };
        match step(self.rule, position, ids) {
            Step::Old if ids.last < position.id() => Verdict::Old { stands: position.id(), got: ids.last },
            Step::Old => Verdict::Ignore,
            Step::Next => {
                self.position = Some(Position::After(ids.last));
                if self.reseeding {
                    self.keep(ids, item.clone());
                }
                Verdict::Apply(vec![item])
            }
            Step::Missing { expected, got } => {
                self.reset();
                self.wait(ids, item);
                Verdict::Gap { expected, got }
            }
        }
    }

    /// Handles a delta before the snapshot. If snapshots come on the socket, the snapshot comes first, so the delta belongs to an earlier
    /// subscription.
    fn wait(&mut self, ids: UpdateIds, item: T) -> Verdict<T> {
        match self.rule {
            ContinuityRule::Previous | ContinuityRule::PlusOne => Verdict::Ignore,
            ContinuityRule::Range | ContinuityRule::RangeThenPrevious => {
                self.keep(ids, item);
                Verdict::Buffered
            }
        }
    }

    fn keep(&mut self, ids: UpdateIds, item: T) {
        if self.buffer.len() == MAX_BUFFERED {
            self.buffer.pop_front();
        }
        self.buffer.push_back((ids, item));
    }

    /// Joins a snapshot with id `last` to the kept deltas.
    fn join(&mut self, last: u64, snapshot: T) -> Verdict<T> {
        let mut position = Position::Seeded(last);
        let mut joined = Vec::with_capacity(self.buffer.len() + 1);
        joined.push(snapshot);
        for place in 0..self.buffer.len() {
            let (ids, item) = &self.buffer[place];
            match step(self.rule, position, *ids) {
                Step::Old => continue,
                Step::Next => joined.push(item.clone()),
                Step::Missing { .. } => return self.discard(place, last),
            }
            position = Position::After(ids.last);
        }
        if self.position.is_some_and(|held| held.id() > position.id()) {
            return self.discard(0, last);
        }
        self.buffer.clear();
        (self.position, self.reseeding) = (Some(position), false);
        Verdict::Apply(joined)
    }

    /// Drops the kept deltas before index `place`, where updates are missing.
    fn discard(&mut self, place: usize, snapshot: u64) -> Verdict<T> {
        self.buffer.drain(..place);
        let first = self.buffer.front().map(|(ids, _)| ids.first.unwrap_or(ids.last));
        let first = first.or(self.position.map(Position::id)).unwrap_or(snapshot);
        Verdict::TooOld { snapshot, first }
    }
}

impl Position {
    const fn id(self) -> u64 {
        match self {
            Self::Seeded(id) | Self::After(id) => id,
        }
    }
}

fn step(rule: ContinuityRule, position: Position, ids: UpdateIds) -> Step {
    match (rule, position) {
        (ContinuityRule::Range, _) => range(position.id(), ids),
        (ContinuityRule::RangeThenPrevious, Position::Seeded(seed)) => first_after_seed(seed, ids),
        (ContinuityRule::RangeThenPrevious, Position::After(last)) if ids.last <= last => Step::Old,
        (ContinuityRule::RangeThenPrevious | ContinuityRule::Previous, _) => previous(position.id(), ids),
        (ContinuityRule::PlusOne, _) => plus_one(position.id(), ids.last),
    }
}

/// Binance spot, steps 3 and 4: an event that ends at or before the local id is old. If an event begins beyond the next id, updates were
/// missed.
fn range(last: u64, ids: UpdateIds) -> Step {
    let (expected, got) = (last.saturating_add(1), ids.first.unwrap_or(ids.last));
    if ids.last <= last {
        Step::Old
    } else if got <= expected {
        Step::Next
    } else {
        Step::Missing { expected, got }
    }
}

/// Binance USD-M, steps 2 and 3.
fn first_after_seed(seed: u64, ids: UpdateIds) -> Step {
    let first = ids.first.unwrap_or(ids.last);
    if ids.last < seed {
        Step::Old
    } else if first <= seed || ids.previous == Some(seed) {
        Step::Next
    } else {
        Step::Missing { expected: seed, got: first }
    }
}

/// Binance USD-M, step 4, and OKX: an update must name the id of the one before, whatever its own id is. OKX repeats the id of an idle book;
/// an update that ends at the book's id was applied before.
fn previous(last: u64, ids: UpdateIds) -> Step {
    match ids.previous {
        _ if ids.last == last => Step::Old,
        Some(previous) if previous == last => Step::Next,
        other => Step::Missing { expected: last, got: other.unwrap_or(ids.last) },
    }
}

/// Bybit: the same id again is a repetition. Any other id must be the next one.
fn plus_one(last: u64, got: u64) -> Step {
    let expected = last.saturating_add(1);
    match got {
        _ if got == last => Step::Old,
        _ if got == expected => Step::Next,
        _ => Step::Missing { expected, got },
    }
}
