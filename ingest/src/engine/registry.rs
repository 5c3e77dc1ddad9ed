//! The registry's streams: which of them are wanted, how one begins, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bond_core::instrument::{Instrument, Venue};
use bond_core::spec::StreamSpec;
use bond_core::store::DesiredStream;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use tokio::time::Instant;

use super::health::Health;
use super::instruments::StreamInput;
use super::plan::StreamPlan;
use super::run::Engine;
use super::streams::{StreamKey, StreamRun};
use super::takeover::{self, Legacies, StreamTakeover, TakeoverState};
use crate::source::websocket::source_name;

/// Streams that begin in one turn: a registry that holds thousands must not hold up what runs.
const STREAMS_AT_ONCE: usize = 64;

impl Engine {
    /// Reads the registry, and starts and ends streams accordingly. While it cannot be read, what runs goes on.
    pub(super) async fn reconcile(&mut self) {
        self.read_at = None;
        match self.ports.store.desired(self.now()).await {
            Ok(desired) => self.settle_streams(desired).await,
            Err(error) => tracing::warn!(%error, "streams stay as they are"),
        }
        self.was_read = Some(Instant::now());
    }

    async fn settle_streams(&mut self, desired: Vec<DesiredStream>) {
        let wanted = desired.iter().map(|stream| (stream.id.clone(), stream.created_at)).collect();
        let Some(mut legacy) = self.take_over(&wanted).await else { return };
        for id in self.wants.gone(&wanted) {
            self.end_stream(&id);
        }
        // Those that have not begun by now are among the desired ones again, if they are still wanted.
        let mut waiting: BTreeMap<_, _> =
            self.beginning.drain(..).map(|(stream, legacy)| (stream.id, legacy)).collect();
        let unknown = desired.into_iter().filter(|stream| !self.wants.has_stream(&stream.id));
        self.beginning = unknown
            .map(|stream| {
                let legacy = legacy.remove(&stream.id).or_else(|| waiting.remove(&stream.id));
                (stream, legacy.unwrap_or_default())
            })
            .collect();
    }

    /// At first, looks at what an earlier writer left in the log. `None` while the log cannot be read: no stream begins before, or its
    /// windows would come twice or be missing.
    async fn take_over(&mut self, wanted: &BTreeMap<StreamId, UnixNanos>) -> Option<Legacies> {
        if self.has_taken_over {
            return Some(Legacies::new());
        }
        match takeover::read(&*self.ports.log, wanted).await {
            Ok(TakeoverState { streams, orphans, feeds }) => {
                self.has_taken_over = true;
                orphans.iter().for_each(|topic| self.outbox.end(topic));
                let now = self.now();
                self.wants.inherit(feeds, now);
                Some(streams)
            }
            Err(error) => {
                tracing::warn!(%error, "the log cannot be taken over yet");
                None
            }
        }
    }

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
}
