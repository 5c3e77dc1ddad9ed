//! Published topics of a log in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smol_str::SmolStr;

use super::Shared;
use super::ring::Ring;
use super::slot::Slot;
use crate::log::{
    Appended, Fence, KEY_LIFE, LogError, Publication, PublishKey, PublishOutcome, PublishedHead,
};
use crate::time::UnixNanos;
use crate::topic::Topic;

/// The most keys that are remembered; beyond it, the oldest is forgotten before its time.
const MOST_KEYS: usize = 100_000;

/// The keys of batches that were appended, for [`KEY_LIFE`].
#[derive(Default)]
pub(super) struct KeyBook {
    by_name: HashMap<(Topic, SmolStr), KeptKey>,
    /// In the order in which they were used, with the time.
    order: VecDeque<(UnixNanos, Topic, SmolStr)>,
}

#[derive(Clone)]
struct KeptKey {
    digest: SmolStr,
    appended: Appended,
    last_seq: u64,
}

impl KeyBook {
    fn forget(&mut self, now: UnixNanos) {
        let oldest = now.minus(KEY_LIFE);
        while let Some((at, ..)) = self.order.front()
            && (*at < oldest || self.order.len() > MOST_KEYS)
        {
            if let Some((_, topic, name)) = self.order.pop_front() {
                self.by_name.remove(&(topic, name));
            }
        }
    }

    fn find(&self, topic: &Topic, key: Option<&PublishKey>) -> Option<PublishOutcome> {
        let key = key?;
        let kept = self.by_name.get(&(topic.clone(), key.name.clone()))?;
        if kept.digest != key.digest {
            return Some(PublishOutcome::KeyReused);
        }
        Some(PublishOutcome::Repeated(kept.appended.clone(), kept.last_seq))
    }

    fn keep(&mut self, topic: &Topic, key: PublishKey, appended: Appended, last_seq: u64, now: UnixNanos) {
        let PublishKey { name, digest } = key;
        self.order.push_back((now, topic.clone(), name.clone()));
        self.by_name.insert((topic.clone(), name), KeptKey { digest, appended, last_seq });
    }
}

impl Shared {
    pub(super) fn publish(
        &self,
        fence: Fence,
        topic: &Topic,
        publication: Publication,
    ) -> Result<PublishOutcome, LogError> {
        self.end_topics_that_are_over();
        let state = self.state.read();
        state.check(fence)?;
        if let Some(slot) = state.slots.get(topic) {
            return Ok(self.publish_to(topic, slot, publication));
        }
        drop(state);
        let mut state = self.state.write();
        state.check(fence)?;
        let slot = Arc::clone(state.slots.entry(topic.clone()).or_default());
        Ok(self.publish_to(topic, &slot, publication))
    }

    fn publish_to(&self, topic: &Topic, slot: &Slot, publication: Publication) -> PublishOutcome {
        let now = self.clock.now();
        let (mut inner, mut keys) = (slot.lock(), self.keys.lock());
        keys.forget(now);
        if let Some(outcome) = keys.find(topic, publication.key.as_ref()) {
            return outcome;
        }
        if inner.ring.as_ref().map(Ring::head) != publication.after {
            return PublishOutcome::Moved;
        }
        let ring = inner.ring.get_or_insert_with(|| Ring::new(self.new_epoch(now)));
        let (before, key, count) = (ring.bytes(), publication.key.clone(), publication.records.len() as u64);
        let first_seq = ring.publish(publication, now);
        let appended = Appended { epoch: ring.epoch().clone(), first_seq };
        self.trim(ring, before, now);
        inner.wake_followers();
        if let Some(key) = key {
            keys.keep(topic, key, appended.clone(), first_seq + count - 1, now);
        }
        PublishOutcome::Appended(appended)
    }

    /// Now and then, ends the published topics that nobody has published to for long.
    fn end_topics_that_are_over(&self) {
        let (now, due) = (self.clock.now(), self.next_end.load(Ordering::Relaxed));
        let next = now.plus(self.topic_ttl / 16).as_nanos();
        let exchange = || self.next_end.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if now.as_nanos() < due || exchange().is_err() {
            return;
        }
        let mut state = self.state.write();
        let is_over = |topic: &&Topic| {
            let ring_is_over = |ring: &Ring| ring.is_over(now, self.topic_ttl);
            state.slots[*topic].lock().ring.as_ref().is_some_and(ring_is_over)
        };
        let over: Vec<Topic> = state.slots.keys().filter(is_over).cloned().collect();
        over.iter().for_each(|topic| self.drop_ring(&mut state, topic));
    }

    /// Ends a published topic that nobody has published to for long.
    pub(super) fn end_if_over(&self, topic: &Topic) {
        let now = self.clock.now();
        if self.look(topic, |ring| ring.is_over(now, self.topic_ttl)) == Some(true) {
            self.drop_ring(&mut self.state.write(), topic);
        }
    }

    pub(super) fn published(&self, prefix: &str, after: &str, limit: usize) -> Vec<PublishedHead> {
        let state = self.state.read();
        let mut heads: Vec<PublishedHead> = state
            .slots
            .iter()
            .filter_map(|(topic, slot)| {
                let Topic::Published(topic) = topic else { return None };
                let name = topic.as_str();
                if !name.starts_with(prefix) || name <= after {
                    return None;
                }
                let head = slot.lock().ring.as_ref()?.state()?;
                Some(PublishedHead { topic: topic.clone(), position: head.position, ts: head.ts })
            })
            .collect();
        heads.sort_unstable_by(|a, b| a.topic.cmp(&b.topic));
        heads.truncate(limit);
        heads
    }
}
