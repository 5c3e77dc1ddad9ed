//! One connection's talk with its venue, as a state machine: frames, deadlines and wishes go in, effects come out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{Channel, MarketData, MarketEvent};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use bytes::Bytes;
use smol_str::{SmolStr, format_smolstr};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::books::{BookOrder, Books, Outcome};
use super::config::Timing;
use super::link::Lost;
use super::liveness::{Due, Liveness};
use super::statuses::Statuses;
use crate::report::{RawFrame, Report};
use crate::rest::RestError;
use crate::venue::{Decoded, Protocol, Reject, Subscription};

/// A channel that may be silent for so long says too little by its data: there, being accepted counts as connected.
const RARE: Duration = Duration::from_secs(600);

/// How often frames that could not be understood are reported.
const REJECTS_EVERY: Duration = Duration::from_secs(10);

/// What has to be done on behalf of the conversation, in this order.
#[derive(Debug, Default)]
pub(super) struct Effects {
    /// To report.
    pub(super) reports: Vec<Report>,
    /// To send, at the venue's pace.
    pub(super) texts: Vec<String>,
    /// Snapshots of order books to ask for over REST: the path and query for each.
    pub(super) snapshots: Vec<(Subscription, String)>,
    /// The connection answered: an event, an acceptance, a pong.
    pub(super) answered: bool,
    /// Data came.
    pub(super) data: bool,
    /// The connection must be given up.
    pub(super) lost: Option<Lost>,
}

/// One connection's talk with its venue.
pub(super) struct Conversation<'a> {
    protocol: Box<dyn Protocol>,
    statuses: Arc<Statuses>,
    liveness: &'a mut Liveness,
    books: Books,
    ack_timeout: Duration,
    wanted: BTreeSet<Subscription>,
    raw: bool,
    effects: Effects,
    decoded: Vec<Decoded>,
    rejects: Vec<Reject>,
    rejected: Rejected,
}

#[derive(Debug, Default)]
struct Rejected {
    count: u64,
    reason: SmolStr,
    report_at: Option<Instant>,
}

impl<'a> Conversation<'a> {
    /// A conversation on a connection just made.
    pub(super) fn new(
        protocol: Box<dyn Protocol>,
        statuses: Arc<Statuses>,
        liveness: &'a mut Liveness,
        timing: Timing,
    ) -> Self {
        liveness.restart();
        Self {
            books: Books::new(protocol.continuity(), timing.resync),
            ack_timeout: timing.ack_timeout,
            protocol,
            statuses,
            liveness,
            wanted: BTreeSet::new(),
            raw: false,
            effects: Effects::default(),
            decoded: Vec::new(),
            rejects: Vec::new(),
            rejected: Rejected::default(),
        }
    }

    /// Takes what has to be done.
    pub(super) fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }

    /// Whether events carry their venue's frame.
    pub(super) const fn set_raw(&mut self, raw: bool) {
        self.raw = raw;
    }

    /// Subscribes to what is newly wanted, unsubscribes from what no longer is.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Subscription>, now: Instant) {
        let removed: Vec<_> = self.wanted.difference(wanted).cloned().collect();
        let added: Vec<_> = wanted.difference(&self.wanted).cloned().collect();
        self.wanted.clone_from(wanted);
        if !removed.is_empty() {
            self.effects.texts.extend(self.protocol.unsubscribe(&removed));
            for subscription in &removed {
                self.liveness.forget(subscription);
                self.books.forget(subscription);
            }
        }
        self.ask(&added, now);
    }

    /// Gives the connection up.
    pub(super) fn give_up(&mut self, lost: Lost) {
        self.effects.lost.get_or_insert(lost);
    }

    fn ask(&mut self, subscriptions: &[Subscription], now: Instant) {
        if subscriptions.is_empty() {
            return;
        }
        self.effects.texts.extend(self.protocol.subscribe(subscriptions));
        let queued = u32::try_from(self.effects.texts.len()).unwrap_or(u32::MAX);
        let sent = now + self.protocol.limits().message_interval.saturating_mul(queued);
        for subscription in subscriptions {
            let budget = self.protocol.silence_budget(subscription.channel);
            self.liveness.asked(subscription, budget, sent);
            if subscription.channel == Channel::OrderBook {
                self.books.asked(subscription, sent, sent + self.ack_timeout);
            }
            if self.statuses.of(subscription).is_none() {
                self.change(subscription, SourceState::Connecting, "subscribing");
            }
        }
    }

    /// Takes a frame in.
    pub(super) fn frame(&mut self, text: &Utf8Bytes, received: UnixNanos, now: Instant) {
        let mut decoded = std::mem::take(&mut self.decoded);
        self.protocol.decode(text, received, &mut decoded, &mut self.rejects);
        let raw = self.raw.then(|| raw_frame(&decoded, text, received)).flatten();
        let mut events = Vec::new();
        for item in decoded.drain(..) {
            self.item(item, now, &mut events);
        }
        self.decoded = decoded;
        self.count_rejects(now);
        self.deliver(events, raw);
    }

    fn item(&mut self, item: Decoded, now: Instant, events: &mut Vec<MarketEvent>) {
        match item {
            Decoded::Event(event) => self.event(event, now, events),
            Decoded::Acknowledged(subscriptions) => self.acknowledged(&subscriptions),
            Decoded::Refused { subscriptions, reason } => self.refused(&subscriptions, &reason, now),
            Decoded::Reconnect { reason } => self.give_up(Lost::Asked(reason)),
            Decoded::Alive => self.effects.answered = true,
            Decoded::Ignored(why) => tracing::trace!(venue = %self.protocol.venue(), why, "frame ignored"),
        }
    }

    fn event(&mut self, event: MarketEvent, now: Instant, events: &mut Vec<MarketEvent>) {
        let subscription =
            Subscription { instrument: Arc::clone(&event.instrument), channel: event.data.channel() };
        let Some(first) = self.liveness.heard(&subscription, now) else { return };
        self.effects.answered = true;
        self.effects.data = true;
        if subscription.channel == Channel::OrderBook {
            if first {
                self.books.doubt(&subscription);
            }
            let outcome = self.books.offer(&subscription, event, now, rand::random());
            self.book(&subscription, outcome, events);
            return;
        }
        events.push(event);
        if first {
            self.change(&subscription, SourceState::Connected, "data flow");
        }
    }

    fn book(&mut self, subscription: &Subscription, outcome: Outcome, events: &mut Vec<MarketEvent>) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Good { events: good, recovered } => {
                events.extend(good);
                if recovered {
                    self.change(subscription, SourceState::Connected, "the book is live");
                }
            }
            Outcome::Suspect { reason } => self.change(subscription, SourceState::Suspect, &reason),
        }
    }

    /// Takes an order about a book in.
    pub(super) fn order(&mut self, order: BookOrder, now: Instant) {
        let (subscription, outcome) = self.books.order(order, now, rand::random());
        self.book(&subscription, outcome, &mut Vec::new());
    }

    /// Takes the answer to a request for a snapshot in.
    pub(super) fn snapshot(
        &mut self,
        subscription: &Subscription,
        answer: Result<Bytes, RestError>,
        received: UnixNanos,
        now: Instant,
    ) {
        let pause = answer.as_ref().err().and_then(RestError::retry_after).unwrap_or_default();
        let outcome = match self.read_snapshot(subscription, answer, received) {
            Ok(event) => self.books.offer(subscription, event, now, rand::random()),
            Err(reason) => self.books.failed(subscription, &reason, pause, now, rand::random()),
        };
        let mut events = Vec::new();
        self.book(subscription, outcome, &mut events);
        self.deliver(events, None);
    }

    fn read_snapshot(
        &self,
        subscription: &Subscription,
        answer: Result<Bytes, RestError>,
        received: UnixNanos,
    ) -> Result<MarketEvent, String> {
        let body = answer.map_err(|error| error.to_string())?;
        let instrument = Arc::clone(&subscription.instrument);
        let update =
            self.protocol.decode_snapshot(&instrument, &body).map_err(|reject| reject.to_string())?;
        Ok(MarketEvent { instrument, ts_event: received, ts_exchange: None, data: MarketData::Book(update) })
    }

    fn acknowledged(&mut self, subscriptions: &[Subscription]) {
        self.effects.answered = true;
        for subscription in subscriptions {
            let known = self.liveness.acknowledged(subscription);
            if known && self.protocol.silence_budget(subscription.channel) >= RARE {
                self.change(subscription, SourceState::Connected, "accepted; data are rare");
            }
        }
    }

    /// A refusal that names no subscription means the only one without an answer; among several it is left to the deadlines.
    fn refused(&mut self, subscriptions: &[Subscription], reason: &str, now: Instant) {
        let unnamed = subscriptions.is_empty().then(|| self.liveness.only_unanswered()).flatten();
        tracing::warn!(venue = %self.protocol.venue(), ?subscriptions, reason, "subscription refused");
        for subscription in subscriptions.iter().chain(&unnamed) {
            if self.liveness.refused(subscription, now) {
                self.change(subscription, SourceState::Unavailable, reason);
            }
        }
    }

    /// Events come before the states that follow from them.
    fn deliver(&mut self, events: Vec<MarketEvent>, raw: Option<RawFrame>) {
        if !events.is_empty() || raw.is_some() {
            self.effects.reports.insert(0, Report::Events { events, raw });
        }
    }

    fn count_rejects(&mut self, now: Instant) {
        let Some(last) = self.rejects.last() else { return };
        self.rejected.count += self.rejects.len() as u64;
        self.rejected.reason = format_smolstr!("{last}");
        self.rejected.report_at.get_or_insert(now + REJECTS_EVERY);
        self.rejects.clear();
    }

    /// When to call [`Self::due`] next, at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.liveness.next_deadline(), self.books.next_deadline(), self.rejected.report_at];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn due(&mut self, now: Instant) {
        if self.rejected.report_at.is_some_and(|at| at <= now) {
            self.report_rejects();
        }
        let mut again = self.silent(now);
        again.extend(self.unproven(now));
        again.dedup();
        self.ask_again(&again);
    }

    /// Deals with what is silent; gives what is to be asked for again.
    fn silent(&mut self, now: Instant) -> Vec<Subscription> {
        let mut again = Vec::new();
        for due in self.liveness.due(now) {
            match due {
                Due::AskRefused { subscription } => {
                    self.effects.texts.extend(self.protocol.subscribe(&[subscription]));
                }
                Due::AskAgain { subscription, reason } => {
                    self.change(&subscription, SourceState::Stale, &reason);
                    again.push(subscription);
                }
                Due::Reconnect { subscription, reason } => {
                    self.change(&subscription, SourceState::Stale, &reason);
                    self.give_up(Lost::Starved { subscription, reason });
                }
            }
        }
        again
    }

    /// Sees to snapshots that are due; gives the books whose snapshot comes with a new subscription.
    fn unproven(&mut self, now: Instant) -> Vec<Subscription> {
        let due = self.books.due(now);
        if self.books.is_over_rest() {
            due.into_iter().for_each(|subscription| self.request_snapshot(subscription, now));
            return Vec::new();
        }
        for subscription in &due {
            if !self.books.awaits(subscription, now + self.ack_timeout, rand::random()) {
                self.give_up(Lost::Unproven(subscription.clone()));
            }
        }
        due
    }

    fn request_snapshot(&mut self, subscription: Subscription, now: Instant) {
        match self.protocol.snapshot_request(&subscription.instrument) {
            Some(path) => self.effects.snapshots.push((subscription, path)),
            None => {
                let missed =
                    self.books.failed(&subscription, "not listed", Duration::ZERO, now, rand::random());
                self.book(&subscription, missed, &mut Vec::new());
            }
        }
    }

    fn ask_again(&mut self, subscriptions: &[Subscription]) {
        if !subscriptions.is_empty() {
            self.effects.texts.extend(self.protocol.unsubscribe(subscriptions));
            self.effects.texts.extend(self.protocol.subscribe(subscriptions));
        }
    }

    fn report_rejects(&mut self) {
        let Rejected { count, reason, .. } = std::mem::take(&mut self.rejected);
        let (venue, market) = (self.protocol.venue(), self.protocol.market());
        tracing::warn!(%venue, %market, count, %reason, "frames not understood");
        self.effects.reports.push(Report::Rejected { venue, market, count, reason });
    }

    /// We could not listen for so long.
    pub(super) fn excuse(&mut self, blocked: Duration) {
        self.liveness.excuse(blocked);
        self.books.excuse(blocked);
    }

    fn change(&mut self, subscription: &Subscription, state: SourceState, reason: &str) {
        self.effects.reports.extend(self.statuses.change(subscription, state, reason));
    }
}

/// The frame, for the instrument of its first event.
fn raw_frame(decoded: &[Decoded], text: &Utf8Bytes, received: UnixNanos) -> Option<RawFrame> {
    let event = decoded.iter().find_map(|item| match item {
        Decoded::Event(event) => Some(event),
        _ => None,
    })?;
    Some(RawFrame {
        instrument: Arc::clone(&event.instrument),
        channel: SmolStr::new_static(event.data.channel().name()),
        data: text.clone().into(),
        received,
    })
}
