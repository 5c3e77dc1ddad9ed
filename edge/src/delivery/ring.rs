//! A topic's latest items as ready WebSocket frames, and the cursors into them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bond_core::connection::TopicStart;
use bond_core::log::{PublishedState, Run};
use bond_core::position::{Position, Start};
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use parking_lot::RwLock;
use tokio::sync::watch;

use bytes::Bytes;

use super::cursor::{BehindRing, Cursor, Frames, Joined, Pick, Retention, Skip, TopicJoined};
use super::deflate::{Form, SharedFrame};
use super::history::History;
use super::pool::Pool;

/// The frames of one topic, filled by one task and read by the workers.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Unique within the process.
    pub(crate) id: u64,
    pub(crate) topic: Topic,
    /// The topic's name.
    pub(crate) name: String,
    history: RwLock<History>,
    /// The workers that have followers, a bit each.
    interested: AtomicU64,
    /// The workers that were told of news and have not looked yet.
    told: AtomicU64,
    followers: AtomicUsize,
    /// Those who follow it by name.
    subscribers: AtomicUsize,
    pool: Arc<Pool>,
    begun: watch::Sender<bool>,
    /// Whether the state is being read from the log.
    is_asked: AtomicBool,
}

impl Ring {
    /// A ring that is filled later. What it holds counts in `pool`.
    pub(crate) fn new(id: u64, topic: Topic, retention: Retention, pool: Arc<Pool>) -> Self {
        let name = topic.to_string();
        let history = RwLock::new(History::new(&topic, &name, retention));
        Self {
            id,
            topic,
            name,
            history,
            interested: AtomicU64::new(0),
            told: AtomicU64::new(0),
            followers: AtomicUsize::new(0),
            subscribers: AtomicUsize::new(0),
            pool,
            begun: watch::Sender::new(false),
            is_asked: AtomicBool::new(false),
        }
    }

    /// Says what the log holds as the ring begins to follow it: its head, whether anything before that is kept, and the state at the head of
    /// a published topic.
    pub(crate) fn begin(&self, head: Option<Position>, kept: bool, state: Option<PublishedState>) {
        self.history.write().begin(head, kept, state);
        self.begun.send_replace(true);
    }

    /// Whether that was said.
    pub(crate) fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Whether the state must be read from the log again, since events were missed. Says so once, until it has been.
    pub(crate) fn needs_state(&self) -> bool {
        let needs = self.history.read().needs_state();
        needs && !self.is_asked.swap(true, Ordering::AcqRel)
    }

    /// Takes over the state as the log has it.
    pub(crate) fn restate(&self, found: Option<PublishedState>) {
        self.is_asked.store(false, Ordering::Release);
        self.history.write().restate(found);
    }

    /// Where a follower by name begins. `None`: not known before there is more in the ring.
    pub(crate) fn join_topic(&self, start: &TopicStart, now: UnixNanos) -> Option<TopicJoined> {
        self.history.write().join_topic(start, now)
    }

    /// The place after everything there is, and the frame of a published topic's state there, where there is one.
    pub(crate) fn newest_state(&self) -> (Cursor, Option<SharedFrame>) {
        let mut history = self.history.write();
        (history.head(), history.snapshot())
    }

    /// A published topic's state at the newest item, as JSON.
    pub(crate) fn state(&self) -> Option<Bytes> {
        self.history.read().state()
    }

    /// The alerts after `cursor` that are kept.
    pub(crate) fn alerts(&self, cursor: Cursor, into: &mut Vec<Pick>) {
        self.history.read().alerts(cursor, into);
    }

    /// Whether there is an alert between two places.
    pub(crate) fn alerts_between(&self, from: Cursor, to: Cursor) -> bool {
        self.history.read().alerts_between(from, to)
    }

    /// What a thinned follower of a published topic is given.
    pub(crate) fn thinned(
        &self,
        cursor: Cursor,
        is_due: bool,
        takes: impl Fn(&Pick) -> bool,
        into: &mut Vec<Pick>,
    ) -> Result<(), BehindRing> {
        self.history.write().thinned(cursor, is_due, takes, into)
    }

    /// Waits until it is known what the log holds.
    pub(crate) async fn begun(&self) {
        // The sender lives as long as the ring.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    /// Turns a start, said at `now`, into a cursor. Returns the start unchanged (`Err`) if the ring has no such position yet, or if a gap must
    /// be announced first; the caller tries again later.
    pub(crate) fn place(&self, start: Start, now: UnixNanos) -> Result<Cursor, Start> {
        let history = self.history.read();
        match history.join(&start, now) {
            Some(Joined { cursor, gap: None }) => Ok(cursor),
            _ => Err(match (&start, history.filling()) {
                // The log's own number, since its times are by the clock of another host.
                (Start::Live, Some(head)) => Start::After(head.clone()),
                _ => start.fixed(now),
            }),
        }
    }

    /// Takes what the log's tail delivered. `arrival` numbers items over all topics.
    pub(crate) fn append(&self, run: &Run, now: UnixNanos, arrival: &mut u64) {
        self.change(|history| {
            history.append(run, arrival);
            history.trim(now);
        });
    }

    /// Changes what is held, and has it counted.
    fn change<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        let mut history = self.history.write();
        let before = history.bytes();
        let changed = change(&mut history);
        self.pool.note(before, history.bytes());
        changed
    }

    /// How many bytes are held.
    pub(crate) fn bytes(&self) -> u64 {
        self.history.read().bytes()
    }

    /// Drops what is oldest, until `most` bytes are left.
    pub(crate) fn shrink_to(&self, most: u64) {
        self.change(|history| history.shrink_to(most));
    }

    /// The topic has ended: what is kept is for those who follow it already.
    pub(crate) fn end(&self, now: UnixNanos, arrival: &mut u64) {
        self.change(|history| history.end(now, arrival));
    }

    /// Drops what is too old.
    pub(crate) fn trim(&self, now: UnixNanos) {
        self.change(|history| history.trim(now));
    }

    /// Where a connection begins. `None`: not known before there is more in the ring.
    pub(crate) fn join(&self, start: &Start, now: UnixNanos) -> Option<Joined> {
        self.history.read().join(start, now)
    }

    /// What `cursor` is as a position that outlives the ring; `None` where its epoch is not known, or no more.
    pub(crate) fn position(&self, cursor: Cursor) -> Option<Position> {
        self.history.read().position(cursor)
    }

    /// The frames after `cursor`, at most `budget` bytes unless the first alone is longer. Only with `control` are statuses and gaps
    /// among them. Empty when there is nothing new.
    pub(crate) fn frames(
        &self,
        cursor: Cursor,
        control: bool,
        budget: u64,
        into: &mut Frames,
    ) -> Result<(), BehindRing> {
        self.history.read().frames(cursor, control, budget, into)
    }

    /// At most `limit` items after `cursor`, one by one.
    pub(crate) fn picks(
        &self,
        cursor: Cursor,
        control: bool,
        limit: usize,
        into: &mut Vec<Pick>,
    ) -> Result<(), BehindRing> {
        self.history.read().picks(cursor, control, limit, into)
    }

    /// The compressed frame of an item, in the place of what `plain` gives in this form; `None` where it goes as it is. It is made for the
    /// first client that needs it, while others who need it wait.
    pub(crate) fn deflated<'a>(
        &self,
        pick: &Pick,
        form: Form,
        plain: impl FnOnce() -> Cow<'a, [u8]>,
    ) -> Option<Bytes> {
        let offset = pick.to.offset;
        let kept = pick.deflated.clone().or_else(|| self.change(|history| history.deflated(offset)));
        let forms = kept.unwrap_or_default();
        let (frame, added) = forms.get(form, plain);
        if added > 0 {
            self.change(|history| history.count_deflated(offset, &forms, added as u64));
        }
        frame
    }

    /// The newest event after `cursor`, if there is one.
    pub(crate) fn newest(&self, cursor: Cursor) -> Option<Pick> {
        self.history.read().newest(cursor)
    }

    /// The place after everything there is.
    pub(crate) fn head(&self) -> Cursor {
        self.history.read().head()
    }

    /// When the first event after `cursor` was appended, if there is one.
    pub(crate) fn first_after(&self, cursor: Cursor) -> Option<UnixNanos> {
        self.history.read().first_after(cursor)
    }

    /// The end of the frame that `offset` lies in.
    pub(crate) fn frame_end(&self, offset: u64) -> Option<Cursor> {
        self.history.read().frame_end(offset)
    }

    /// The place for a connection that has fallen behind.
    pub(crate) fn skip(&self, cursor: Cursor) -> Skip {
        self.history.read().skip(cursor)
    }

    /// Has worker `index` told of news from here on, or no more.
    pub(crate) fn interest(&self, index: usize, interested: bool) {
        let bit = 1 << index;
        if interested {
            self.look(index);
            self.interested.fetch_or(bit, Ordering::AcqRel);
        } else {
            self.interested.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// The workers that must be told of news now, a bit each.
    pub(crate) fn tell(&self) -> u64 {
        let interested = self.interested.load(Ordering::Acquire);
        interested & !self.told.fetch_or(interested, Ordering::AcqRel)
    }

    /// Worker `index` is about to look.
    pub(crate) fn look(&self, index: usize) {
        self.told.fetch_and(!(1 << index), Ordering::AcqRel);
    }

    /// Counts followers: a ring without any is dropped after a while.
    pub(crate) fn add_follower(&self) {
        self.followers.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn remove_follower(&self) {
        self.followers.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many follow it by name.
    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Acquire)
    }

    /// Counts one more who follows it by name. Returns whether it is the first.
    pub(super) fn add_subscriber(&self) -> bool {
        self.subscribers.fetch_add(1, Ordering::AcqRel) == 0
    }

    /// Counts one less. Returns whether it was the last.
    pub(super) fn remove_subscriber(&self) -> bool {
        self.subscribers.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The number of the newest event, and its time; `None` for a topic without any.
    pub(crate) fn latest(&self) -> Option<(u64, UnixNanos)> {
        self.history.read().latest()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.followers.load(Ordering::Acquire) == 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.pool.note(self.history.get_mut().bytes(), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bond_core::log::{Entry, EventKind, Item, Record};
    use bond_core::position::Epoch;
    use bytes::Bytes;

    use super::*;
    use crate::delivery::deflate::DeflatedForms;

    fn ring() -> Ring {
        let topic = "trades.okx.BTC-USDT".parse().expect("topic");
        let retention = Retention { window: Duration::from_secs(60), bytes: 1 << 20 };
        Ring::new(1, topic, retention, Pool::new(1 << 20))
    }

    #[test]
    fn who_joins_live_while_the_ring_is_filled_begins_at_the_logs_head_whatever_the_writers_clock_says() {
        let (ring, epoch, now) = (ring(), Epoch::new("e").expect("epoch"), UnixNanos::from_secs(1000));
        ring.begin(Some(Position { epoch: epoch.clone(), seq: 2 }), true, None);
        let start = ring.place(Start::Live, now).expect_err("not filled yet");
        let at = now.minus(Duration::from_secs(5));
        let event = |seq| {
            let body = Bytes::from_static(b"\"a\":1");
            let record = Record { kind: EventKind::Trade, ts: at, order: at, body, changes: None };
            Item::Event(Entry { seq, at, record })
        };
        let items = (1..=3).map(event).collect();
        ring.append(&Run { epoch, gap: None, items }, now, &mut 0);
        let joined = ring.join(&start, now).expect("filled");
        assert_eq!((joined.cursor.seq, joined.gap), (2, None));
    }

    #[test]
    fn a_worker_is_told_once_until_it_looks_and_again_after_it_was_away() {
        let ring = ring();
        ring.interest(3, true);
        assert_eq!([ring.tell(), ring.tell()], [1 << 3, 0]);
        ring.look(3);
        assert_eq!(ring.tell(), 1 << 3);
        ring.interest(3, false);
        assert_eq!(ring.tell(), 0);
        ring.interest(3, true);
        assert_eq!(ring.tell(), 1 << 3);
    }

    #[test]
    fn a_compressed_frame_is_made_once_for_all_threads_counted_and_gone_with_its_event() {
        let (ring, now) = (ring(), UnixNanos::from_secs(1000));
        let body = format!("\"text\":\"{}\"", "a word ".repeat(200));
        ring.begin(None, false, None);
        let record = Record { kind: EventKind::Trade, ts: now, order: now, body: body.into(), changes: None };
        let items = vec![Item::Event(Entry { seq: 1, at: now, record })];
        ring.append(&Run { epoch: Epoch::new("e").expect("epoch"), gap: None, items }, now, &mut 0);
        let held = ring.bytes();
        let mut picks = Vec::new();
        ring.picks(Cursor::default(), false, 1, &mut picks).expect("kept");
        let made = AtomicUsize::new(0);
        let deflate = || {
            let plain = || {
                made.fetch_add(1, Ordering::Relaxed);
                Cow::Borrowed(&picks[0].frame[..])
            };
            ring.deflated(&picks[0], Form::Whole, plain).expect("shorter")
        };
        let frames: Vec<Bytes> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(deflate)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a frame")).collect()
        });
        assert_eq!(made.load(Ordering::Relaxed), 1);
        assert!(frames.iter().all(|frame| frame.as_ptr() == frames[0].as_ptr()));
        let beside = (frames[0].len() + size_of::<DeflatedForms>()) as u64;
        assert_eq!((ring.bytes(), ring.pool.held()), (held + beside, held + beside));
        ring.shrink_to(0);
        assert_eq!((ring.bytes(), ring.pool.held()), (0, 0));
        assert_eq!(deflate(), frames[0], "who has picked it still gets it");
        assert_eq!((ring.bytes(), ring.pool.held()), (0, 0));
    }
}
