//! The general path: connections that follow many topics, or take them thinned, as changes, or in batches.
//!
//! Such a connection picks items one by one, in the order of their arrival, into a buffer that all of them share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::feed::FeedFilter;
use bond_core::message::Rate;
use bond_core::time::{Clock, UnixNanos};
use bond_core::topic::{StreamId, Topic};
use bytes::Bytes;
use smol_str::SmolStr;

use super::connection::{Carried, Connection, Follow, Place};
use super::frame;
use super::pass::{Tally, Turn, announce, settle};
use super::ring::{Cursor, Pick, Ring};

/// The most items of one topic that are looked at in one turn.
const TURN_ITEMS: usize = 256;

/// The most bytes that one connection gets in one turn; a single frame may be longer.
const TURN_BYTES: usize = 128 * 1024;

/// The most bytes of one batch; a single event may be longer.
const BATCH_BYTES: usize = 32 * 1024;

/// How a client takes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSetup {
    /// The most events in one.
    pub(crate) size: usize,
    /// How long one may wait to fill.
    pub(crate) wait: Duration,
}

/// What a feed's client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) filter: FeedFilter,
    /// At most one ticker or book per topic in this time.
    pub(crate) speed: Duration,
    pub(crate) max_lag: Duration,
    pub(crate) book_changes: bool,
}

/// What a feed is about.
#[derive(Debug)]
pub(crate) enum Scope {
    /// One stream.
    Stream(StreamId),
    /// Everything that a filter takes, wanted under this name.
    Filter { name: SmolStr, filter: Option<FeedFilter> },
}

/// The topics of one connection, and how it takes them.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) scope: Scope,
    pub(crate) topics: Vec<FeedTopic>,
    /// When it asked for what it wants: nothing older is sent.
    pub(crate) since: UnixNanos,
    pub(crate) speed: Duration,
    pub(crate) is_background: bool,
    pub(crate) book_changes: bool,
    pub(crate) batch: Option<BatchSetup>,
    /// Whether it is in line for a turn.
    pub(crate) queued: bool,
    /// When a timer will give it a turn.
    pub(crate) timer: Option<Instant>,
    /// Since when a batch waits to fill.
    waiting_since: Option<Instant>,
}

/// One topic of a feed.
#[derive(Debug)]
pub(crate) struct FeedTopic {
    pub(crate) follow: Follow,
    /// Whether there may be items that were not looked at.
    pub(crate) fresh: bool,
    /// What the client set for this topic alone.
    pub(crate) rate: Option<Rate>,
    /// When the next thinned event may go.
    due: Instant,
    /// Whether a client that takes changes needs the whole book first.
    pub(crate) needs_whole: bool,
    /// Whether it has an item in the buffer.
    in_buffer: bool,
}

/// What all feeds of a worker share while they have their turn.
#[derive(Debug, Default)]
pub(crate) struct Workbench {
    picks: Vec<(usize, Pick)>,
    looked: Vec<Pick>,
    buffer: Vec<u8>,
    sent: Vec<Sent>,
}

/// An item in the buffer.
#[derive(Debug)]
struct Sent {
    topic: usize,
    to: Cursor,
    /// Where its frame ends in the buffer.
    end: usize,
    is_event: bool,
}

impl Feed {
    pub(crate) fn new(scope: Scope, batch: Option<BatchSetup>) -> Self {
        Self {
            scope,
            topics: Vec::new(),
            since: UnixNanos::EPOCH,
            speed: Duration::ZERO,
            is_background: false,
            book_changes: false,
            batch,
            queued: false,
            timer: None,
            waiting_since: None,
        }
    }

    /// Follows one topic more.
    pub(crate) fn add(&mut self, follow: Follow, now: Instant) {
        let topic =
            FeedTopic { follow, fresh: true, rate: None, due: now, needs_whole: true, in_buffer: false };
        self.topics.push(topic);
    }

    /// Its part of a topic, if it follows it.
    pub(crate) fn topic_mut(&mut self, name: &str) -> Option<&mut FeedTopic> {
        self.topics.iter_mut().find(|topic| topic.follow.ring.name == name)
    }

    /// Takes note of news in a ring.
    pub(crate) fn mark(&mut self, ring: u64) {
        for topic in self.topics.iter_mut().filter(|topic| topic.follow.ring.id == ring) {
            topic.fresh = true;
        }
    }

    /// Whether its filter takes `topic`, and it does not follow it yet.
    pub(crate) fn lacks(&self, topic: &Topic) -> bool {
        let Scope::Filter { filter: Some(filter), .. } = &self.scope else { return false };
        filter.matches(topic) && self.topics.iter().all(|known| known.follow.ring.topic != *topic)
    }

    fn interval(&self, topic: &FeedTopic) -> Duration {
        if !is_thinnable(&topic.follow.ring.topic) {
            return Duration::ZERO;
        }
        let background = if self.is_background { Rate::Background.interval() } else { Duration::ZERO };
        self.speed.max(background).max(topic.rate.map_or(Duration::ZERO, Rate::interval))
    }
}

/// Trades and funding are never thinned.
fn is_thinnable(topic: &Topic) -> bool {
    use bond_core::event::Channel;
    matches!(topic, Topic::Market(market) if matches!(market.channel, Channel::Ticker | Channel::OrderBook))
}

/// Gives a feed its turn. `Some` time: it wants another turn then, if not before.
pub(crate) fn deliver(
    connection: &mut Connection,
    bench: &mut Workbench,
    clock: &dyn Clock,
    now: Instant,
    tally: &mut Tally,
) -> (Turn, Option<Instant>) {
    match connection.flush(now) {
        Ok(true) => {}
        Ok(false) => return (Turn::Done, None),
        Err(_) => return (Turn::Broken, None),
    }
    // Taken out, so that the socket and the feed can be worked on at once.
    let Carried::Feed(mut feed) = std::mem::replace(&mut connection.carried, Carried::Nothing) else {
        return (Turn::Done, None);
    };
    let gathered = gather(&mut feed, connection, bench, clock, now, tally);
    let outcome = if connection.outbox.is_empty() {
        send(&mut feed, connection, bench, gathered, now, tally)
    } else {
        feed.refresh(bench);
        (Turn::More, None)
    };
    connection.carried = Carried::Feed(feed);
    outcome
}

/// What a look at all topics gave, besides the picks.
#[derive(Clone, Copy, Debug, Default)]
struct Gathered {
    more: bool,
    timer: Option<Instant>,
}

impl Gathered {
    fn wake_at(&mut self, at: Instant) {
        self.timer = Some(self.timer.map_or(at, |timer| timer.min(at)));
    }
}

/// Picks the next items of all fresh topics, in order of arrival.
fn gather(
    feed: &mut Feed,
    connection: &mut Connection,
    bench: &mut Workbench,
    clock: &dyn Clock,
    now: Instant,
    tally: &mut Tally,
) -> Gathered {
    let mut gathered = Gathered::default();
    let mut horizon = u64::MAX;
    bench.picks.clear();
    for index in 0..feed.topics.len() {
        let interval = feed.interval(&feed.topics[index]);
        let topic = &mut feed.topics[index];
        topic.in_buffer = false;
        if !topic.fresh {
            continue;
        }
        if interval > Duration::ZERO && now < topic.due {
            gathered.wake_at(topic.due);
            continue;
        }
        topic.fresh = false;
        let Some(cursor) = settle(&mut topic.follow, connection.control, clock, connection.outbox.end())
        else {
            continue;
        };
        bench.looked.clear();
        let more = topic.look(cursor, interval, connection, &mut bench.looked, tally);
        if more {
            (gathered.more, topic.fresh) = (true, true);
            horizon = horizon.min(bench.looked.last().map_or(u64::MAX, |pick| pick.arrival));
        }
        bench.picks.extend(bench.looked.drain(..).map(|pick| (index, pick)));
    }
    bench.picks.sort_unstable_by_key(|(_, pick)| pick.arrival);
    bench.picks.retain(|(_, pick)| pick.arrival <= horizon);
    gathered
}

impl FeedTopic {
    /// Looks at the items after `cursor`, and returns whether there are more than were taken.
    fn look(
        &mut self,
        cursor: Cursor,
        interval: Duration,
        connection: &mut Connection,
        into: &mut Vec<Pick>,
        tally: &mut Tally,
    ) -> bool {
        let ring = Arc::clone(&self.follow.ring);
        if interval > Duration::ZERO {
            self.look_thinned(&ring, cursor, connection.control, into);
            return false;
        }
        if ring.picks(cursor, connection.control, TURN_ITEMS, into).is_err() {
            let skip = ring.skip(cursor);
            tally.dropped += skip.dropped;
            if connection.control
                && let Some((epoch, gap)) = skip.gap
            {
                announce(&ring, &epoch, gap, connection.outbox.end());
            }
            self.needs_whole = true;
            self.follow.place = Place::At(skip.cursor);
            return true;
        }
        into.len() == TURN_ITEMS
    }

    /// Takes the newest event, and every status that came before it.
    fn look_thinned(&mut self, ring: &Ring, cursor: Cursor, control: bool, into: &mut Vec<Pick>) {
        let Some(newest) = ring.newest(cursor) else { return };
        self.needs_whole = true;
        if control && ring.picks(cursor, true, usize::MAX, into).is_ok() {
            into.retain(|pick| pick.kind.is_none() && pick.arrival < newest.arrival);
        } else {
            into.clear();
        }
        into.push(newest);
    }
}

impl Feed {
    /// Has everything that was picked, and not sent, looked at again.
    fn refresh(&mut self, bench: &Workbench) {
        for (topic, _) in &bench.picks {
            self.topics[*topic].fresh = true;
        }
    }

    /// Whether a batch should wait for more, and until when.
    fn hold(&mut self, count: usize, now: Instant) -> Option<Instant> {
        let batch = self.batch.filter(|batch| !batch.wait.is_zero() && count > 0 && count < batch.size)?;
        let until = *self.waiting_since.get_or_insert(now) + batch.wait;
        (now < until).then_some(until)
    }

    /// Puts the picked items' frames into the buffer, as far as the turn goes.
    fn render(&mut self, bench: &mut Workbench) {
        bench.buffer.clear();
        bench.sent.clear();
        match self.batch {
            Some(batch) => self.render_batch(batch, bench),
            None => self.render_frames(bench),
        }
    }

    fn render_frames(&mut self, bench: &mut Workbench) {
        for (index, pick) in &bench.picks {
            if bench.buffer.len() >= TURN_BYTES {
                break;
            }
            bench.buffer.extend_from_slice(self.frame_of(*index, pick));
            bench.sent.push(Sent::of(*index, pick, bench.buffer.len()));
        }
    }

    fn render_batch(&mut self, batch: BatchSetup, bench: &mut Workbench) {
        let mut json = Vec::with_capacity(4096);
        for (index, pick) in bench.picks.iter().take(batch.size) {
            let payload = frame::payload(self.frame_of(*index, pick));
            if !json.is_empty() && json.len() + payload.len() + 2 > BATCH_BYTES {
                break;
            }
            json.push(if json.is_empty() { b'[' } else { b',' });
            json.extend_from_slice(payload);
            bench.sent.push(Sent::of(*index, pick, 0));
        }
        if !json.is_empty() {
            json.push(b']');
            frame::text(&json, &mut bench.buffer);
        }
        let end = bench.buffer.len();
        bench.sent.iter_mut().for_each(|sent| sent.end = end);
    }

    /// The form of an item that this client takes now.
    fn frame_of<'a>(&mut self, index: usize, pick: &'a Pick) -> &'a Bytes {
        let topic = &mut self.topics[index];
        let is_continued = !topic.needs_whole || topic.in_buffer;
        topic.in_buffer |= pick.kind.is_some();
        match &pick.changes {
            Some(changes) if self.book_changes && is_continued => changes,
            _ => &pick.frame,
        }
    }
}

impl Sent {
    fn of(topic: usize, pick: &Pick, end: usize) -> Self {
        Self { topic, to: pick.to, end, is_event: pick.kind.is_some() }
    }
}

fn send(
    feed: &mut Feed,
    connection: &mut Connection,
    bench: &mut Workbench,
    mut gathered: Gathered,
    now: Instant,
    tally: &mut Tally,
) -> (Turn, Option<Instant>) {
    if let Some(until) = feed.hold(bench.picks.len(), now) {
        feed.refresh(bench);
        gathered.wake_at(until);
        return (Turn::Done, gathered.timer);
    }
    feed.waiting_since = None;
    feed.render(bench);
    let outcome = if bench.buffer.is_empty() { Ok(0) } else { connection.write(&bench.buffer, now) };
    let Ok(written) = outcome else { return (Turn::Broken, None) };
    let reached = bench.frame_end(written);
    let passed = bench.sent.iter().take_while(|sent| sent.end <= reached).count();
    for sent in &bench.sent[..passed] {
        feed.pass(sent, now);
        tally.delivered += u64::from(sent.is_event);
    }
    if let Some((_, newest)) = passed.checked_sub(1).and_then(|last| bench.picks.get(last)) {
        tally.newest = newest.at;
    }
    connection.outbox.end().extend_from_slice(&bench.buffer[written..reached]);
    bench.picks.drain(..passed);
    feed.refresh(bench);
    let more = gathered.more || !bench.picks.is_empty();
    (if more && !connection.blocked { Turn::More } else { Turn::Done }, gathered.timer)
}

impl Workbench {
    /// The end of the frame in which a write of `written` bytes ended.
    fn frame_end(&self, written: usize) -> usize {
        let mut ends = self.sent.iter().map(|sent| sent.end);
        if written == 0 { 0 } else { ends.find(|end| *end >= written).unwrap_or(written) }
    }
}

impl Feed {
    /// Moves a cursor past an item that went.
    fn pass(&mut self, sent: &Sent, now: Instant) {
        let interval = self.interval(&self.topics[sent.topic]);
        let topic = &mut self.topics[sent.topic];
        topic.follow.place = Place::At(sent.to);
        if sent.is_event {
            topic.needs_whole = false;
            topic.due = now + interval;
        }
    }
}
