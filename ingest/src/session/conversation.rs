//! One connection's talk with its venue, as a state machine: frames, deadlines and wishes go in, effects come out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::MarketEvent;
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use smol_str::{SmolStr, format_smolstr};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::link::Lost;
use super::liveness::{Due, Liveness};
use super::statuses::Statuses;
use crate::report::{RawFrame, Report};
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
    ) -> Self {
        liveness.restart();
        Self {
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
            removed.iter().for_each(|subscription| self.liveness.forget(subscription));
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
            if self.statuses.of(subscription).is_none() {
                self.change(subscription, SourceState::Connecting, "subscribing");
            }
        }
    }

    /// Takes a frame in.
    pub(super) fn frame(&mut self, text: &Utf8Bytes, received: UnixNanos, now: Instant) {
        let mut decoded = std::mem::take(&mut self.decoded);
        self.protocol.decode(text, received, &mut decoded, &mut self.rejects);
        let mut events = Vec::new();
        for item in decoded.drain(..) {
            self.item(item, now, &mut events);
        }
        self.decoded = decoded;
        self.count_rejects(now);
        self.deliver(events, text, received);
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
        events.push(event);
        if first {
            self.change(&subscription, SourceState::Connected, "data flow");
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
                self.change(subscription, SourceState::Unavailable, reason);
            }
        }
    }

    fn deliver(&mut self, events: Vec<MarketEvent>, text: &Utf8Bytes, received: UnixNanos) {
        let Some(first) = events.first() else { return };
        let raw = self.raw.then(|| RawFrame {
            instrument: Arc::clone(&first.instrument),
            channel: SmolStr::new_static(first.data.channel().name()),
            data: text.clone().into(),
            received,
        });
        // Before the states that follow from them.
        self.effects.reports.insert(0, Report::Events { events, raw });
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
        self.liveness.next_deadline().into_iter().chain(self.rejected.report_at).min()
    }

    /// Does what is due.
    pub(super) fn due(&mut self, now: Instant) {
        if self.rejected.report_at.is_some_and(|at| at <= now) {
            self.report_rejects();
        }
        let mut again = Vec::new();
        for due in self.liveness.due(now) {
            match due {
                Due::AskRefused { subscription } => {
                    self.effects.texts.extend(self.protocol.subscribe(&[subscription]))
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
        self.ask_again(&again);
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
    }

    fn change(&mut self, subscription: &Subscription, state: SourceState, reason: &str) {
        self.effects.reports.extend(self.statuses.change(subscription, state, reason));
    }
}
