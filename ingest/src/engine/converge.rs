//! Keeping what runs in line with what is wanted: streams begin and end, and what has changed is asked for and noted where events come by.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bond_core::instrument::{Instrument, Venue};
use bond_core::spec::StreamSpec;
use bond_core::store::DesiredStream;
use bond_core::topic::{StreamId, Topic};

use super::desired::Change;
use super::health::Health;
use super::instruments::StreamInput;
use super::plan::StreamPlan;
use super::run::{Engine, STREAMS_AT_ONCE};
use super::streams::{StreamKey, StreamRun};
use super::subscriptions::AskState;
use super::takeover::StreamTakeover;
use crate::source::websocket::source_name;
use crate::venue::Subscription;

impl Engine {
    /// Begins streams that wait for it, some in one turn.
    pub(super) fn begin_streams(&mut self) {
        for _ in 0..STREAMS_AT_ONCE {
            let Some((stream, legacy)) = self.beginning.pop_front() else { return };
            self.begin_stream(&stream, &legacy);
        }
    }

    fn begin_stream(&mut self, stream: &DesiredStream, legacy: &StreamTakeover) {
        let spec: StreamSpec = match serde_json::from_str(&stream.spec) {
            Ok(spec) => spec,
            Err(error) => return tracing::error!(stream = %stream.id, %error, "stored spec cannot be read"),
        };
        let plan = Arc::new(StreamPlan::new(spec, &self.scope.markets));
        let meter = self.ports.meters.of(&plan.id);
        let run = StreamRun::new(Arc::clone(&plan), meter, self.patience, self.now(), legacy);
        let passes = run.passes();
        let key = self.streams.add(run);
        for need in &plan.market {
            let input = StreamInput { stream: key, passes, depth: need.depth };
            self.instruments.of(&need.instrument).want_input(need.channel, input);
        }
        self.settle_instruments(&plan);
        self.wants.add_stream(Arc::clone(&plan), stream.created_at);
        self.social.set(self.wants.assets());
        let now = self.now();
        self.showing.add_unserved(&self.ports.board, &self.unserved(&plan), now);
        self.concerned.insert(key);
        self.begin_sockets(key, &plan);
        // What a spec says may hold secrets.
        tracing::info!(stream = %stream.id, taken_over = !legacy.is_empty(), "stream runs");
    }

    fn begin_sockets(&mut self, key: StreamKey, plan: &StreamPlan) {
        let refused = self.sockets.add(key, &plan.sockets);
        let refused = refused.iter().map(|source| (source_name(&source.url), Health::beyond(self.now())));
        let told = plan.sockets.iter().filter_map(|source| self.sockets.told(source));
        for (name, health) in refused.chain(told).collect::<Vec<_>>() {
            self.tell_of_socket(key, &name, &health);
        }
    }

    /// The venues that a stream names and of which no market is served.
    fn unserved(&self, plan: &StreamPlan) -> BTreeSet<Venue> {
        let venues = plan.unserved.iter().map(|(venue, _)| *venue);
        venues.filter(|venue| !self.scope.markets.iter().any(|(served, _)| served == venue)).collect()
    }

    pub(super) fn end_stream(&mut self, id: &StreamId) {
        let now = self.now();
        self.wants.remove_stream(id, now);
        if let Some((key, mut run)) = self.streams.remove(id) {
            let plan = Arc::clone(run.plan());
            for need in &plan.market {
                if let Some(state) = self.instruments.get_mut(&need.instrument) {
                    state.drop_input(key);
                }
            }
            self.settle_instruments(&plan);
            self.concerned.remove(&key);
            self.sockets.remove(key, &plan.sockets);
            self.shown.end(&self.ports.board, &mut run);
            self.showing.remove_unserved(&self.ports.board, &self.unserved(&plan));
        }
        self.social.set(self.wants.assets());
        self.ports.meters.remove(id);
        tracing::info!(stream = %id, "stream ended");
        self.end_topic(&Topic::Stream(id.clone()));
    }

    fn settle_instruments(&mut self, plan: &StreamPlan) {
        let instruments: BTreeSet<&Instrument> = plan.market.iter().map(|need| &*need.instrument).collect();
        instruments.into_iter().for_each(|instrument| self.instruments.settle(instrument));
    }

    fn end_topic(&mut self, topic: &Topic) {
        self.told.forget(topic);
        self.outbox.end(topic);
    }

    /// Brings subscriptions and topics in line with what is wanted now.
    pub(super) fn converge(&mut self) {
        let (changes, touched) = self.wants.take_changes();
        self.subscribe(touched);
        for change in changes {
            match change {
                Change::Began(topic) => self.begin_topic(&topic),
                Change::Ended(topic) => {
                    self.route(&topic, false);
                    self.end_topic(&topic);
                }
            }
        }
    }

    /// A topic is told how its source fares, if that was reported already.
    fn begin_topic(&mut self, topic: &Topic) {
        self.route(topic, true);
        if let Topic::Market(market) = topic {
            let instrument = Arc::new(market.instrument.clone());
            self.concern(&Subscription { instrument, channel: market.channel });
        }
    }

    /// Notes at the instrument that a topic takes what comes of it, or no more.
    fn route(&mut self, topic: &Topic, on: bool) {
        let instrument = match topic {
            Topic::Market(market) => &market.instrument,
            Topic::Raw(instrument) => instrument,
            Topic::Stream(_) | Topic::Published(_) => return,
        };
        let state = self.instruments.of(&Arc::new(instrument.clone()));
        match topic {
            Topic::Market(market) if on => state.want_topic(market),
            Topic::Market(market) => state.drop_topic(market),
            _ => state.want_raw(instrument, on),
        }
        if matches!(topic, Topic::Raw(_)) {
            self.count_raw(instrument, on);
        }
        self.instruments.settle(instrument);
    }

    fn count_raw(&mut self, instrument: &Instrument, on: bool) {
        let market = (instrument.venue, instrument.symbol.market());
        let count = self.raw.entry(market).or_default();
        *count = if on { *count + 1 } else { count.saturating_sub(1) };
        self.markets.set_raw(market, *count > 0);
    }

    /// Asks venues for what is wanted now and was not, and no more for what was.
    fn subscribe(&mut self, touched: HashSet<Subscription>) {
        let mut changes: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for subscription in touched {
            let standing = self.wants.subscriptions().standing(&subscription);
            match standing {
                None => self.sources.drop(&subscription),
                Some(_) => self.sources.want(&subscription),
            }
            if standing == Some(AskState::Beyond) {
                self.sources.subscription(&subscription, Health::beyond(self.now()));
                self.concern(&subscription);
                continue;
            }
            let market = (subscription.instrument.venue, subscription.instrument.symbol.market());
            changes.entry(market).or_default().push((subscription, standing.is_some()));
        }
        self.markets.change(changes);
    }
}
