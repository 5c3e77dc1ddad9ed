//! What a publisher's batch adds to the log port: events and the state that they make, in one step.

use bytes::Bytes;
use smol_str::SmolStr;

use super::{Appended, Record};
use crate::position::Position;
use crate::time::UnixNanos;
use crate::topic::PublishedTopic;

/// How long a key of a batch is remembered.
pub const KEY_LIFE: std::time::Duration = std::time::Duration::from_secs(300);

/// How many of a published topic's newest events are kept although the ring is over, and for how long.
pub const LEAST_KEPT: usize = 100;

/// See [`LEAST_KEPT`].
pub const LEAST_KEPT_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// By what a batch is known when it is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublishKey {
    /// The publisher, and the key that it gave, in one text.
    pub name: SmolStr,
    /// A digest of the batch: the same name with another digest is a mistake of the publisher.
    pub digest: SmolStr,
}

/// A batch for one published topic, with what it makes of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The head that `state` was computed from; `None` for a topic without history. With another head nothing is appended.
    pub after: Option<Position>,
    /// The events; not empty.
    pub records: Vec<Record>,
    /// The topic's state after them.
    pub state: Option<Bytes>,
    /// By what it is known when it is sent again.
    pub key: Option<PublishKey>,
    /// The entry of a foreign stream that it was read from: the head remembers the last one, so that none is taken twice.
    pub entry: Option<SmolStr>,
}

/// What became of a [`Publication`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It was appended.
    Appended(Appended),
    /// It was appended before, by the same key: where, and the number of its last event.
    Repeated(Appended, u64),
    /// Another batch was appended by the same key.
    KeyReused,
    /// The head is another than `after`: read the state again.
    Moved,
}

/// A published topic's state, and what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedState {
    /// The head.
    pub position: Position,
    /// The `ts` of the head's event.
    pub ts: UnixNanos,
    /// The state; `None` where there have been alerts alone.
    pub state: Option<Bytes>,
    /// The last entry of a foreign stream that was taken.
    pub entry: Option<SmolStr>,
}

/// One of the published topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedHead {
    /// Its name.
    pub topic: PublishedTopic,
    /// Its head.
    pub position: Position,
    /// The `ts` of the head's event.
    pub ts: UnixNanos,
}
