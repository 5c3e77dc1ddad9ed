//! What a feed gets next: look at what is new, and take what is due of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Feed, FeedTopic, Picked, Scratch};
use crate::delivery::cursor::{Cursor, Pick};
use crate::delivery::follow::{FollowState, Moment, announce, settle};
use crate::delivery::ring::Ring;

/// The most items of one topic that are looked at in one turn.
const TURN_ITEMS: usize = 256;

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
        let mut horizon = u64::MAX;
        bench.picks.clear();
        for index in 0..self.topics.len() {
            let interval = self.interval(&self.topics[index]);
            let topic = &mut self.topics[index];
            topic.in_buffer = false;
            if !topic.fresh {
                continue;
            }
            if !interval.is_zero() && moment.now < topic.due {
                chosen.wake_at(topic.due);
                continue;
            }
            topic.fresh = topic.look(interval, control, out, &mut bench.looked, moment);
            if topic.fresh {
                chosen.more = true;
                horizon = horizon.min(bench.looked.last().map_or(u64::MAX, |pick| pick.arrival));
            }
            bench.picks.extend(bench.looked.drain(..).map(|pick| (index, pick)));
        }
        bench.picks.sort_unstable_by_key(|(_, pick)| pick.arrival);
        self.leave_beyond(horizon, bench);
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
            let is_event = pick.kind.is_some();
            // A feed that is ordered has moved on already.
            if self.order.is_none() {
                topic.pass(pick.to, is_event, moment.now, interval);
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
    /// Looks at the next items, and returns whether there are more than were taken.
    fn look(
        &mut self,
        interval: Duration,
        control: bool,
        out: &mut Vec<u8>,
        into: &mut Vec<Pick>,
        moment: &mut Moment<'_>,
    ) -> bool {
        let Some(cursor) = settle(&mut self.follow, control, moment.clock, out) else { return false };
        let ring = Arc::clone(&self.follow.ring);
        if !interval.is_zero() {
            self.look_thinned(&ring, cursor, control, into);
            return false;
        }
        if ring.picks(cursor, control, TURN_ITEMS, into).is_err() {
            self.skip(&ring, cursor, control, out, moment);
            return true;
        }
        into.len() == TURN_ITEMS
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
