//! Builds the next invocation: takes clients from the queue, and adds to the draft what each gets next, as long as there is room.
//!
//! For example, client A is at event 5 of a topic, client B at event 7, and the topic's head is event 8. The draft's table then holds
//! the messages 6, 7 and 8 once each; A's parcel lists all three, and B's lists only the last. Nothing moves a client's cursor here.
//! What was picked is remembered in [`Sent`], and the cursor moves when the receipt says how many messages were taken (see
//! `invocation_result`).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::log::{Gap, GapReason};
use bond_core::message::envelope;
use tracing::error;

use super::client::{Client, Closing, Standing};
use super::invocation_builder::{Draft, Form, Refused, Source};
use super::invocation_result::{Sent, UnderWay};
use super::lane::Lane;
use super::poison_search::Limit;
use super::shared::now;
use crate::delivery::cursor::Pick;
use crate::delivery::feed::{Picked, Scratch};
use crate::delivery::follow::{Moment, Tally, announce};
use crate::delivery::frame;

/// The least time between the end of an invocation and the end of the lease. It covers differences of clocks
/// ([`CLOCK_SKEW`](bond_core::deliver::CLOCK_SKEW)): the next relay must not post while this one still does.
const MARGIN: Duration = Duration::from_secs(1);

/// If an invocation could post for less time than this, the lane waits until the lease is renewed.
const LEAST_BUDGET: Duration = Duration::from_millis(500);

/// How soon to look again whether the lease was renewed.
const LEASE_RECHECK: Duration = Duration::from_millis(100);

/// How often one client is looked at for one invocation. A look that finds a gap returns the gap without events, so the events after it
/// need another look.
const LOOKS: usize = 4;

/// What one client adds to the draft.
struct Looked {
    sent: Sent,
    /// Whether the client has more to get than went into the draft.
    more: bool,
    /// When the client is to be looked at again, if that is known.
    timer: Option<Instant>,
}

impl Lane {
    /// Begins an invocation if none is in flight, a client is queued, and neither a pause nor the lease forbids it.
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
        // An empty invocation is sent only by the search for a poisoned event, to see whether the function works at all.
        if draft.is_empty() && self.search.limit() != Limit::Nothing {
            return;
        }
        self.invocations += 1;
        self.free_at = self.now + self.shared.config.pace;
        let invocation =
            draft.finish(self.index, self.invocations, budget, self.shared.parts.ports.clock.now());
        self.under_way = Some(UnderWay::begin(&self.shared, invocation, sent));
    }

    /// When the current pause ends, if there is one. A pause is this lane's own, or that of all lanes while the account's quota is used
    /// up. After the latter, lanes start again 10 ms apart, so that they do not use up the quota at once.
    fn held_until(&self) -> Option<Instant> {
        let quota = self.shared.quota.lock().clone();
        let spread = Duration::from_millis(u64::from(self.index) * 10);
        let quota = quota.until().map(|until| until + spread);
        [self.backoff.until(), quota].into_iter().flatten().filter(|until| *until > self.now).max()
    }

    /// How long an invocation may post so that it ends within the lease; `None` if too little of the lease is left. For example, with
    /// 4.2 s of the lease left and a configured budget of 5 s, the invocation gets 3.2 s.
    fn budget(&self) -> Option<Duration> {
        let until = (self.shared.parts.until)().into_std();
        let budget = until.checked_duration_since(now() + MARGIN)?.min(self.shared.config.budget);
        (budget >= LEAST_BUDGET).then_some(budget)
    }

    /// Fills a draft from the queue. The search for a poisoned event may limit how much goes in.
    fn draft(&mut self) -> (Draft, Vec<Sent>) {
        let (connections, items) = self.search.limit().most();
        let (mut draft, mut sent) = (Draft::new(items, self.search.poisoned()), Vec::new());
        while sent.len() < connections
            && draft.has_room()
            && let Some(key) = self.ready.pop_front()
        {
            sent.extend(self.add(key, &mut draft));
        }
        (draft, sent)
    }

    /// Adds a client's share to the draft. `None` if there is nothing to send to it.
    fn add(&mut self, key: usize, draft: &mut Draft) -> Option<Sent> {
        // A client that has left since it was queued is not found.
        let client = self.clients.get_mut(key).filter(|client| client.standing == Standing::Queued)?;
        let mut tally = Tally::default();
        let mut moment = Moment { clock: &*self.shared.parts.ports.clock, now: self.now, tally: &mut tally };
        let Looked { mut sent, more, timer } = client.look(&mut self.scratch, draft, &mut moment);
        self.shared.count(client.stream(), &tally);
        let goes = !sent.is_empty();
        if !goes && !more && timer.is_none() {
            client.slow_since = None;
        }
        // Nothing found room, yet there is more: look again in the next round.
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
    /// Adds to the draft what this client gets next: first notices (gaps, heartbeats, errors), then events.
    fn look(&mut self, scratch: &mut Scratch, draft: &mut Draft, moment: &mut Moment<'_>) -> Looked {
        let mut looked = Looked { sent: Sent::default(), more: false, timer: None };
        let looks = if self.closing.is_some_and(Closing::is_abrupt) { 0 } else { LOOKS };
        scratch.picks.clear();
        for _ in 0..looks {
            let chosen = self.feed.choose(self.asked.control, &mut self.notices, scratch, moment);
            looked.timer = [looked.timer, chosen.timer].into_iter().flatten().min();
            looked.more = chosen.more && !chosen.is_held;
            if self.feed.named().is_some() {
                looked.more |= self.feed.leave_out_passed_over(&mut scratch.picks, moment);
            }
            looked.more |= self.leave_part_of_a_batch(&mut scratch.picks);
            looked.more |= self.park_poison(&mut scratch.picks, draft, moment);
            if !scratch.picks.is_empty() || !looked.more {
                break;
            }
        }
        self.pack(&mut looked, &mut scratch.picks, draft);
        looked.sent.close = match self.closing {
            Some(Closing::StreamEnded) => !looked.more,
            Some(_) => true,
            None => false,
        };
        looked
    }

    /// Keeps back an incomplete batch if the client lets batches wait to fill. With a batch size of 10 and 25 events, 20 go now and 5
    /// begin the next batch. Fewer events than one batch all go: their waiting time is over, or they would not have been chosen. Returns
    /// whether events were kept back.
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

    /// Skips the client's next event if it cannot be sent to anyone, so that it does not hold up the events behind it. The client is told
    /// of a gap. The gap's reason is `slow_consumer`, which is the closest of the reasons that clients know: the event exists, but this
    /// way of delivery cannot carry it. Returns whether an event was skipped.
    fn park_poison(&mut self, picks: &mut Vec<Picked>, draft: &mut Draft, moment: &mut Moment<'_>) -> bool {
        let Some((index, first)) = picks.first() else { return false };
        let (frame, source) = self.form_of(*index, first);
        if !draft.is_poison(source, frame::payload(&frame)) {
            return false;
        }
        let mut rest = picks.split_off(1);
        self.feed.put_back(&mut rest);
        self.park(picks, moment);
        picks.clear();
        true
    }

    /// Skips `picks`: moves the cursors past them without sending them, logs each, and announces gaps to clients with control.
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
                if self.feed.named().is_some() {
                    let told = envelope::gap(&ring.name, Some(&position.epoch), gap, moment.clock.now());
                    frame::text(&told, &mut self.notices);
                } else {
                    announce(&ring, &position.epoch, gap, &mut self.notices);
                }
            }
        }
    }

    /// The frame of an item as this client takes it, and what identifies it among all frames.
    fn form_of<'a>(&mut self, index: usize, pick: &'a Pick) -> (Cow<'a, [u8]>, Source) {
        let frame = self.feed.frame_of(index, pick);
        let is_changes = pick.changes.as_ref().is_some_and(|changes| changes.as_ptr() == frame.as_ptr());
        let form = match &frame {
            Cow::Owned(_) => Form::Enveloped,
            Cow::Borrowed(_) if pick.is_state => Form::State,
            Cow::Borrowed(_) if is_changes => Form::Changes,
            Cow::Borrowed(_) => Form::Whole,
        };
        (frame, (self.feed.topics[index].follow.ring.id, pick.to.offset, form))
    }

    /// Puts the notices and as many of `picks` as find room into the draft. The others go back to the feed, for a later invocation.
    fn pack(&mut self, looked: &mut Looked, picks: &mut Vec<Picked>, draft: &mut Draft) {
        for notice in frame::split(&self.notices) {
            draft.notice(frame::payload(notice));
            looked.sent.notices += 1;
        }
        let is_batched = self.feed.batch.is_some();
        let mut count = 0;
        for (index, pick) in picks.iter() {
            let (frame, source) = self.form_of(*index, pick);
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
