//! One connection's talk with its venue, as a state machine: frames, deadlines and wishes go in, effects come out.

mod deadlines;
mod proof;
mod rejections;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{Channel, MarketEvent};
use bond_core::instrument::Instrument;
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use smol_str::SmolStr;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::rejections::Rejections;
use super::books::Books;
use super::config::Timing;
use super::link::Lost;
use super::liveness::Liveness;
use super::statuses::Statuses;
use crate::report::{RawFrame, Report};
use crate::venue::{Decoded, Listings, NoTrade, Part, Protocol, Reject, Subscription};

/// Channels that may be silent for this long (liquidations) cannot prove by data that they work. For them the venue's acknowledgement counts
/// as connected.
const RARE: Duration = Duration::from_secs(600);

/// What has to be done on behalf of the connection, in this order.
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
pub(super) struct ProtocolState<'a> {
    protocol: Box<dyn Protocol>,
    /// Those that the protocol knows.
    listings: Arc<Listings>,
    statuses: Arc<Statuses>,
    liveness: &'a mut Liveness,
    books: Books,
    timing: Timing,
    wanted: BTreeSet<Subscription>,
    raw: bool,
    effects: Effects,
    decoded: Vec<Decoded>,
    rejects: Vec<Reject>,
    rejected: Rejections,
}

impl<'a> ProtocolState<'a> {
    /// The state of a connection just made.
    pub(super) fn new(
        protocol: Box<dyn Protocol>,
        listings: Arc<Listings>,
        statuses: Arc<Statuses>,
        liveness: &'a mut Liveness,
        timing: Timing,
    ) -> Self {
        liveness.restart();
        Self {
            books: Books::new(
                protocol.continuity(),
                timing.resync,
                timing.silence(protocol.silence_budget(Channel::OrderBook)),
            ),
            timing,
            protocol,
            listings,
            statuses,
            liveness,
            wanted: BTreeSet::new(),
            raw: false,
            effects: Effects::default(),
            decoded: Vec::new(),
            rejects: Vec::new(),
            rejected: Rejections::default(),
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

    /// Subscribes to what is newly wanted, unsubscribes from what no longer is. An instrument that was listed after this connection was
    /// made needs a protocol that knows it, and so another connection.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Subscription>, now: Instant) {
        let is_listed =
            |subscription: &Subscription| self.listings.by_symbol(&subscription.instrument.symbol).is_some();
        if !wanted.iter().all(is_listed) {
            return self.give_up(Lost::Relisted);
        }
        let removed: Vec<_> = self.wanted.difference(wanted).cloned().collect();
        let added: Vec<_> = wanted.difference(&self.wanted).cloned().collect();
        self.wanted.clone_from(wanted);
        if !removed.is_empty() {
            self.effects.texts.extend(self.protocol.unsubscribe(&removed));
            removed.iter().for_each(|subscription| self.forget(subscription));
        }
        self.tell_untold();
        self.ask(&added, now);
    }

    fn forget(&mut self, subscription: &Subscription) {
        self.liveness.forget(subscription);
        self.books.forget(subscription);
        self.statuses.forget(subscription);
    }

    /// Tells the state of what has none: of what is new, and of what was unwanted and wanted again before we looked.
    fn tell_untold(&mut self) {
        let is_untold = |subscription: &&Subscription| self.statuses.of(subscription).is_none();
        let untold: Vec<_> = self.wanted.iter().filter(is_untold).cloned().collect();
        for subscription in untold {
            self.books.doubt(&subscription);
            match subscription.channel != Channel::OrderBook && self.liveness.is_flowing(&subscription) {
                true => self.change(&subscription, SourceState::Connected, "data flow"),
                false => self.change(&subscription, SourceState::Connecting, "subscribing"),
            }
        }
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
            let budget = self.timing.silence(self.protocol.silence_budget(subscription.channel));
            self.liveness.asked(subscription, self.protocol.parts(subscription.channel), budget, sent);
            self.await_book(subscription, sent);
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
        self.rejected.count(&mut self.rejects, now);
        self.deliver(events, raw);
    }

    fn item(&mut self, item: Decoded, now: Instant, events: &mut Vec<MarketEvent>) {
        match item {
            Decoded::Event(event) => self.event(event, now, events),
            Decoded::Acknowledged(subscriptions) => self.acknowledged(&subscriptions),
            Decoded::Refused { subscriptions, reason } => self.refused(&subscriptions, &reason, now),
            Decoded::AskApart { texts, reason } => self.ask_apart(texts, &reason),
            Decoded::Print { instrument, kind, number } => self.print(instrument, kind, number, now),
            Decoded::Reconnect { reason } => self.give_up(Lost::Asked(reason)),
            Decoded::Alive => self.effects.answered = true,
            Decoded::Unchanged(subscription, part) => self.unchanged(&subscription, part, now),
            Decoded::Ignored(why) => tracing::trace!(venue = %self.protocol.venue(), why, "frame ignored"),
        }
    }

    fn event(&mut self, event: MarketEvent, now: Instant, events: &mut Vec<MarketEvent>) {
        let subscription =
            Subscription { instrument: Arc::clone(&event.instrument), channel: event.data.channel() };
        let Some(first) = self.liveness.heard(&subscription, |part| part.is_in(&event.data), now) else {
            return;
        };
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

    /// A print that is no trade shows that the trades' channel is alive, and takes one of their numbers.
    fn print(&mut self, instrument: Arc<Instrument>, kind: NoTrade, number: Option<u64>, now: Instant) {
        let labels = [("venue", self.protocol.venue().name()), ("kind", kind.name())];
        metrics::counter!("bond_ingest_prints_total", &labels).increment(1);
        self.unchanged(
            &Subscription { instrument: Arc::clone(&instrument), channel: Channel::Trades },
            Part::Whole,
            now,
        );
        if let Some(number) = number {
            self.effects.reports.push(Report::Print { instrument, number });
        }
    }

    fn ask_apart(&mut self, texts: Vec<String>, reason: &str) {
        tracing::warn!(venue = %self.protocol.venue(), reason, messages = texts.len(), "refused together, asking apart");
        self.effects.answered = true;
        self.effects.texts.extend(texts);
    }

    fn unchanged(&mut self, subscription: &Subscription, part: Part, now: Instant) {
        self.effects.answered = true;
        if self.liveness.heard(subscription, |other| other == part, now) == Some(true) {
            self.change(subscription, SourceState::Connected, "data flow");
        }
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
                self.books.forget(subscription);
                self.change(subscription, SourceState::Refused, reason);
            }
        }
    }

    /// Events come before the states that follow from them.
    fn deliver(&mut self, events: Vec<MarketEvent>, raw: Option<RawFrame>) {
        if !events.is_empty() || raw.is_some() {
            self.effects.reports.insert(0, Report::Events { events, raw });
        }
    }

    fn change(&mut self, subscription: &Subscription, state: SourceState, reason: &str) {
        let Some(state) = self.statuses.change(subscription, state, reason) else { return };
        match self.effects.reports.last_mut() {
            Some(Report::Subscriptions(states)) => states.push(state),
            _ => self.effects.reports.push(state.into()),
        }
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
