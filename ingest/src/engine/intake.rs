//! What reports do: events go to topics and streams, and states of sources to those whom they concern.
//!
//! A state goes at once to the topics of its channel and instrument. Streams that take them are notified only after all reports that have
//! arrived together: a stream is told the state of a venue as a whole, which several reports may change. At the same time the table of
//! source statuses is updated.

use std::sync::Arc;

use bond_core::event::{Channel, Custom, MarketEvent, Tweet};
use bond_core::instrument::Instrument;
use bond_core::source::{SourceState, SourceStatus};
use bond_core::time::UnixNanos;
use smol_str::SmolStr;

use super::board::{lost_status, source_status, venue_name};
use super::health::{Health, Sources};
use super::run::Engine;
use super::streams::StreamKey;
use crate::report::{Report, SocketId, SubscriptionState};
use crate::source::social;
use crate::venue::Subscription;

impl Engine {
    /// Handles reports in order.
    pub(super) fn take_all(&mut self, batch: &mut Vec<Report>) {
        batch.drain(..).for_each(|report| self.take(report));
    }

    fn take(&mut self, report: Report) {
        let now = self.now();
        match report {
            Report::Events { events, raw } => {
                events.into_iter().for_each(|event| self.market_event(event, now));
                if let Some(frame) = raw
                    && let Some(state) = self.instruments.get_mut(&frame.instrument)
                {
                    state.publish_raw(&frame, &mut self.outbox);
                }
            }
            Report::Print { instrument, number } => self.pass_over(&instrument, number, now),
            Report::Subscriptions(states) => {
                states.into_iter().for_each(|state| self.subscription_changed(state));
            }
            Report::Market { venue, market, state, since, reason } => {
                let simulated = self.simulated.contains(&venue);
                let health = Health { state, since, reason, simulated };
                let concerned = self.sources.market(venue, market, health);
                concerned.iter().for_each(|subscription| self.concern(subscription));
            }
            Report::Rejected { venue, market, count, reason } => {
                tracing::warn!(%venue, %market, count, %reason, "frames not understood");
            }
            Report::Tweet(tweet) => self.tweet(&tweet, now),
            Report::Custom { socket, event } => self.custom(socket, &event, now),
            Report::Source { source, state, since, reason } => {
                tracing::info!(%source, %state, %reason, "source changed state");
                let simulated = source == social::SOURCE;
                self.ports.board.put(&source, SourceStatus { state, since, simulated });
            }
            Report::Socket { socket, source, state, since, reason } => {
                let health = Health { state, since, reason, simulated: false };
                self.sockets.note(socket, &source, &health);
                for key in self.sockets.streams(socket) {
                    self.tell_of_socket(key, &source, &health);
                }
            }
        }
    }

    fn tweet(&mut self, tweet: &Tweet, now: UnixNanos) {
        for key in self.streams.of_asset(&tweet.asset) {
            if let Some(stream) = self.streams.feed(key) {
                stream.tweet(tweet, now, &mut self.outbox);
            }
        }
    }

    fn custom(&mut self, socket: SocketId, event: &Custom, now: UnixNanos) {
        for key in self.sockets.streams(socket) {
            if let Some(stream) = self.streams.feed(key) {
                stream.custom(event, now, &mut self.outbox);
            }
        }
    }

    /// Records that a print which is not a trade has used one of the venue's trade numbers, so that the number does not count as lost.
    fn pass_over(&mut self, instrument: &Instrument, number: u64, now: UnixNanos) {
        if let Some(state) = self.instruments.get_mut(instrument) {
            state.pass_over(number, now);
        }
    }

    fn market_event(&mut self, event: MarketEvent, now: UnixNanos) {
        let Some(state) = self.instruments.get_mut(&event.instrument) else { return };
        let (channel, instrument) = (event.data.channel(), Arc::clone(&event.instrument));
        let Some(taken) = state.take(event, &mut self.outbox) else { return };
        for input in state.inputs(channel) {
            if let Some(stream) = self.streams.feed(input.stream) {
                stream.market(&taken, input, now, &mut self.outbox);
            }
        }
        if state.is_losing() {
            self.instruments.suspect(&instrument);
        }
    }

    fn subscription_changed(&mut self, report: SubscriptionState) {
        let SubscriptionState { subscription, state, since, reason } = report;
        if subscription.channel == Channel::OrderBook
            && state != SourceState::Connected
            && let Some(instrument) = self.instruments.get_mut(&subscription.instrument)
        {
            instrument.distrust_book();
        }
        let simulated = self.simulated.contains(&subscription.instrument.venue);
        if self.sources.subscription(&subscription, Health { state, since, reason, simulated }) {
            self.concern(&subscription);
        }
    }

    /// Handles that a subscription's state may have changed: notifies its topics, and marks its streams to be notified.
    pub(super) fn concern(&mut self, subscription: &Subscription) {
        let Some(state) = self.instruments.get(&subscription.instrument) else { return };
        self.concerned.extend(state.inputs(subscription.channel).iter().map(|input| input.stream));
        let Some(health) = self.sources.of(subscription) else { return };
        let source = venue_name(subscription.instrument.venue);
        for topic in state.topics(subscription.channel) {
            self.told.announce(topic, &source, health, &mut self.outbox);
            self.tellings += 1;
        }
    }

    /// Writes into the topics which trades a venue numbered and never sent.
    pub(super) fn tell_losses(&mut self) {
        for (instrument, range) in self.instruments.lost(self.ports.clock.now()) {
            tracing::warn!(%instrument, from = range.from, to = range.to, "trades lost");
            let trades = Subscription { instrument, channel: Channel::Trades };
            let Some(health) = self.sources.of(&trades) else { continue };
            let Some(state) = self.instruments.get(&trades.instrument) else { continue };
            let body = lost_status(trades.instrument.venue, health, range);
            state.topics(Channel::Trades).for_each(|topic| self.outbox.status(topic, body.clone()));
            let inputs = state.inputs(Channel::Trades).iter().filter_map(|t| self.streams.get(t.stream));
            inputs.for_each(|stream| self.outbox.status(stream.topic(), body.clone()));
        }
    }

    /// Notifies the streams that were marked, and updates the table of source statuses. Windows that are due close first, since a source
    /// that goes down now was not missing in them.
    pub(super) fn tell(&mut self) {
        for key in std::mem::take(&mut self.concerned) {
            self.notify_stream(key);
            self.tellings += 1;
        }
        self.showing.show(&self.ports.board, &mut self.sources, &self.simulated);
    }

    /// Notifies a stream and its windows of the health of each venue: the worst among the stream's subscriptions there.
    fn notify_stream(&mut self, key: StreamKey) {
        let now = self.ports.clock.now();
        self.streams.close(key, now, &mut self.outbox);
        let Some(stream) = self.streams.feed(key) else { return };
        let plan = Arc::clone(stream.plan());
        let by_symbol = self.sources.by_symbol(&plan, now);
        for ((symbol, venue), health) in &by_symbol {
            stream.source(venue.name(), &source_status(health), symbol, now);
        }
        for (venue, health) in Sources::by_venue(by_symbol) {
            self.told.announce(stream.topic(), &venue_name(venue), &health, &mut self.outbox);
        }
        self.shown.instruments(&self.ports.board, stream, &self.sources);
    }

    /// Notifies a stream, and nobody else, of the health of one of its own sources.
    pub(super) fn tell_of_socket(&mut self, key: StreamKey, source: &SmolStr, health: &Health) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        self.told.announce(stream.topic(), source, health, &mut self.outbox);
        self.shown.show(&self.ports.board, stream, source, source_status(health));
    }
}
