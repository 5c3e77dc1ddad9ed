//! The state of a published topic beside its events: folded on as they come, and where a follower of the topic begins.

use bond_core::connection::TopicStart;
use bond_core::log::{Entry, EventKind, Gap, GapReason, LEAST_KEPT_FOR, PublishedState};
use bond_core::message::envelope::{self, Place};
use bond_core::position::{Epoch, Position, Start};
use bond_core::publish::{PublishedFields, fold};
use bond_core::time::UnixNanos;
use bytes::Bytes;
use smol_str::SmolStr;

use super::{History, Phase};
use crate::delivery::cursor::{Cursor, Joined, Pick, TopicJoined};
use crate::delivery::deflate::SharedFrame;
use crate::delivery::frame;

/// What a published topic has besides its items.
#[derive(Debug, Default)]
pub(super) struct Folding {
    /// The state at the newest item; `None` until the log has been asked, and after events were missed.
    at: Option<StateAt>,
    /// The frame of that state as a snapshot, once somebody has wanted it.
    snapshot: Option<SharedFrame>,
}

/// A state, and the event that it is the state after.
#[derive(Clone, Debug, Default)]
struct StateAt {
    epoch: Option<Epoch>,
    seq: u64,
    ts: UnixNanos,
    state: Option<Bytes>,
}

/// What is kept beside an event of a publisher.
#[derive(Debug, Default)]
pub(super) struct PublishedMeta {
    /// What `meta.subtopic` says.
    pub(super) subtopic: Option<SmolStr>,
    /// For an alert, the state before it, where there is one.
    pub(super) before: Option<SnapshotBefore>,
}

/// The state before an alert, from which its snapshot is written where a thinned follower needs it.
#[derive(Debug)]
pub(super) struct SnapshotBefore {
    ts: UnixNanos,
    state: Bytes,
}

impl PublishedMeta {
    /// How many bytes it takes besides its frame.
    pub(super) fn bytes(&self) -> u64 {
        // The state is shared with the events around: counted once for each alert, it is never too little.
        let before = self.before.as_ref().map_or(0, |before| before.state.len());
        (size_of::<Self>() + before) as u64
    }
}

impl Folding {
    /// The state as the log has it.
    pub(super) fn begin(&mut self, found: Option<PublishedState>) {
        self.snapshot = None;
        self.at = Some(found.map_or_else(StateAt::default, |found| StateAt {
            epoch: Some(found.position.epoch),
            seq: found.position.seq,
            ts: found.ts,
            state: found.state,
        }));
    }

    /// The topic has ended.
    pub(super) fn end(&mut self) {
        self.begin(None);
    }

    /// Whether the log must be asked for the state.
    pub(super) const fn is_lost(&self) -> bool {
        self.at.is_none()
    }

    /// When the event of the state was published.
    pub(super) fn time(&self) -> Option<UnixNanos> {
        self.at.as_ref().map(|at| at.ts)
    }

    /// Events are missing.
    pub(super) fn lose(&mut self) {
        (self.at, self.snapshot) = (None, None);
    }

    /// Takes the next event, and gives what is to be kept beside it.
    pub(super) fn take(&mut self, epoch: &Epoch, entry: &Entry) -> Option<Box<PublishedMeta>> {
        let mut scratch = String::new();
        let fields = PublishedFields::read(&entry.record.body, &mut scratch)?;
        let subtopic = fields.subtopic().map(SmolStr::new);
        let kind = entry.record.kind;
        let before = self.at.as_ref().filter(|_| kind == EventKind::Alert).and_then(StateAt::snapshot);
        self.fold(epoch, entry, fields.payload());
        let has_any = subtopic.is_some() || before.is_some();
        has_any.then(|| Box::new(PublishedMeta { subtopic, before }))
    }

    fn fold(&mut self, epoch: &Epoch, entry: &Entry, payload: &str) {
        let Some(at) = &mut self.at else { return };
        let is_same = at.epoch.as_ref() == Some(epoch);
        if is_same && entry.seq <= at.seq {
            return;
        }
        let is_next = if is_same { entry.seq == at.seq + 1 } else { entry.seq == 1 };
        if !is_next {
            return self.lose();
        }
        let state = if is_same { at.state.take() } else { None };
        let state = fold(state, entry.record.kind, payload);
        *at = StateAt { epoch: Some(epoch.clone()), seq: entry.seq, ts: entry.record.ts, state };
        self.snapshot = None;
    }

    /// The frame of the state as a snapshot; `None` where there is no state.
    fn snapshot(&mut self, name: &str) -> Option<SharedFrame> {
        let at = self.at.as_ref()?;
        let state = at.state.as_ref()?;
        if self.snapshot.is_none() {
            self.snapshot = Some(snapshot_frame(name, at.epoch.as_ref(), at.seq, at.ts, state));
        }
        self.snapshot.clone()
    }
}

impl StateAt {
    fn snapshot(&self) -> Option<SnapshotBefore> {
        Some(SnapshotBefore { ts: self.ts, state: self.state.clone()? })
    }
}

fn snapshot_frame(name: &str, epoch: Option<&Epoch>, seq: u64, ts: UnixNanos, state: &Bytes) -> SharedFrame {
    let place = Place { topic: name, epoch, seq };
    let json = envelope::snapshot(place, ts, std::str::from_utf8(state).unwrap_or("null"));
    let mut out = Vec::with_capacity(json.len() + frame::MOST_HEADER);
    frame::text(&json, &mut out);
    SharedFrame::new(out.into())
}

impl History {
    /// Whether its state must be read from the log again.
    pub(crate) fn needs_state(&self) -> bool {
        self.phase == Phase::Ready && self.folding.as_deref().is_some_and(Folding::is_lost)
    }

    /// Takes over the state as the log has it, unless it is older than what is here.
    pub(crate) fn restate(&mut self, found: Option<PublishedState>) {
        let Some(folding) = &mut self.folding else { return };
        // Else the events between would have to be folded again. The next reading is newer.
        if found.as_ref().is_some_and(|found| found.position.seq >= self.head) || found.is_none() {
            folding.begin(found);
        }
    }

    /// The state at the newest item, as JSON.
    pub(crate) fn state(&self) -> Option<Bytes> {
        self.folding.as_ref()?.at.as_ref()?.state.clone()
    }

    /// The frame of the state at the newest item.
    pub(crate) fn snapshot(&mut self) -> Option<SharedFrame> {
        self.folding.as_mut()?.snapshot(&self.name)
    }

    /// The frame of the state before the alert at `index`, as a snapshot after the event before it.
    pub(super) fn snapshot_before(&self, index: usize) -> Option<SharedFrame> {
        let place = &self.places[index];
        let before = place.published.as_ref()?.before.as_ref()?;
        let (_, epoch) = self.epochs.iter().find(|(generation, _)| *generation == place.generation)?;
        Some(snapshot_frame(&self.name, Some(epoch), place.seq - 1, before.ts, &before.state))
    }

    /// Where a follower by name begins. `None`: not known before there is more in the ring.
    pub(crate) fn join_topic(&mut self, start: &TopicStart, now: UnixNanos) -> Option<TopicJoined> {
        if self.phase != Phase::Ready || self.folding.as_deref().is_some_and(Folding::is_lost) {
            return None;
        }
        let has_history = self.epoch.is_some() && !self.has_ended;
        if matches!(start, TopicStart::After(_, 1..)) && !has_history {
            // A position in a history that is gone, or never was.
            let gap = Some(Gap { from_seq: None, to_seq: 0, reason: GapReason::EpochChanged });
            return Some(TopicJoined { cursor: self.head(), epoch: None, gap, snapshot: None, head: 0 });
        }
        let joined = match self.start_of(start) {
            None => Joined { cursor: self.head(), gap: None },
            Some(start) => self.join(&start, now)?,
        };
        let from_state = matches!(start, TopicStart::State) || joined.gap.is_some();
        let snapshot = self.snapshot().filter(|_| from_state);
        Some(self.joined_at(joined, snapshot))
    }

    fn joined_at(&self, joined: Joined, snapshot: Option<SharedFrame>) -> TopicJoined {
        let epoch = self.epoch.clone().filter(|_| !self.has_ended);
        let Joined { cursor, gap } = joined;
        let gap = gap.map(|(_, gap)| gap);
        // With a state the client goes on from there, and what is kept of the events before it is part of the state.
        let cursor = if gap.is_some() && snapshot.is_some() { self.head() } else { cursor };
        let gap = gap.map(|gap| Gap { to_seq: cursor.seq, ..gap });
        TopicJoined { cursor, epoch, gap, snapshot, head: self.head }
    }

    /// The start as a position or a time; `None` for the newest.
    fn start_of(&self, start: &TopicStart) -> Option<Start> {
        let current = self.epoch.as_ref().filter(|_| !self.has_ended);
        match start {
            TopicStart::State | TopicStart::From(Start::Live) => None,
            TopicStart::From(start) => Some(start.clone()),
            TopicStart::After(epoch, seq) => {
                let epoch = epoch.as_ref().or(current);
                epoch.map(|epoch| Start::After(Position { epoch: epoch.clone(), seq: *seq }))
            }
            TopicStart::Rewind(count) => {
                let seq =
                    self.head.saturating_sub(u64::from(*count)).max(self.first_kept().saturating_sub(1));
                current.map(|epoch| Start::After(Position { epoch: epoch.clone(), seq }))
            }
        }
    }

    /// The number of the oldest event of this epoch that is kept, or of the next where there is none.
    fn first_kept(&self) -> u64 {
        let of_epoch = self.places.iter().filter(|place| place.generation == self.generation);
        of_epoch.filter(|place| place.kind.is_some()).map(|place| place.seq).next().unwrap_or(self.head + 1)
    }

    /// The time before which nothing is kept.
    pub(super) fn earliest(&self, now: UnixNanos) -> UnixNanos {
        let window = if self.folding.is_some() { LEAST_KEPT_FOR } else { self.retention.window };
        now.minus(window)
    }

    /// The alerts after `cursor`, by their indices.
    pub(super) fn alerts_after(&self, cursor: Cursor) -> impl Iterator<Item = usize> + '_ {
        let span = self.index_after(cursor.offset)..self.places.len();
        span.filter(|index| self.places[*index].kind == Some(EventKind::Alert))
    }

    /// Whether there is an alert between two places.
    pub(crate) fn alerts_between(&self, from: Cursor, to: Cursor) -> bool {
        self.alerts_after(from).any(|index| self.places[index].end <= to.offset)
    }

    /// The alerts after `cursor` that are kept.
    pub(crate) fn alerts(&self, cursor: Cursor, into: &mut Vec<Pick>) {
        into.extend(self.alerts_after(cursor).map(|index| self.pick(index)));
    }
}
