//! What a feed gets next: look at what is new, and take what is due of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::topic::Topic;

use super::{Feed, FeedTopic, Picked, Scratch};
use crate::delivery::cursor::{Cursor, Pick};
use crate::delivery::follow::{FollowState, Moment, announce, settle};
use crate::delivery::frame;
use crate::delivery::ring::Ring;

/// With so many bytes of snapshots, gaps and answers in a turn no further topic is looked at.
const TURN_BYTES: usize = 128 * 1024;

/// The most items of one topic that are looked at in one turn.
pub(super) const TURN_ITEMS: usize = 256;

/// What a look at all topics came to, besides the picks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chosen {
    /// Whether another look would find more.
    pub(crate) more: bool,
    /// When it wants to be looked at again, if not before.
    pub(crate) timer: Option<Instant>,
    /// Whether what there is waits for a batch to fill.
    pub(crate) is_held: bool,
}

/// How a topic is looked at.
#[derive(Clone, Copy)]
struct LookedAt {
    /// The time between two events; zero for every event.
    interval: Duration,
    /// Whether that time is over.
    is_due: bool,
    control: bool,
    /// How far the cursor may lag.
    most_lag: u64,
    is_compressed: bool,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// Everything that is to be had now was taken.
    All,
    /// There is more.
    Part,
    /// The client had fallen behind, and goes on elsewhere.
    Behind,
}

impl Chosen {
    fn wake_at(&mut self, at: Instant) {
        self.timer = Some(self.timer.map_or(at, |timer| timer.min(at)));
    }
}

impl Feed {
    /// Looks for what is next, which then is in the bench's picks. Gaps go to `out`, as frames; where there are any there are no picks,
    /// since the gaps come first.
    pub(crate) fn choose(
        &mut self,
        control: bool,
        out: &mut Vec<u8>,
        bench: &mut Scratch,
        moment: &mut Moment<'_>,
    ) -> Chosen {
        let said = out.len();
        let mut chosen = self.gather(control, out, bench, moment);
        if let Some(at) = self.reorder(&mut bench.picks, moment.clock.now(), moment.now) {
            chosen.wake_at(at);
        }
        if out.len() > said {
            self.put_back(&mut bench.picks);
            chosen.more = true;
        } else if let Some(until) = self.hold(bench.picks.len(), moment.now) {
            self.put_back(&mut bench.picks);
            chosen.wake_at(until);
            chosen.is_held = true;
        } else {
            self.waiting_since = None;
        }
        chosen
    }

    /// Picks the next items of all fresh topics, in order of arrival.
    fn gather(
        &mut self,
        control: bool,
        out: &mut Vec<u8>,
        bench: &mut Scratch,
        moment: &mut Moment<'_>,
    ) -> Chosen {
        let mut chosen = Chosen::default();
        let (mut horizon, mut has_skipped) = (u64::MAX, false);
        let (most_lag, is_compressed) = (self.most_lag(), self.is_compressed());
        bench.picks.clear();
        for index in 0..self.topics.len() {
            let interval = self.interval(&self.topics[index]);
            let topic = &mut self.topics[index];
            topic.in_buffer = false;
            if !topic.fresh {
                continue;
            }
            if out.len() >= TURN_BYTES {
                // What is said so far goes first.
                chosen.more = true;
                break;
            }
            let is_due = interval.is_zero() || moment.now >= topic.due;
            if !is_due {
                chosen.wake_at(topic.due);
                if !topic.has_urgent() {
                    continue;
                }
            }
            let way = LookedAt { interval, is_due, control, most_lag, is_compressed };
            let before = *moment.tally;
            let looked = topic.look(way, out, &mut bench.looked, moment);
            if let Some(family) = topic.family() {
                bench.counts.look(family, moment.tally, &before);
            }
            has_skipped |= looked == Looked::Behind;
            let more = looked != Looked::All;
            topic.fresh = more || !is_due;
            if more {
                chosen.more = true;
                horizon = horizon.min(bench.looked.last().map_or(u64::MAX, |pick| pick.arrival));
            }
            bench.picks.extend(bench.looked.drain(..).map(|pick| (index, pick)));
        }
        bench.picks.sort_unstable_by_key(|(_, pick)| pick.arrival);
        self.leave_beyond(horizon, bench);
        if let Some(status) = self.adapt(has_skipped, moment) {
            frame::text(&status, out);
        }
        self.raises_at().into_iter().for_each(|at| chosen.wake_at(at));
        chosen
    }

    /// Leaves what came after an item that was not looked at for the next turn.
    fn leave_beyond(&mut self, horizon: u64, bench: &mut Scratch) {
        let within = bench.picks.partition_point(|(_, pick)| pick.arrival <= horizon);
        for (index, _) in bench.picks.drain(within..) {
            self.topics[index].fresh = true;
        }
    }

    /// Whether a batch should wait for more, and until when.
    fn hold(&mut self, count: usize, now: Instant) -> Option<Instant> {
        let batch = self.batch.filter(|batch| !batch.wait.is_zero() && count > 0 && count < batch.size)?;
        let until = *self.waiting_since.get_or_insert(now) + batch.wait;
        (now < until).then_some(until)
    }

    /// Whether items that were ordered wait for nothing but their turn.
    pub(crate) fn has_due(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.has_due())
    }

    /// Moves the cursors past what went, and counts it.
    pub(crate) fn pass(&mut self, gone: &[Picked], moment: &mut Moment<'_>) {
        for (index, pick) in gone {
            let interval = self.interval(&self.topics[*index]);
            let topic = &mut self.topics[*index];
            let is_event = pick.is_delivered();
            // A feed that is ordered has moved on already.
            if self.order.is_none() {
                topic.pass(pick, moment.now, interval);
            }
            topic.needs_whole &= !is_event;
            moment.tally.delivered += u64::from(is_event);
        }
        if let Some((_, newest)) = gone.last() {
            moment.tally.newest = newest.at;
        }
    }
}

impl FeedTopic {
    /// Whether there may be items that do not wait until the topic is due.
    fn has_urgent(&self) -> bool {
        matches!(self.follow.place, FollowState::Joining(_))
            || matches!(self.follow.ring.topic, Topic::Published(_))
    }

    /// Looks at the next items.
    fn look(
        &mut self,
        way: LookedAt,
        out: &mut Vec<u8>,
        into: &mut Vec<Pick>,
        moment: &mut Moment<'_>,
    ) -> Looked {
        if matches!(self.follow.place, FollowState::Joining(_)) {
            return if self.join(way.is_compressed, out, moment) { Looked::Part } else { Looked::All };
        }
        let Some(cursor) = settle(&mut self.follow, way.control, moment.clock, out) else {
            return Looked::All;
        };
        let ring = Arc::clone(&self.follow.ring);
        if matches!(ring.topic, Topic::Published(_)) {
            return self.look_published(cursor, way, out, into, moment);
        }
        if !way.interval.is_zero() {
            self.look_thinned(&ring, cursor, way.control, into);
            return Looked::All;
        }
        if ring.picks(cursor, way.control, TURN_ITEMS, into).is_err() {
            self.skip(&ring, cursor, way.control, out, moment);
            return Looked::Part;
        }
        if into.len() == TURN_ITEMS { Looked::Part } else { Looked::All }
    }

    /// Looks at the next items of a published topic, from which a client goes on by the state where it has fallen behind.
    fn look_published(
        &mut self,
        cursor: Cursor,
        way: LookedAt,
        out: &mut Vec<u8>,
        into: &mut Vec<Pick>,
        moment: &mut Moment<'_>,
    ) -> Looked {
        let more = match self.lag(cursor) > way.most_lag {
            true => None,
            false => self.look_named(cursor, (way.interval, way.is_due), into),
        };
        match more {
            Some(true) => Looked::Part,
            Some(false) => Looked::All,
            None => {
                self.catch_up(cursor, way.is_compressed, out, moment);
                Looked::Behind
            }
        }
    }

    /// Takes the newest event, and every status that came before it. Numbers so skipped are no gap.
    fn look_thinned(&mut self, ring: &Ring, cursor: Cursor, control: bool, into: &mut Vec<Pick>) {
        let Some(newest) = ring.newest(cursor) else { return };
        self.needs_whole = true;
        if control && ring.picks(cursor, true, usize::MAX, into).is_ok() {
            into.retain(|pick| pick.kind.is_none() && pick.arrival < newest.arrival);
        }
        into.push(newest);
    }

    /// Goes on where a connection that fell behind can.
    fn skip(
        &mut self,
        ring: &Ring,
        cursor: Cursor,
        control: bool,
        out: &mut Vec<u8>,
        moment: &mut Moment<'_>,
    ) {
        let skip = ring.skip(cursor);
        moment.tally.dropped += skip.dropped;
        if control && let Some((epoch, gap)) = skip.gap {
            announce(ring, &epoch, gap, out);
        }
        self.move_to(FollowState::At(skip.cursor));
    }
}
