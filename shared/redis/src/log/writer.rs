//! The state that a writer keeps of each topic.

use std::collections::HashMap;
use std::sync::Arc;

use bond_core::log::Fence;
use bond_core::position::Position;
use bond_core::topic::Topic;
use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;

use super::keys::Keys;

/// A writer's state of one topic. It is locked during an append, because only the last append may be repeated.
pub(super) struct WriterState {
    pub(super) keys: Keys,
    /// The last position that Redis has acknowledged.
    pub(super) acknowledged: Option<Position>,
    /// Whether an append got no answer.
    pub(super) unsure: bool,
    /// The mark and the items of the last append, if it failed. If it is repeated it must keep its mark, or it could be carried out twice.
    pub(super) failed: Option<(u64, Vec<Value>)>,
}

type ByTopic = HashMap<(Fence, Topic), Arc<Turn<WriterState>>>;

/// The states of all topics that were written.
#[derive(Default)]
pub(super) struct Standings(Mutex<ByTopic>);

impl Standings {
    pub(super) fn of(&self, fence: Fence, topic: &Topic) -> Arc<Turn<WriterState>> {
        let new = || WriterState { keys: Keys::of(topic), acknowledged: None, unsure: false, failed: None };
        let mut standings = self.0.lock();
        Arc::clone(standings.entry((fence, topic.clone())).or_insert_with(|| Arc::new(Turn::new(new()))))
    }

    pub(super) fn forget(&self, fence: Fence, topic: &Topic) {
        self.0.lock().remove(&(fence, topic.clone()));
    }

    /// Forgets the states of other fencing numbers than `fence`.
    pub(super) fn begin(&self, fence: Fence) {
        self.0.lock().retain(|(of, _), _| *of == fence);
    }
}
