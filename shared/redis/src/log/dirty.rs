//! Topics that may have news, in the order in which that was learned.

use std::collections::{HashSet, VecDeque};

use bond_core::topic::Topic;

/// Each topic once, the first to be marked first: where more come than are read, each has its turn.
#[derive(Default)]
pub(super) struct Dirty {
    order: VecDeque<Topic>,
    marked: HashSet<Topic>,
}

impl Dirty {
    pub(super) fn mark(&mut self, topic: &Topic) {
        if self.marked.insert(topic.clone()) {
            self.order.push_back(topic.clone());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The first `count` of them, which stay marked.
    pub(super) fn first(&self, count: usize) -> Vec<Topic> {
        self.order.iter().take(count).cloned().collect()
    }

    /// The first `count` of them have been read.
    pub(super) fn drop_first(&mut self, count: usize) {
        for topic in self.order.drain(..count.min(self.order.len())) {
            self.marked.remove(&topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::topic;

    #[test]
    fn each_topic_has_its_turn() {
        let mut dirty = Dirty::default();
        ["A", "B", "A", "C"].iter().for_each(|name| dirty.mark(&topic(name)));
        assert_eq!(dirty.first(2), [topic("A"), topic("B")]);
        dirty.drop_first(2);
        dirty.mark(&topic("A"));
        assert_eq!(dirty.first(9), [topic("C"), topic("A")]);
        dirty.drop_first(9);
        assert!(dirty.is_empty());
    }
}
