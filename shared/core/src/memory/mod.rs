//! The event log and the connections in memory: the adapters of a single process, and the reference for the other adapters.

mod connections;
mod published;
mod ring;
mod slot;
mod tail;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::log::{
    Appended, EventLog, Fence, LogError, Publication, PublishOutcome, PublishedHead, PublishedState, Record,
    Run, Tail,
};
use crate::position::{Epoch, Position};
use crate::time::{Clock, UnixNanos};
use crate::topic::Topic;

pub use self::connections::MemoryConnections;
use self::published::KeyBook;
use self::ring::Ring;
use self::slot::Slot;
use self::tail::{Mailbox, MemoryTail};

/// How much history a log in memory keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long items are kept.
    pub ring: Duration,
    /// The most bytes of one topic. Its oldest items go first; the newest one stays, however large.
    pub topic_bytes: usize,
    /// The most bytes of all topics. Above it, a topic that is appended to gives up its own oldest items.
    pub total_bytes: usize,
}

/// An [`EventLog`] in memory. A clone is another handle on the same log.
#[derive(Clone)]
pub struct MemoryLog(Arc<Shared>);

struct Shared {
    retention: Retention,
    clock: Arc<dyn Clock>,
    next_nonce: AtomicU64,
    used_bytes: AtomicUsize,
    /// When old items of silent topics are dropped next, in Unix nanoseconds.
    next_sweep: AtomicI64,
    /// When published topics that nobody publishes to are to be looked for next, in Unix nanoseconds.
    next_end: AtomicI64,
    /// How long a published topic is kept after it was published to.
    topic_ttl: Duration,
    keys: Mutex<KeyBook>,
    /// Appends hold this lock for reading, so that an `acquire` waits for appends in flight. It is locked before any slot.
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    fence: u64,
    slots: HashMap<Topic, Arc<Slot>>,
    tails: Vec<Weak<Mailbox>>,
}

impl State {
    const fn check(&self, fence: Fence) -> Result<(), LogError> {
        if fence.0 == self.fence { Ok(()) } else { Err(LogError::Fenced) }
    }

    fn tails(&self) -> impl Iterator<Item = Arc<Mailbox>> {
        self.tails.iter().filter_map(Weak::upgrade)
    }
}

/// How long a published topic is kept after it was published to, unless it is said.
const TOPIC_TTL: Duration = Duration::from_secs(86_400);

impl MemoryLog {
    /// An empty log. `nonce` distinguishes its epochs from those of an earlier log in the same millisecond: draw it at random.
    pub fn new(retention: Retention, clock: Arc<dyn Clock>, nonce: u32) -> Self {
        Self::with_topic_ttl(retention, clock, nonce, TOPIC_TTL)
    }

    /// As [`MemoryLog::new`], with published topics that end `topic_ttl` after they were last published to.
    pub fn with_topic_ttl(
        retention: Retention,
        clock: Arc<dyn Clock>,
        nonce: u32,
        topic_ttl: Duration,
    ) -> Self {
        Self(Arc::new(Shared {
            topic_ttl,
            next_end: AtomicI64::new(i64::MIN),
            keys: Mutex::default(),
            retention,
            clock,
            next_nonce: AtomicU64::new(nonce.into()),
            used_bytes: AtomicUsize::new(0),
            next_sweep: AtomicI64::new(i64::MIN),
            state: RwLock::default(),
        }))
    }
}

impl Shared {
    fn append(&self, fence: Fence, topic: &Topic, records: Vec<Record>) -> Result<Appended, LogError> {
        let state = self.state.read();
        state.check(fence)?;
        self.sweep(&state);
        if let Some(slot) = state.slots.get(topic) {
            return Ok(self.write(&state, topic, slot, records));
        }
        drop(state);
        let mut state = self.state.write();
        state.check(fence)?;
        let slot = Arc::clone(state.slots.entry(topic.clone()).or_default());
        Ok(self.write(&state, topic, &slot, records))
    }

    fn write(&self, state: &State, topic: &Topic, slot: &Slot, records: Vec<Record>) -> Appended {
        let now = self.clock.now();
        let mut inner = slot.lock();
        let began = inner.ring.is_none();
        let ring = inner.ring.get_or_insert_with(|| Ring::new(self.new_epoch(now)));
        let before = ring.bytes();
        let first_seq = ring.append(records, now);
        let epoch = ring.epoch().clone();
        self.trim(ring, before, now);
        inner.wake_followers();
        if began && !matches!(topic, Topic::Published(_)) {
            state.tails().for_each(|tail| tail.began(topic));
        }
        Appended { epoch, first_seq }
    }

    fn keep(&self, fence: Fence, topic: &Topic, body: Bytes) -> Result<Option<Position>, LogError> {
        let state = self.state.read();
        state.check(fence)?;
        let Some(slot) = state.slots.get(topic) else { return Ok(None) };
        let mut inner = slot.lock();
        let Some(ring) = &mut inner.ring else { return Ok(None) };
        let (before, now) = (ring.bytes(), self.clock.now());
        ring.keep(body, now);
        self.trim(ring, before, now);
        let head = ring.head();
        inner.wake_followers();
        Ok(Some(head))
    }

    fn end(&self, fence: Fence, topic: &Topic) -> Result<(), LogError> {
        let mut state = self.state.write();
        state.check(fence)?;
        self.drop_ring(&mut state, topic);
        Ok(())
    }

    fn drop_ring(&self, state: &mut State, topic: &Topic) {
        let Some(slot) = state.slots.get(topic).map(Arc::clone) else { return };
        let mut inner = slot.lock();
        if let Some(ring) = inner.ring.take() {
            self.used_bytes.fetch_sub(ring.bytes(), Ordering::Relaxed);
            state.tails().for_each(|tail| tail.ended(topic));
        }
        if !inner.has_followers() {
            state.slots.remove(topic);
        }
    }

    /// Trims a ring that had `before` bytes, so that it and the sum of all rings are within their bounds.
    fn trim(&self, ring: &mut Ring, before: usize, now: UnixNanos) {
        let Retention { ring: length, topic_bytes, total_bytes } = self.retention;
        ring.drop_older(now, length);
        ring.shrink_to(topic_bytes);
        let others = self.used_bytes.load(Ordering::Relaxed).saturating_sub(before);
        ring.shrink_to(total_bytes.saturating_sub(others));
        self.used_bytes.fetch_add(ring.bytes(), Ordering::Relaxed);
        self.used_bytes.fetch_sub(before, Ordering::Relaxed);
    }

    /// At intervals, drops old items in all topics. Otherwise a silent topic would keep its memory for ever. No slot may be locked by the
    /// caller.
    fn sweep(&self, state: &State) {
        let (now, due) = (self.clock.now(), self.next_sweep.load(Ordering::Relaxed));
        let next = now.plus(self.retention.ring / 4).as_nanos();
        let exchange = || self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if now.as_nanos() >= due && exchange().is_ok() {
            for slot in state.slots.values() {
                self.with_ring(slot, |_| ());
            }
        }
    }

    /// Drops a topic's old items, and calls `look` with its history, if it has one.
    fn with_ring<T>(&self, slot: &Slot, look: impl FnOnce(&Ring) -> T) -> Option<T> {
        let mut inner = slot.lock();
        let ring = inner.ring.as_mut()?;
        let before = ring.bytes();
        ring.drop_older(self.clock.now(), self.retention.ring);
        self.used_bytes.fetch_sub(before - ring.bytes(), Ordering::Relaxed);
        Some(look(ring))
    }

    fn look<T>(&self, topic: &Topic, look: impl FnOnce(&Ring) -> T) -> Option<T> {
        let slot = Arc::clone(self.state.read().slots.get(topic)?);
        self.with_ring(&slot, look)
    }

    fn new_epoch(&self, now: UnixNanos) -> Epoch {
        Epoch::begun(now, self.next_nonce.fetch_add(1, Ordering::Relaxed))
    }
}

impl State {
    fn topics(&self) -> impl Iterator<Item = &Topic> {
        let named = self.slots.iter().filter(|(topic, _)| !matches!(topic, Topic::Published(_)));
        named.filter(|(_, slot)| slot.lock().ring.is_some()).map(|(topic, _)| topic)
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn acquire(&self) -> Result<Fence, LogError> {
        let mut state = self.0.state.write();
        let now = u64::try_from(self.0.clock.now().as_millis()).unwrap_or(0);
        state.fence = now.max(state.fence + 1);
        Ok(Fence(state.fence))
    }

    async fn append(&self, fence: Fence, topic: &Topic, records: Vec<Record>) -> Result<Appended, LogError> {
        debug_assert!(!records.is_empty(), "an append without records would begin an epoch without events");
        self.0.append(fence, topic, records)
    }

    async fn publish(
        &self,
        fence: Fence,
        topic: &Topic,
        publication: Publication,
    ) -> Result<PublishOutcome, LogError> {
        debug_assert!(!publication.records.is_empty(), "a publication has events");
        self.0.publish(fence, topic, publication)
    }

    async fn state(&self, topic: &Topic) -> Result<Option<PublishedState>, LogError> {
        self.0.end_if_over(topic);
        Ok(self.0.look(topic, Ring::state).flatten())
    }

    async fn published(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<PublishedHead>, LogError> {
        Ok(self.0.published(prefix, after, limit))
    }

    async fn keep(&self, fence: Fence, topic: &Topic, body: Bytes) -> Result<Option<Position>, LogError> {
        self.0.keep(fence, topic, body)
    }

    async fn end(&self, fence: Fence, topic: &Topic) -> Result<(), LogError> {
        self.0.end(fence, topic)
    }

    async fn head(&self, topic: &Topic) -> Result<Option<Position>, LogError> {
        Ok(self.0.look(topic, Ring::head))
    }

    async fn read(
        &self,
        topic: &Topic,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Option<Run>, LogError> {
        Ok(self.0.look(topic, |ring| {
            let (place, gap) = ring.place(after);
            ring.take(&place, gap, limit).0
        }))
    }

    async fn position_at(&self, topic: &Topic, time: UnixNanos) -> Result<Option<Position>, LogError> {
        Ok(self.0.look(topic, |ring| ring.position_at(time)))
    }

    async fn topics(&self) -> Result<Vec<Topic>, LogError> {
        Ok(self.0.state.read().topics().cloned().collect())
    }

    fn tail(&self) -> Box<dyn Tail> {
        let mailbox = Arc::new(Mailbox::default());
        let mut state = self.0.state.write();
        state.topics().for_each(|topic| mailbox.began(topic));
        state.tails.retain(|tail| tail.strong_count() > 0);
        state.tails.push(Arc::downgrade(&mailbox));
        drop(state);
        Box::new(MemoryTail::new(Arc::clone(&self.0), mailbox))
    }
}

#[cfg(test)]
mod tests;
