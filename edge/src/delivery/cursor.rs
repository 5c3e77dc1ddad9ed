//! Places in a ring, and what lies between them.

use std::sync::Arc;
use std::time::Duration;

use bond_core::log::{EventKind, Gap};
use bond_core::position::Epoch;
use bond_core::time::UnixNanos;
use bytes::Bytes;
use smol_str::SmolStr;

use super::deflate::{DeflatedForms, SharedFrame};

/// A place between two items of a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Bytes of frames before it, since the ring began.
    pub(crate) offset: u64,
    /// The number of the last event before it.
    pub(crate) seq: u64,
    /// Counts the epochs that the ring has seen.
    pub(crate) generation: u32,
}

/// How much a ring keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) window: Duration,
    pub(crate) bytes: u64,
}

/// Where a connection begins, and what it misses by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) cursor: Cursor,
    pub(crate) gap: Option<(Epoch, Gap)>,
}

/// Where a follower of a topic by name begins, and what it is told before the first event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicJoined {
    pub(crate) cursor: Cursor,
    /// The history that goes on; `None` for a topic without any.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) gap: Option<Gap>,
    /// The frame of the state, where the client begins with it.
    pub(crate) snapshot: Option<SharedFrame>,
    /// The number of the topic's newest event.
    pub(crate) head: u64,
}

/// Frames that a connection gets next, in one piece of the ring.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    /// Where the first frame begins; after `Cursor::offset` where a quiet connection skips statuses.
    pub(crate) from: u64,
    /// The place after the last frame.
    pub(crate) to: Cursor,
    /// The frames.
    pub(crate) slices: Vec<Bytes>,
    /// Whether there is more behind them.
    pub(crate) more: bool,
    /// How many of them are events.
    pub(crate) events: u64,
    /// When the newest of them was appended to the log.
    pub(crate) newest: UnixNanos,
}

impl Frames {
    /// How many bytes they are.
    pub(crate) fn len(&self) -> usize {
        (self.to.offset - self.from) as usize
    }
}

/// One item of a ring, for connections that take items one by one.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    /// The place after it.
    pub(crate) to: Cursor,
    /// Its number in the order of arrival over all topics.
    pub(crate) arrival: u64,
    /// What feeds with `max_lag_ms` are ordered by.
    pub(crate) order: UnixNanos,
    /// When it was appended to the log.
    pub(crate) at: UnixNanos,
    /// What it is; `None` for statuses and gaps.
    pub(crate) kind: Option<EventKind>,
    /// The frame.
    pub(crate) frame: Bytes,
    /// The frame of the form that has changed levels only.
    pub(crate) changes: Option<Bytes>,
    /// The compressed frames, once somebody has needed one.
    pub(crate) deflated: Option<Arc<DeflatedForms>>,
    /// What `meta.subtopic` says.
    pub(crate) subtopic: Option<SmolStr>,
    /// Whether the frame is the state after this item, in the place of several events.
    pub(crate) is_state: bool,
}

impl Pick {
    /// The same place, of which the client is given nothing.
    pub(crate) fn passed_over(self) -> Self {
        Self { frame: Bytes::new(), changes: None, ..self }
    }

    /// The same place, of which the client is given the state there.
    pub(crate) fn replaced_by(self, snapshot: &SharedFrame) -> Self {
        let SharedFrame { plain, deflated } = snapshot.clone();
        Self { frame: plain, deflated: Some(deflated), kind: Some(EventKind::Snapshot), ..self }
    }

    /// Whether the client is given an event by it.
    pub(crate) fn is_delivered(&self) -> bool {
        self.kind.is_some() && !self.frame.is_empty()
    }

    /// The place before it, but for the offset.
    pub(crate) fn from(&self) -> Cursor {
        Cursor { seq: self.to.seq - u64::from(self.kind.is_some()), ..self.to }
    }
}

/// A cursor's next items are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BehindRing;

/// Where a connection that fell behind goes on, and what it misses by that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) cursor: Cursor,
    pub(crate) gap: Option<(Epoch, Gap)>,
    pub(crate) dropped: u64,
}
