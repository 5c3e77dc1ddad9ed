//! Feeds whose client names its topics: each has a start, a filter and a rate of its own, and is answered by an `ack` that says where it
//! stands.
//!
//! Where a topic stands is known once its ring has looked at the log. Until then its `ack` waits, and goes out before the topic's first item.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::connection::{TopicAck, TopicAnswers, TopicRequest, TopicsState};
use bond_core::feed::FeedFilter;
use bond_core::log::{EventKind, Gap, GapReason};
use bond_core::message::Rate;
use bond_core::message::envelope::{self, AckFields, Place};
use bond_core::time::UnixNanos;
use bond_core::topic::{Family, Topic};
use smol_str::{SmolStr, format_smolstr};

use super::choose::TURN_ITEMS;
use super::subscribed::Subscribed;
use super::subscription::Subscriber;
use super::{Feed, FeedTopic, Picked, Scope};
use crate::delivery::cursor::{Cursor, Pick};
use crate::delivery::deflate::{Form, SharedFrame};
use crate::delivery::figures::WorkerCounts;
use crate::delivery::follow::{Follow, FollowState, Moment};
use crate::delivery::frame;
use crate::delivery::ring::Ring;

/// The most acks that wait for one topic; the oldest goes unsaid beyond it.
const MOST_ACKS: usize = 16;

/// After so many skips in [`SKIPS_WITHIN`] a connection gets everything less often.
const SKIPS: usize = 3;

/// See [`SKIPS`].
const SKIPS_WITHIN: Duration = Duration::from_secs(30);

/// After so long without a skip it gets everything more often again.
const CALM: Duration = Duration::from_secs(60);

/// The rates that a connection is lowered to, one after the other.
const STEPS: [Rate; 3] = [Rate::Normal, Rate::Low, Rate::Background];

/// What a client that names its topics has asked for, and how it keeps up.
#[derive(Debug)]
pub(crate) struct NamedTopics {
    /// By which name what it follows is wanted of ingest.
    pub(crate) name: SmolStr,
    pub(crate) asked: TopicsState,
    /// How far a cursor may lag.
    most_lag: u64,
    /// When it last was too slow, up to [`SKIPS`] times.
    skips: VecDeque<Instant>,
    /// How many of [`STEPS`] it was lowered by.
    lowered: usize,
}

impl NamedTopics {
    pub(crate) fn new(name: SmolStr, most_lag: u64) -> Self {
        let asked = TopicsState::default();
        Self { name, asked, most_lag, skips: VecDeque::new(), lowered: 0 }
    }

    fn lowered_interval(&self) -> Duration {
        self.lowered.checked_sub(1).map_or(Duration::ZERO, |step| STEPS[step].interval())
    }

    /// Takes note of a skip, and says to which rate that lowers the connection.
    fn skipped(&mut self, now: Instant) -> Option<Rate> {
        self.skips.push_back(now);
        self.skips.retain(|at| now.duration_since(*at) <= SKIPS_WITHIN);
        if self.skips.len() < SKIPS || self.lowered == STEPS.len() {
            return None;
        }
        self.skips.clear();
        // So that the next calm counts from here.
        self.skips.push_back(now);
        self.lowered += 1;
        Some(STEPS[self.lowered - 1])
    }

    /// Whether it has been calm for long enough to be raised by a step, and to which rate.
    fn calmed(&mut self, now: Instant) -> Option<Rate> {
        let is_calm = self.skips.back().is_none_or(|at| now.duration_since(*at) >= CALM);
        if self.lowered == 0 || !is_calm {
            return None;
        }
        self.skips.clear();
        self.skips.push_back(now);
        self.lowered -= 1;
        Some(self.lowered.checked_sub(1).map_or(Rate::High, |step| STEPS[step]))
    }
}

/// An answer to a message about a topic that waits for its topic.
#[derive(Debug)]
pub(super) struct WaitingAck {
    action: &'static str,
    correlation_id: Option<Box<str>>,
}

/// What a topic has that was asked for by name.
#[derive(Debug)]
pub(super) struct NamedTopic {
    request: TopicRequest,
    acks: Vec<WaitingAck>,
    subscribed: Subscribed,
    /// Up to which number it catches up: what lies before is no lag.
    caught_up: u64,
}

impl NamedTopic {
    fn takes(&self, pick: &Pick) -> bool {
        pick.kind == Some(EventKind::Alert) || self.request.takes(pick.subtopic.as_deref())
    }
}

/// A message that was taken: what is answered to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TakenMessage<'a> {
    pub(crate) action: &'static str,
    pub(crate) correlation_id: Option<&'a str>,
}

impl Feed {
    /// What its client has asked for by name, if it names topics.
    pub(crate) fn named(&self) -> Option<&NamedTopics> {
        match &self.scope {
            Scope::Topics(named) => Some(named),
            Scope::Filter { .. } | Scope::Stream(_) => None,
        }
    }

    fn named_mut(&mut self) -> Option<&mut NamedTopics> {
        match &mut self.scope {
            Scope::Topics(named) => Some(named),
            Scope::Filter { .. } | Scope::Stream(_) => None,
        }
    }

    /// Serves its client as it asks now, and puts the answers to its message into `out`, as JSON. Those that wait for a topic come with it.
    pub(crate) fn serve_topics(
        &mut self,
        asked: &TopicsState,
        answers: &TopicAnswers,
        taken: Option<TakenMessage<'_>>,
        mut subscriber: Subscriber<'_>,
        out: &mut Vec<Vec<u8>>,
    ) {
        let now = subscriber.clock.now();
        let mut ended = self.apply_topics(asked, &mut subscriber);
        out.extend(self.unsaid(&mut ended, now));
        let Some(taken) = taken else { return };
        for answer in answers {
            match answer {
                Ok(ack) => out.extend(self.answer(ack, &ended, taken, now)),
                Err(refusal) => out.push(envelope::error(refusal, None, now, taken.correlation_id)),
            }
        }
    }

    /// Follows what its client asks for now. Returns what it follows no more.
    pub(super) fn apply_topics(
        &mut self,
        asked: &TopicsState,
        subscriber: &mut Subscriber<'_>,
    ) -> Vec<FeedTopic> {
        let ended = self.let_go_of_unnamed(asked, subscriber);
        let Some(named) = self.named_mut() else { return ended };
        let before = std::mem::replace(&mut named.asked, asked.clone());
        self.is_background = asked.is_background;
        // A message changes one topic of a thousand: each of the others would be looked for among all.
        for (name, request) in &asked.topics {
            if before.topics.get(name) != Some(request) {
                self.serve_topic(name, request, subscriber);
            }
        }
        ended
    }

    /// The answers that waited for topics which are followed no more.
    pub(super) fn unsaid(&self, ended: &mut [FeedTopic], now: UnixNanos) -> Vec<Vec<u8>> {
        let is_compressed = self.is_compressed();
        let told = |topic: &mut FeedTopic| {
            let acks = topic.named.as_mut().map(|named| std::mem::take(&mut named.acks)).unwrap_or_default();
            let tell = |WaitingAck { action, correlation_id }: WaitingAck| {
                let taken = TakenMessage { action, correlation_id: correlation_id.as_deref() };
                topic.ack(taken, is_compressed, now)
            };
            acks.into_iter().map(tell).collect::<Vec<_>>()
        };
        ended.iter_mut().flat_map(told).collect()
    }

    /// Stops following what is asked for no more, and says where that stood.
    fn let_go_of_unnamed(&mut self, asked: &TopicsState, subscriber: &mut Subscriber<'_>) -> Vec<FeedTopic> {
        let is_gone = |topic: &mut FeedTopic| !asked.topics.contains_key(topic.follow.ring.name.as_str());
        let gone: Vec<FeedTopic> = self.topics.extract_if(.., is_gone).collect();
        for topic in &gone {
            subscriber.followers.leave(subscriber.id, topic.follow.ring.id);
            self.want(&topic.follow.ring.topic, false, subscriber);
        }
        gone
    }

    /// Has a topic run that ingest runs for those who want it alone.
    fn want(&self, topic: &Topic, is_wanted: bool, subscriber: &Subscriber<'_>) {
        if let (Topic::Market(market), Some(named)) = (topic, self.named()) {
            let name = format_smolstr!("{}/{topic}", named.name);
            subscriber.leases.set(&name, subscriber.holder, is_wanted.then(|| FeedFilter::of(market)));
        }
    }

    fn serve_topic(&mut self, name: &str, request: &TopicRequest, subscriber: &mut Subscriber<'_>) {
        let Some(index) = self.topics.iter().position(|topic| topic.follow.ring.name == name) else {
            return self.begin_topic(name, request, subscriber);
        };
        let topic = &mut self.topics[index];
        let Some(named) = &mut topic.named else { return };
        let has_moved = named.request.asked_at != request.asked_at || named.request.start != request.start;
        topic.rate = request.rate;
        named.request = request.clone();
        if has_moved {
            topic.move_to(FollowState::Joining(Box::new(request.start.clone())));
        }
    }

    fn begin_topic(&mut self, name: &str, request: &TopicRequest, subscriber: &mut Subscriber<'_>) {
        let Ok(topic) = name.parse::<Topic>() else { return };
        self.want(&topic, true, subscriber);
        let ring = subscriber.hub.follow(&topic);
        subscriber.followers.attend(subscriber.id, &ring);
        let start = subscriber.restored_start(&topic).unwrap_or_else(|| request.start.clone());
        let place = FollowState::Joining(Box::new(start));
        let subscribed = Subscribed::new(&ring, &subscriber.hub.figures);
        self.add(Follow { ring, place }, subscriber.now);
        if let Some(added) = self.topics.last_mut() {
            added.rate = request.rate;
            let (request, acks) = (request.clone(), Vec::new());
            added.named = Some(Box::new(NamedTopic { request, acks, subscribed, caught_up: 0 }));
        }
    }

    /// The `ack` of a message, unless it waits for its topic.
    pub(super) fn answer(
        &mut self,
        ack: &TopicAck,
        ended: &[FeedTopic],
        taken: TakenMessage<'_>,
        now: UnixNanos,
    ) -> Option<Vec<u8>> {
        let is_compressed = self.is_compressed();
        let Some(name) = &ack.topic else {
            let fields = AckFields { action: taken.action, head: 0, is_compressed };
            return Some(envelope::ack(Place::CONNECTION, fields, now, taken.correlation_id));
        };
        if let Some(topic) = ended.iter().find(|topic| topic.follow.ring.name == *name) {
            return Some(topic.ack(taken, is_compressed, now));
        }
        let topic = self.topics.iter_mut().find(|topic| topic.follow.ring.name == *name)?;
        if matches!(topic.follow.place, FollowState::At(_)) {
            return Some(topic.ack(taken, is_compressed, now));
        }
        topic.wait(taken);
        None
    }

    /// Has everything be sent less often to a client that was too slow too often, or more often again. What it is told of that is JSON.
    pub(super) fn adapt(&mut self, has_skipped: bool, moment: &Moment<'_>) -> Option<Vec<u8>> {
        let named = self.named_mut()?;
        let (state, rate) = if has_skipped {
            ("downgraded", named.skipped(moment.now)?)
        } else {
            ("upgraded", named.calmed(moment.now)?)
        };
        let rate = serde_json::to_string(&rate).unwrap_or_default();
        let fields = format!(r#""state":"{state}","rate":{rate}"#);
        Some(envelope::status(Place::CONNECTION, &fields, moment.clock.now()))
    }

    /// By which names what it follows is wanted of ingest, where topics were named.
    pub(super) fn wanted_names(&self) -> Vec<SmolStr> {
        let Some(named) = self.named() else { return Vec::new() };
        let market = self.topics.iter().filter(|topic| matches!(topic.follow.ring.topic, Topic::Market(_)));
        market.map(|topic| format_smolstr!("{}/{}", named.name, topic.follow.ring.name)).collect()
    }

    /// When a client that was lowered may be raised again.
    pub(super) fn raises_at(&self) -> Option<Instant> {
        let named = self.named()?;
        (named.lowered > 0).then(|| named.skips.back().map(|at| *at + CALM))?
    }

    /// The time between two events of a topic that was asked for by name.
    pub(super) fn named_interval(&self, topic: &FeedTopic) -> Option<Duration> {
        let (named, of_topic) = (self.named()?, topic.named.as_ref()?);
        Some(named.asked.interval(&of_topic.request).max(named.lowered_interval()))
    }

    /// Counts what went to a client that names its topics.
    pub(crate) fn count(&self, gone: &[Picked], now: UnixNanos, counts: &mut WorkerCounts) {
        for (index, pick) in gone {
            let topic = &self.topics[*index];
            let (Some(named), Some(kind)) = (&topic.named, pick.kind) else { continue };
            if pick.is_delivered() {
                let is_late = pick.to.seq <= named.caught_up || !self.interval(topic).is_zero();
                let latency = (!is_late).then(|| now.since(pick.at));
                counts.deliver(named.subscribed.family, kind, latency);
            }
        }
    }

    /// How many events the topic lags behind that is furthest behind.
    pub(crate) fn lag(&self) -> u64 {
        let lags = self.topics.iter().filter_map(|topic| match topic.follow.place {
            FollowState::At(cursor) => topic.named.is_some().then(|| topic.lag(cursor)),
            FollowState::Waiting(_) | FollowState::Joining(_) => None,
        });
        lags.max().unwrap_or_default()
    }

    /// How far a cursor may lag.
    pub(super) fn most_lag(&self) -> u64 {
        self.named().map_or(u64::MAX, |named| named.most_lag)
    }
}

impl FeedTopic {
    fn ack(&self, taken: TakenMessage<'_>, is_compressed: bool, now: UnixNanos) -> Vec<u8> {
        let ring = &self.follow.ring;
        let cursor = match self.follow.place {
            FollowState::At(cursor) => cursor,
            FollowState::Waiting(_) | FollowState::Joining(_) => ring.head(),
        };
        let position = ring.position(cursor);
        let place =
            Place { topic: &ring.name, epoch: position.as_ref().map(|at| &at.epoch), seq: cursor.seq };
        let fields = AckFields { action: taken.action, head: ring.head().seq, is_compressed };
        envelope::ack(place, fields, now, taken.correlation_id)
    }

    fn wait(&mut self, taken: TakenMessage<'_>) {
        let Some(named) = &mut self.named else { return };
        if named.acks.len() == MOST_ACKS {
            named.acks.remove(0);
        }
        let TakenMessage { action, correlation_id } = taken;
        named.acks.push(WaitingAck { action, correlation_id: correlation_id.map(Into::into) });
    }

    /// Finds where the topic begins, and tells: its acks, what is missing, and the state.
    pub(super) fn join(&mut self, is_compressed: bool, out: &mut Vec<u8>, moment: &mut Moment<'_>) -> bool {
        let FollowState::Joining(start) = &self.follow.place else { return false };
        let (ring, now) = (Arc::clone(&self.follow.ring), moment.clock.now());
        let Some(joined) = ring.join_topic(start, now) else { return false };
        self.follow.place = FollowState::At(joined.cursor);
        let Some(named) = &mut self.named else { return true };
        named.caught_up = joined.head;
        let acks = std::mem::take(&mut named.acks);
        moment.tally.acks += acks.len() as u64;
        moment.tally.snapshots += u64::from(joined.snapshot.is_some());
        for WaitingAck { action, correlation_id } in acks {
            let taken = TakenMessage { action, correlation_id: correlation_id.as_deref() };
            frame::text(&self.ack(taken, is_compressed, now), out);
        }
        if let Some(gap) = joined.gap {
            frame::text(&envelope::gap(&ring.name, joined.epoch.as_ref(), gap, now), out);
        }
        put_snapshot(joined.snapshot.as_ref(), is_compressed, out);
        true
    }

    /// Picks the next items of a published topic. Returns whether there are more, or none where the follower has fallen behind.
    pub(super) fn look_named(
        &mut self,
        cursor: Cursor,
        (interval, is_due): (Duration, bool),
        into: &mut Vec<Pick>,
    ) -> Option<bool> {
        let ring = Arc::clone(&self.follow.ring);
        let named = self.named.as_ref()?;
        if !interval.is_zero() {
            return ring.thinned(cursor, is_due, |pick| named.takes(pick), into).ok().map(|()| false);
        }
        ring.picks(cursor, true, TURN_ITEMS, into).ok()?;
        let more = into.len() == TURN_ITEMS;
        for pick in into.iter_mut().filter(|pick| pick.kind.is_some() && !named.takes(pick)) {
            *pick = pick.clone().passed_over();
        }
        Some(more)
    }

    /// How many events a follower that stands at `cursor` lags behind.
    pub(super) fn lag(&self, cursor: Cursor) -> u64 {
        let caught_up = self.named.as_ref().map_or(0, |named| named.caught_up);
        let head = self.follow.ring.head();
        let is_same = head.generation == cursor.generation;
        if is_same { head.seq.saturating_sub(cursor.seq.max(caught_up)) } else { 0 }
    }

    /// The family of a topic that was asked for by name.
    pub(super) fn family(&self) -> Option<Family> {
        self.named.as_ref().map(|named| named.subscribed.family)
    }

    /// Moves a follower that has fallen behind to the newest item: what lies between is a gap, but for the alerts that are kept, and the
    /// state follows.
    pub(super) fn catch_up(
        &mut self,
        cursor: Cursor,
        is_compressed: bool,
        out: &mut Vec<u8>,
        moment: &mut Moment<'_>,
    ) {
        let ring = Arc::clone(&self.follow.ring);
        let (mut last, now) = (cursor, moment.clock.now());
        let mut alerts = Vec::new();
        // Behind the ring nothing is left of what came next; what is kept still has its alerts.
        ring.alerts(cursor, &mut alerts);
        for alert in alerts {
            moment.tally.dropped += missing(&ring, last, alert.from(), out, now);
            put_alert(&ring, &alert, is_compressed, out);
            moment.tally.alerts += 1;
            last = alert.to;
            if out.len() >= ALERT_BYTES {
                self.follow.place = FollowState::At(last);
                return;
            }
        }
        let (head, snapshot) = ring.newest_state();
        if ring.alerts_between(last, head) {
            // One has come meanwhile: it goes out in the next turn.
            self.follow.place = FollowState::At(last);
            return;
        }
        moment.tally.dropped += missing(&ring, last, head, out, now);
        moment.tally.snapshots += u64::from(snapshot.is_some());
        put_snapshot(snapshot.as_ref(), is_compressed, out);
        self.follow.place = FollowState::At(head);
    }
}

/// The most bytes of alerts that one turn of a slow follower takes; the rest follows in its next turns.
const ALERT_BYTES: usize = 64 * 1024;

fn put_snapshot(snapshot: Option<&SharedFrame>, is_compressed: bool, out: &mut Vec<u8>) {
    if let Some(snapshot) = snapshot {
        out.extend_from_slice(&snapshot.get(is_compressed));
    }
}

fn put_alert(ring: &Ring, alert: &Pick, is_compressed: bool, out: &mut Vec<u8>) {
    let plain = || Cow::Borrowed(&alert.frame[..]);
    let deflated = is_compressed.then(|| ring.deflated(alert, Form::Whole, plain)).flatten();
    out.extend_from_slice(deflated.as_ref().unwrap_or(&alert.frame));
}

/// Announces what lies between two places, and counts it.
fn missing(ring: &Ring, from: Cursor, to: Cursor, out: &mut Vec<u8>, now: UnixNanos) -> u64 {
    let is_same = from.generation == to.generation;
    if is_same && to.seq <= from.seq {
        return 0;
    }
    let (from_seq, reason) =
        if is_same { (Some(from.seq + 1), GapReason::SlowConsumer) } else { (None, GapReason::EpochChanged) };
    let gap = Gap { from_seq, to_seq: to.seq, reason };
    let position = ring.position(to);
    frame::text(&envelope::gap(&ring.name, position.as_ref().map(|at| &at.epoch), gap, now), out);
    to.seq - if is_same { from.seq } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_skips_in_half_a_minute_lower_the_rate_a_step_and_a_calm_minute_raises_it() {
        let mut named = NamedTopics::new("f".into(), 1_000);
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        assert_eq!([0, 40, 80].map(|seconds| named.skipped(at(seconds))), [None; 3], "far apart");
        assert_eq!([90, 100].map(|seconds| named.skipped(at(seconds))), [None, Some(Rate::Normal)]);
        assert_eq!(named.lowered_interval(), Rate::Normal.interval());
        assert_eq!([101, 102].map(|seconds| named.skipped(at(seconds))), [None, Some(Rate::Low)]);
        assert_eq!(named.calmed(at(161)), None, "not yet a minute");
        assert_eq!(named.calmed(at(162)), Some(Rate::Normal));
        assert_eq!(named.calmed(at(200)), None, "each step takes its minute");
        assert_eq!(named.calmed(at(222)), Some(Rate::High));
        assert_eq!((named.calmed(at(400)), named.lowered_interval()), (None, Duration::ZERO));
    }
}
