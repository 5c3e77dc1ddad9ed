//! The state that a writer keeps of each topic.

use std::collections::HashMap;
use std::sync::Arc;

use bond_core::log::Fence;
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use fred::types::Value;
use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;

use super::keys::Keys;

/// How many topics are remembered before those that have lapsed are looked for. Looked for again when there are twice as many as are left.
const SWEEP_FROM: usize = 1024;

/// A writer's state of one topic. It is locked during an append, because only the last append may be repeated.
pub(super) struct WriterState {
    pub(super) keys: Keys,
    /// The last position that Redis has acknowledged.
    pub(super) acknowledged: Option<Position>,
    /// Whether an append got no answer.
    pub(super) unsure: bool,
    /// The mark and the items of the last append, if it failed. If it is repeated it must keep its mark, or it could be carried out twice.
    pub(super) failed: Option<(u64, Vec<Value>)>,
    /// What a published topic's state takes.
    pub(super) state_bytes: usize,
}

struct Remembered {
    turn: Arc<Turn<WriterState>>,
    lapses: UnixNanos,
}

#[derive(Default)]
struct ByTopic {
    topics: HashMap<(Fence, Topic), Remembered>,
    sweep_at: usize,
}

/// The states of all topics that were written.
#[derive(Default)]
pub(super) struct Standings(Mutex<ByTopic>);

impl Standings {
    /// The standing of a topic of which nothing need be known after `lapses`, at `now`.
    pub(super) fn of(
        &self,
        fence: Fence,
        topic: &Topic,
        now: UnixNanos,
        lapses: UnixNanos,
    ) -> Arc<Turn<WriterState>> {
        let mut standings = self.0.lock();
        standings.sweep(now);
        let new = || Remembered { turn: Arc::new(Turn::new(WriterState::new(topic))), lapses };
        let remembered = standings.topics.entry((fence, topic.clone())).or_insert_with(new);
        remembered.lapses = lapses;
        Arc::clone(&remembered.turn)
    }

    pub(super) fn forget(&self, fence: Fence, topic: &Topic) {
        self.0.lock().topics.remove(&(fence, topic.clone()));
    }

    /// Forgets the states of other fencing numbers than `fence`.
    pub(super) fn begin(&self, fence: Fence) {
        self.0.lock().topics.retain(|(of, _), _| *of == fence);
    }
}

impl ByTopic {
    fn sweep(&mut self, now: UnixNanos) {
        if self.topics.len() < self.sweep_at.max(SWEEP_FROM) {
            return;
        }
        self.topics.retain(|_, remembered| remembered.lapses >= now);
        self.sweep_at = 2 * self.topics.len();
    }
}

impl WriterState {
    fn new(topic: &Topic) -> Self {
        Self { keys: Keys::of(topic), acknowledged: None, unsure: false, failed: None, state_bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::topic;

    #[test]
    fn topics_that_have_lapsed_are_forgotten() {
        let standings = Standings::default();
        let (begun, lapses) = (UnixNanos::from_secs(1), UnixNanos::from_secs(10));
        let later = UnixNanos::from_secs(20);
        standings.of(Fence(1), &topic("T0"), begun, later);
        for n in 1..SWEEP_FROM {
            standings.of(Fence(1), &topic(&format!("T{n}")), begun, lapses);
        }
        standings.of(Fence(1), &topic("NEW"), UnixNanos::from_secs(11), later);
        assert_eq!(standings.0.lock().topics.len(), 2);
    }
}
