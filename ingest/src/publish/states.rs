//! The states of the topics that were published to last, so that a busy topic's is not read from the log for each batch.

use std::collections::{BTreeMap, HashMap};

use bond_core::topic::PublishedTopic;

use super::step::TopicHead;

/// What a topic costs besides its name and its state.
const OVERHEAD: usize = 256;

/// Heads with their states, bounded by bytes: those used least recently go first.
#[derive(Debug)]
pub(super) struct TopicHeads {
    by_topic: HashMap<PublishedTopic, (u64, TopicHead)>,
    /// By when they were used.
    by_use: BTreeMap<u64, PublishedTopic>,
    next_use: u64,
    bytes: usize,
    most_bytes: usize,
}

impl TopicHeads {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { by_topic: HashMap::new(), by_use: BTreeMap::new(), next_use: 0, bytes: 0, most_bytes }
    }

    /// The head of a topic, if it is kept. It counts as used.
    pub(super) fn get(&mut self, topic: &PublishedTopic) -> Option<TopicHead> {
        let (used, head) = self.by_topic.get_mut(topic)?;
        self.by_use.remove(used);
        *used = self.next_use;
        self.by_use.insert(self.next_use, topic.clone());
        self.next_use += 1;
        Some(head.clone())
    }

    pub(super) fn put(&mut self, topic: &PublishedTopic, head: TopicHead) {
        self.forget(topic);
        self.bytes += size(topic, &head);
        self.by_use.insert(self.next_use, topic.clone());
        self.by_topic.insert(topic.clone(), (self.next_use, head));
        self.next_use += 1;
        while self.bytes > self.most_bytes
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.forget(&oldest);
        }
    }

    pub(super) fn forget(&mut self, topic: &PublishedTopic) {
        if let Some((used, head)) = self.by_topic.remove(topic) {
            self.by_use.remove(&used);
            self.bytes -= size(topic, &head);
        }
    }
}

fn size(topic: &PublishedTopic, head: &TopicHead) -> usize {
    OVERHEAD + 2 * topic.as_str().len() + head.state.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: usize) -> TopicHead {
        TopicHead { state: Some(vec![b'1'; bytes].into()), ..TopicHead::default() }
    }

    fn topic(name: &str) -> PublishedTopic {
        name.parse().expect("a topic")
    }

    #[test]
    fn what_was_used_least_recently_goes_first() {
        let mut heads = TopicHeads::new(3_000);
        let [a, b, c] = ["prices.a", "prices.b", "prices.c"].map(topic);
        heads.put(&a, head(1_000));
        heads.put(&b, head(1_000));
        assert!(heads.get(&a).is_some());
        heads.put(&c, head(1_000));
        assert_eq!([&a, &b, &c].map(|topic| heads.get(topic).is_some()), [true, false, true]);
        assert!(heads.bytes <= 3_000);
    }

    #[test]
    fn nothing_is_left_of_what_is_forgotten() {
        let mut heads = TopicHeads::new(3_000);
        for _ in 0..3 {
            heads.put(&topic("prices.a"), head(100));
        }
        heads.put(&topic("prices.large"), head(5_000));
        heads.forget(&topic("prices.a"));
        assert_eq!((heads.by_topic.len(), heads.by_use.len(), heads.bytes), (0, 0, 0));
    }
}
