//! Tails of the log in memory. A writer marks the topic in the mailbox of each tail that follows it, so that no tail scans topics.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::log::{LogError, News, Run, Tail};
use crate::position::Position;
use crate::topic::Topic;

use super::Shared;
use super::ring::{RecordMeta, Ring};
use super::slot::Slot;

/// The most events of one topic that one call of `next` returns. The rest comes with later calls.
const RUN_EVENTS: usize = 1024;

/// What waits for one tail.
#[derive(Default)]
pub(super) struct Mailbox {
    pending: Mutex<Pending>,
    news: Notify,
}

#[derive(Default)]
struct Pending {
    dirty: Vec<Topic>,
    /// One entry per topic, so that an unread mailbox does not grow each time a topic begins or ends.
    changes: HashMap<Topic, Change>,
}

/// What has happened to a topic since the tail last looked.
#[derive(Clone, Copy)]
enum Change {
    Began,
    Ended,
    BeganAgain,
}

impl Mailbox {
    pub(super) fn began(&self, topic: &Topic) {
        self.change(topic, |before| match before {
            None | Some(Change::Began) => Some(Change::Began),
            Some(Change::Ended | Change::BeganAgain) => Some(Change::BeganAgain),
        });
    }

    pub(super) fn ended(&self, topic: &Topic) {
        self.change(topic, |before| match before {
            Some(Change::Began) => None,
            None | Some(Change::Ended | Change::BeganAgain) => Some(Change::Ended),
        });
    }

    fn change(&self, topic: &Topic, next: impl FnOnce(Option<Change>) -> Option<Change>) {
        let mut pending = self.pending.lock();
        let before = pending.changes.remove(topic);
        if let Some(change) = next(before) {
            pending.changes.insert(topic.clone(), change);
        }
        drop(pending);
        self.news.notify_one();
    }

    fn mark_dirty(&self, topic: &Topic) {
        self.pending.lock().dirty.push(topic.clone());
        self.news.notify_one();
    }
}

/// One tail's interest in one topic.
pub(super) struct Follower {
    topic: Topic,
    mailbox: Arc<Mailbox>,
    /// Whether the topic is in the mailbox already. A busy topic is so marked once per read, not once per event.
    dirty: AtomicBool,
}

impl Follower {
    pub(super) fn wake(self: &Arc<Self>) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.mailbox.mark_dirty(&self.topic);
        }
    }
}

/// A followed topic, and how far it was read.
struct Followed {
    slot: Arc<Slot>,
    follower: Arc<Follower>,
    cursor: Cursor,
}

/// How far a topic was read.
enum Cursor {
    /// Nothing was read yet: after this position, or from the oldest kept.
    Asked(Option<Position>),
    Read(RecordMeta),
}

impl Followed {
    /// What is new in `ring`, if anything.
    fn advance(&mut self, ring: &Ring) -> Option<Run> {
        let (place, gap) = match &self.cursor {
            Cursor::Asked(after) => ring.place(after.as_ref()),
            Cursor::Read(place) => ring.resume(place),
        };
        let (run, end) = ring.take(&place, gap, RUN_EVENTS);
        if ring.has_after(&end) {
            self.follower.wake();
        }
        self.cursor = Cursor::Read(end);
        (run.gap.is_some() || !run.items.is_empty()).then_some(run)
    }
}

/// A [`Tail`] of a log in memory.
pub(super) struct MemoryTail {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    followed: HashMap<Topic, Followed>,
}

impl MemoryTail {
    pub(super) fn new(shared: Arc<Shared>, mailbox: Arc<Mailbox>) -> Self {
        Self { shared, mailbox, followed: HashMap::new() }
    }

    fn collect(&mut self) -> News {
        let Pending { dirty, changes } = mem::take(&mut *self.mailbox.pending.lock());
        let mut news = News::default();
        for (topic, change) in changes {
            if matches!(change, Change::Ended | Change::BeganAgain) {
                news.ended.push(topic.clone());
            }
            if matches!(change, Change::Began | Change::BeganAgain) {
                news.began.push(topic);
            }
        }
        news.runs = dirty.into_iter().filter_map(|topic| self.read(topic)).collect();
        news
    }

    fn read(&mut self, topic: Topic) -> Option<(Topic, Run)> {
        let followed = self.followed.get_mut(&topic)?;
        // This is reset before reading, so that whatever is appended from here on marks the topic again.
        followed.follower.dirty.swap(false, Ordering::AcqRel);
        let slot = Arc::clone(&followed.slot);
        let run = self.shared.with_ring(&slot, |ring| followed.advance(ring))??;
        Some((topic, run))
    }
}

#[async_trait]
impl Tail for MemoryTail {
    fn follow(&mut self, topic: Topic, after: Option<Position>) {
        self.unfollow(&topic);
        let follower = Arc::new(Follower {
            topic: topic.clone(),
            mailbox: Arc::clone(&self.mailbox),
            dirty: AtomicBool::new(false),
        });
        let mut state = self.shared.state.write();
        let slot = Arc::clone(state.slots.entry(topic.clone()).or_default());
        slot.lock().add_follower(Arc::clone(&follower));
        drop(state);
        follower.wake();
        self.followed.insert(topic, Followed { slot, follower, cursor: Cursor::Asked(after) });
    }

    fn unfollow(&mut self, topic: &Topic) {
        let Some(Followed { slot, follower, .. }) = self.followed.remove(topic) else { return };
        let mut state = self.shared.state.write();
        let mut inner = slot.lock();
        inner.remove_follower(&follower);
        if inner.is_vacant() {
            state.slots.remove(topic);
        }
    }

    async fn next(&mut self) -> Result<News, LogError> {
        loop {
            let news = self.collect();
            if news != News::default() {
                return Ok(news);
            }
            self.mailbox.news.notified().await;
        }
    }
}

impl Drop for MemoryTail {
    fn drop(&mut self) {
        let topics: Vec<Topic> = self.followed.keys().cloned().collect();
        topics.iter().for_each(|topic| self.unfollow(topic));
    }
}
