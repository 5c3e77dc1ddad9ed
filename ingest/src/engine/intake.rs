//! What reports do: events go to topics and streams, states to whoever is to be told.

use std::sync::Arc;

use bond_core::event::{Channel, MarketEvent};
use bond_core::instrument::Instrument;
use bond_core::source::{SourceState, SourceStatus};
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use smol_str::SmolStr;

use super::board::{Told, lost_status, source_status};
use super::health::{Health, Sources};
use super::outbox::Outbox;
use super::run::Engine;
use super::streams::StreamRun;
use crate::report::Report;
use crate::source::social;
use crate::venue::Subscription;

impl Engine {
    /// Works through reports, in order.
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
            Report::Subscription { subscription, state, since, reason } => {
                let simulated = self.simulated.contains(&subscription.instrument.venue);
                self.subscription_changed(subscription, Health { state, since, reason, simulated });
            }
            Report::Market { venue, market, state, since, reason } => {
                let simulated = self.simulated.contains(&venue);
                self.sources.market(venue, market, Health { state, since, reason, simulated });
                self.tell();
            }
            Report::Rejected { venue, market, count, reason } => {
                tracing::warn!(%venue, %market, count, %reason, "frames not understood");
            }
            Report::Tweet(tweet) => {
                self.streams.iter_mut().for_each(|stream| stream.tweet(&tweet, now, &mut self.outbox));
            }
            Report::Custom { socket, event } => {
                let Some(source) = self.sockets.source(socket) else { return };
                let takers = self.streams.iter_mut().filter(|stream| stream.plan().sockets.contains(source));
                takers.for_each(|stream| stream.custom(&event, now, &mut self.outbox));
            }
            Report::Source { source, state, since, reason } => {
                tracing::info!(%source, %state, %reason, "source changed state");
                self.ports
                    .board
                    .put(&source, SourceStatus { state, since, simulated: source == social::SOURCE });
            }
        }
    }

    /// A print that is no trade took a number of the trades'.
    fn pass_over(&mut self, instrument: &Instrument, number: u64, now: UnixNanos) {
        if let Some(state) = self.instruments.get_mut(instrument) {
            state.pass_over(number, now);
        }
    }

    fn market_event(&mut self, event: MarketEvent, now: UnixNanos) {
        let Some(state) = self.instruments.get_mut(&event.instrument) else { return };
        let channel = event.data.channel();
        let Some(taken) = state.take(event, &mut self.outbox) else { return };
        for taker in state.takers(channel) {
            if let Some(stream) = self.streams.get_mut(taker.stream) {
                stream.market(&taken, taker, now, &mut self.outbox);
            }
        }
    }

    fn subscription_changed(&mut self, subscription: Subscription, health: Health) {
        if subscription.channel == Channel::OrderBook
            && health.state != SourceState::Connected
            && let Some(state) = self.instruments.get_mut(&subscription.instrument)
        {
            state.distrust_book();
        }
        self.sources.subscription(subscription, health);
        self.tell();
    }

    /// Says in the topics that are concerned which trades a venue never sent.
    pub(super) fn tell_losses(&mut self) {
        for (instrument, range) in self.instruments.lost(self.ports.clock.now()) {
            tracing::warn!(%instrument, from = range.from, to = range.to, "trades lost");
            let trades = Subscription { instrument, channel: Channel::Trades };
            let Some(health) = self.sources.of(&trades) else { continue };
            let body = lost_status(trades.instrument.venue, &health, range);
            let topic = Topic::market(Channel::Trades, Instrument::clone(&trades.instrument), None);
            if self.wants.topics().contains(&topic) {
                self.outbox.status(&topic, body.clone());
            }
            let takers = self.streams.iter().filter(|stream| stream.takes(&trades));
            takers.for_each(|stream| self.outbox.status(stream.topic(), body.clone()));
        }
    }

    fn show(&mut self) {
        let (venues, mut missing) = (self.sources.venues(), self.sources.missing());
        let unserved = self.streams.iter().flat_map(|stream| &stream.plan().unserved);
        for (venue, _) in unserved.filter(|(venue, _)| !venues.contains_key(venue)) {
            missing.insert(SmolStr::new_static(venue.name()), Health::unserved(self.ports.clock.now()));
        }
        self.showing.show(&self.ports.board, &venues, missing);
    }

    /// Tells the board, the topics and the windows how their sources fare now. Windows that are due close first: they did not lack
    /// what goes down only now.
    pub(super) fn tell(&mut self) {
        self.close_windows();
        self.show();
        for topic in self.wants.topics() {
            let Topic::Market(market) = topic else { continue };
            let own =
                Subscription { instrument: Arc::new(market.instrument.clone()), channel: market.channel };
            if let Some(health) = self.sources.of(&own) {
                self.told.tell(topic, market.instrument.venue, &health, &mut self.outbox);
            }
        }
        let now = self.ports.clock.now();
        for stream in &mut self.streams {
            tell_stream(stream, &self.sources, &mut self.told, now, &mut self.outbox);
        }
    }
}

/// Tells a stream and its windows: each venue fares as the worst of what the stream takes there.
fn tell_stream(
    stream: &mut StreamRun,
    sources: &Sources,
    told: &mut Told,
    now: UnixNanos,
    outbox: &mut Outbox,
) {
    let plan = Arc::clone(stream.plan());
    let by_symbol = sources.by_symbol(&plan, now);
    for ((symbol, venue), health) in &by_symbol {
        stream.source(venue.name(), &source_status(health), symbol, now);
    }
    for (venue, health) in Sources::by_venue(by_symbol) {
        told.tell(stream.topic(), venue, &health, outbox);
    }
}
