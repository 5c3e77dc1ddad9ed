//! What a writer remembers of the topics it writes.

use std::collections::HashMap;
use std::sync::Arc;

use bond_core::log::Fence;
use bond_core::position::Position;
use bond_core::topic::Topic;
use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;

use super::keys::Keys;

/// One topic's standing with its writer. Held for the length of an append: what is asked again must be the last that was asked.
pub(super) struct WriterState {
    pub(super) keys: Keys,
    /// How far Redis has acknowledged.
    pub(super) acknowledged: Option<Position>,
    /// Whether an append was sent that never got its answer.
    pub(super) unsure: bool,
    /// The mark and the items of the append that failed last: asked for again, it keeps its mark, or it could be there twice.
    pub(super) failed: Option<(u64, Vec<Value>)>,
}

type ByTopic = HashMap<(Fence, Topic), Arc<Turn<WriterState>>>;

/// The topics that are written.
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

    /// Forgets what other numbers than `fence` wrote.
    pub(super) fn begin(&self, fence: Fence) {
        self.0.lock().retain(|(of, _), _| *of == fence);
    }
}
