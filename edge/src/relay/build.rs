//! From what is new to an invocation: who is in line gets its share, as far as there is room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::log::{Gap, GapReason};
use tracing::error;

use super::client::{Client, Closing, Standing};
use super::invocation_builder::{Draft, Refused};
use super::invocation_result::{Sent, UnderWay};
use super::lane::Lane;
use super::poison_search::Limit;
use super::shared::now;
use crate::delivery::feed::{Picked, Scratch};
use crate::delivery::follow::{Moment, Tally, announce};
use crate::delivery::frame;

/// What is left of the lease after the last post.
const MARGIN: Duration = Duration::from_secs(1);

/// Less than this is no time to post in.
const LEAST_BUDGET: Duration = Duration::from_millis(500);

/// How soon to look again whether the lease was renewed.
const LEASE_RECHECK: Duration = Duration::from_millis(100);

/// How often a client is looked at in one invocation: gaps go first, then what comes after them.
const LOOKS: usize = 4;

/// What a look at one client gave.
struct Looked {
    sent: Sent,
    /// Whether there is more than went in.
    more: bool,
    timer: Option<Instant>,
}

impl Lane {
    /// Begins an invocation, if none is in flight, someone is in line, and it may be.
    pub(super) fn begin_invocation(&mut self) {
        if self.under_way.is_some() || self.ready.is_empty() || self.now < self.free_at {
            return;
        }
        if let Some(free_at) = self.held_until() {
            self.free_at = free_at;
            return;
        }
        let Some(budget) = self.budget() else {
            self.free_at = self.now + LEASE_RECHECK;
            return;
        };
        let (draft, sent) = self.draft();
        if draft.is_empty() && self.search.limit() != Limit::Nothing {
            return;
        }
        self.invocations += 1;
        self.free_at = self.now + self.shared.config.pace;
        let invocation =
            draft.finish(self.index, self.invocations, budget, self.shared.parts.ports.clock.now());
        self.under_way = Some(UnderWay::begin(&self.shared, invocation, sent));
    }

    /// The end of a pause, if there is one: of this lane, or of all while the account's quota is used up. Lanes begin again one after
    /// the other.
    fn held_until(&self) -> Option<Instant> {
        let quota = self.shared.quota.lock().clone();
        let spread = Duration::from_millis(u64::from(self.index) * 10);
        let quota = quota.until().map(|until| until + spread);
        [self.backoff.until(), quota].into_iter().flatten().filter(|until| *until > self.now).max()
    }

    /// How long an invocation may post, so that it ends within the lease.
    fn budget(&self) -> Option<Duration> {
        let until = (self.shared.parts.until)().into_std();
        let budget = until.checked_duration_since(now() + MARGIN)?.min(self.shared.config.budget);
        (budget >= LEAST_BUDGET).then_some(budget)
    }

    fn draft(&mut self) -> (Draft, Vec<Sent>) {
        let (connections, items) = self.search.limit().most();
        let (mut draft, mut sent) = (Draft::new(items, self.search.convicts()), Vec::new());
        while sent.len() < connections
            && draft.has_room()
            && let Some(key) = self.ready.pop_front()
        {
            sent.extend(self.add(key, &mut draft));
        }
        (draft, sent)
    }

    /// Adds what a client gets, if it gets anything.
    fn add(&mut self, key: usize, draft: &mut Draft) -> Option<Sent> {
        // Who has left since it was put in line is not found.
        let client = self.clients.get_mut(key).filter(|client| client.standing == Standing::Queued)?;
        let mut tally = Tally::default();
        let mut moment = Moment { clock: &*self.shared.parts.ports.clock, now: self.now, tally: &mut tally };
        let Looked { mut sent, more, timer } = client.look(&mut self.bench, draft, &mut moment);
        self.shared.count(client.stream(), &tally);
        let goes = !sent.is_empty();
        if !goes && !more && timer.is_none() {
            client.slow_since = None;
        }
        let timer = if !goes && more { Some(self.now) } else { timer };
        client.standing = if goes { Standing::UnderWay { news: more } } else { Standing::Idle };
        if goes {
            let batch = client.feed.batch.map_or(0, |batch| batch.size);
            draft.seal(client.asked.id.as_str(), batch, sent.close);
            sent.client = key;
        }
        if let Some(at) = timer {
            self.set_timer(key, at);
        }
        goes.then_some(sent)
    }
}

impl Client {
    /// Takes what it gets next into the draft: what we have to say, then events.
    fn look(&mut self, bench: &mut Scratch, draft: &mut Draft, moment: &mut Moment<'_>) -> Looked {
        let mut looked = Looked { sent: Sent::default(), more: false, timer: None };
        let looks = if self.closing.is_some_and(Closing::is_abrupt) { 0 } else { LOOKS };
        bench.picks.clear();
        for _ in 0..looks {
            let chosen = self.feed.choose(self.asked.control, &mut self.said, bench, moment);
            looked.timer = [looked.timer, chosen.timer].into_iter().flatten().min();
            looked.more = chosen.more && !chosen.is_held;
            looked.more |= self.leave_part_of_a_batch(&mut bench.picks);
            looked.more |= self.park_poison(&mut bench.picks, draft, moment);
            if !bench.picks.is_empty() || !looked.more {
                break;
            }
        }
        self.pack(&mut looked, &mut bench.picks, draft);
        looked.sent.close = match self.closing {
            Some(Closing::StreamEnded) => !looked.more,
            Some(_) => true,
            None => false,
        };
        looked
    }

    /// Where a batch may wait to fill, only whole ones go: the rest begins the next. Returns whether there is a rest.
    fn leave_part_of_a_batch(&mut self, picks: &mut Vec<Picked>) -> bool {
        let Some(batch) = self.feed.batch.filter(|batch| !batch.wait.is_zero()) else { return false };
        let whole = picks.len() / batch.size * batch.size;
        let has_rest = whole > 0 && whole < picks.len();
        if has_rest {
            let mut rest = picks.split_off(whole);
            self.feed.put_back(&mut rest);
        }
        has_rest
    }

    /// Passes an event that comes next and cannot be sent to anyone: it holds up nobody, and is told as a gap. "Slow consumer" is the
    /// least false of the reasons that clients know: the number exists, and this way does not carry it.
    fn park_poison(&mut self, picks: &mut Vec<Picked>, draft: &mut Draft, moment: &mut Moment<'_>) -> bool {
        let Some((index, first)) = picks.first() else { return false };
        let source = (self.feed.topics[*index].follow.ring.id, first.to.offset, false);
        if !draft.is_poison(source, frame::payload(&first.frame)) {
            return false;
        }
        let mut rest = picks.split_off(1);
        self.feed.put_back(&mut rest);
        self.park(picks, moment);
        picks.clear();
        true
    }

    /// Passes `picks` without sending them.
    pub(super) fn park(&mut self, picks: &[Picked], moment: &mut Moment<'_>) {
        let mut tally = Tally::default();
        let mut parking = Moment { clock: moment.clock, now: moment.now, tally: &mut tally };
        self.feed.pass(picks, &mut parking);
        moment.tally.dropped += tally.delivered;
        for (index, pick) in picks {
            let ring = Arc::clone(&self.feed.topics[*index].follow.ring);
            let seq = pick.to.seq;
            error!(connection = %self.asked.id, topic = %ring.name, seq, "an event cannot be delivered and is passed");
            metrics::counter!("bond_relay_parked_total").increment(1);
            if self.asked.control
                && pick.kind.is_some()
                && let Some(position) = ring.position(pick.to)
            {
                let gap = Gap { from_seq: Some(seq), to_seq: seq, reason: GapReason::SlowConsumer };
                announce(&ring, &position.epoch, gap, &mut self.said);
            }
        }
    }

    fn pack(&mut self, looked: &mut Looked, picks: &mut Vec<Picked>, draft: &mut Draft) {
        for said in frame::split(&self.said) {
            draft.say(frame::payload(said));
            looked.sent.said += 1;
        }
        let is_batched = self.feed.batch.is_some();
        let mut count = 0;
        for (index, pick) in picks.iter() {
            let frame = self.feed.frame_of(*index, pick);
            let is_changes = pick.changes.as_ref().is_some_and(|changes| changes.as_ptr() == frame.as_ptr());
            let source = (self.feed.topics[*index].follow.ring.id, pick.to.offset, is_changes);
            match draft.event(source, frame::payload(&frame), is_batched) {
                Ok(()) => count += 1,
                Err(Refused::Full | Refused::Poison) => break,
            }
        }
        let mut rest = picks.split_off(count);
        looked.more |= !rest.is_empty() || self.feed.has_due();
        self.feed.put_back(&mut rest);
        looked.sent.picks = std::mem::take(picks);
    }
}
