//! The topics that BondX has fed, and what is to be said of its numbers.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bond_core::topic::PublishedTopic;
use tokio::time::Instant;

/// The most topics that are remembered. Beyond them the first to have come is forgotten, and counts as new when it comes again.
const MOST_TOPICS: usize = 10_000;

/// How often a topic is told of breaks: two processes of BondX that feed one topic would have each event told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What may be missing before an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Nobody knows what: it was not listened to before, or not all of the time.
    Unknown,
    /// BondX's numbers from the first to the second.
    Lost(u64, u64),
}

#[derive(Debug, Default)]
struct Fed {
    last: Option<u64>,
    /// Whether something may have been missed that was not told yet.
    is_broken: bool,
    told_at: Option<Instant>,
}

/// The topics that were fed, with the last number of each.
#[derive(Debug, Default)]
pub(super) struct FedTopics {
    topics: HashMap<PublishedTopic, Fed>,
    /// In the order in which they came.
    order: VecDeque<PublishedTopic>,
}

impl FedTopics {
    /// Takes note of an event of that number, and says what is to be told before it.
    pub(super) fn note(&mut self, topic: &PublishedTopic, seq: Option<u64>, now: Instant) -> Option<Break> {
        if !self.topics.contains_key(topic) {
            self.begin(topic);
        }
        let fed = self.topics.get_mut(topic)?;
        let found = fed.found(seq);
        fed.last = seq;
        if found.is_some() && fed.told_at.is_some_and(|at| now < at + TOLD_EVERY) {
            fed.is_broken = true;
            return None;
        }
        if found.is_some() {
            fed.told_at = Some(now);
            fed.is_broken = false;
        }
        found
    }

    fn begin(&mut self, topic: &PublishedTopic) {
        if self.order.len() >= MOST_TOPICS
            && let Some(first) = self.order.pop_front()
        {
            self.topics.remove(&first);
        }
        self.order.push_back(topic.clone());
        self.topics.insert(topic.clone(), Fed { is_broken: true, ..Fed::default() });
    }

    /// An event of the topic was not passed on.
    pub(super) fn missed(&mut self, topic: &PublishedTopic) {
        if let Some(fed) = self.topics.get_mut(topic) {
            fed.is_broken = true;
        }
    }

    /// Whatever was fed may have missed something, which is told at once: gives all topics.
    pub(super) fn broken(&mut self, now: Instant) -> Vec<PublishedTopic> {
        for fed in self.topics.values_mut() {
            fed.told_at = Some(now);
            fed.is_broken = false;
        }
        self.order.iter().cloned().collect()
    }
}

impl Fed {
    /// What is missing before an event of that number.
    fn found(&self, seq: Option<u64>) -> Option<Break> {
        match (self.last, seq) {
            (Some(last), Some(seq)) if seq > last + 1 => Some(Break::Lost(last + 1, seq - 1)),
            // It counts anew.
            (Some(last), Some(seq)) if seq <= last => Some(Break::Unknown),
            _ => self.is_broken.then_some(Break::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> PublishedTopic {
        name.parse().expect("a topic")
    }

    #[test]
    fn a_jump_is_lost_and_a_fall_a_new_beginning() {
        let (mut fed, x, mut now) = (FedTopics::default(), topic("prices.X"), Instant::now());
        let mut note = |fed: &mut FedTopics, seq| {
            now += TOLD_EVERY;
            fed.note(&x, seq, now)
        };
        assert_eq!(note(&mut fed, Some(5)), Some(Break::Unknown), "what went before is not known");
        assert_eq!(note(&mut fed, Some(6)), None);
        assert_eq!(note(&mut fed, Some(9)), Some(Break::Lost(7, 8)));
        assert_eq!(note(&mut fed, Some(1)), Some(Break::Unknown));
        assert_eq!(note(&mut fed, None), None);
        fed.missed(&x);
        assert_eq!(note(&mut fed, Some(2)), Some(Break::Unknown));
        assert_eq!(fed.broken(now), [topic("prices.X")]);
    }

    #[test]
    fn breaks_are_told_once_a_second_and_none_is_forgotten() {
        let (mut fed, x, now) = (FedTopics::default(), topic("prices.X"), Instant::now());
        assert!(fed.note(&x, Some(1), now).is_some());
        for seq in [100, 2, 101] {
            assert_eq!(fed.note(&x, Some(seq), now), None);
        }
        assert_eq!(fed.note(&x, Some(102), now + TOLD_EVERY), Some(Break::Unknown));
    }

    #[test]
    fn only_so_many_topics_are_remembered() {
        let (mut fed, now) = (FedTopics::default(), Instant::now());
        for n in 0..=MOST_TOPICS {
            fed.note(&topic(&format!("prices.{n}")), Some(1), now);
        }
        assert_eq!((fed.topics.len(), fed.order.len()), (MOST_TOPICS, MOST_TOPICS));
        assert_eq!(fed.note(&topic("prices.0"), Some(2), now), Some(Break::Unknown));
    }
}
