//! The engine's loop: reports in, appends out, and what runs kept in line with what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bond_core::control::Command;
use bond_core::instrument::Venue;
use bond_core::log::{Fence, LogError};
use bond_core::spec::StreamSpec;
use bond_core::store::DesiredStream;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::appender::Appender;
use super::board::{Showing, Told};
use super::health::Sources;
use super::instruments::{Instruments, Taker};
use super::markets::Markets;
use super::outbox::Outbox;
use super::plan::StreamPlan;
use super::sockets::Sockets;
use super::streams::StreamRun;
use super::takeover::{self, Inheritance, Legacies, Legacy};
use super::wants::{Scope, Wants};
use super::{EngineConfig, Ports};
use crate::report::Report;
use crate::session::Network;
use crate::source::social::{self, SocialHandle};

/// Reports that may wait; sessions stop reading from their venue while the queue is full.
const REPORTS: usize = 1024;

/// Reports worked through before the log is appended to.
const BATCH: usize = 256;

/// How often wants are looked at without being told.
const RECONCILE: Duration = Duration::from_secs(2);

/// How long the log may take for the last events when the engine ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The single writer and all that it keeps.
pub(super) struct Engine {
    pub(super) ports: Ports,
    appender: Appender,
    /// Whether what an earlier writer left in the log has been looked at.
    has_taken_over: bool,
    pub(super) cancel: CancellationToken,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) scope: Scope,
    pub(super) patience: (Duration, Duration),
    pub(super) simulated: BTreeSet<Venue>,
    pub(super) wants: Wants,
    pub(super) sources: Sources,
    pub(super) told: Told,
    pub(super) showing: Showing,
    pub(super) markets: Markets,
    pub(super) social: SocialHandle,
    pub(super) sockets: Sockets,
    pub(super) instruments: Instruments,
    pub(super) streams: Vec<StreamRun>,
    pub(super) outbox: Outbox,
}

impl Engine {
    pub(super) fn new(
        config: &EngineConfig,
        ports: Ports,
        network: &Network,
        fence: Fence,
        cancel: CancellationToken,
    ) -> Self {
        let (sender, reports) = mpsc::channel(REPORTS);
        let scope = Scope {
            markets: config.markets.iter().map(|market| (market.venue, market.market)).collect(),
            feed_symbols: config.feed_symbols.clone(),
            linger: config.ring,
        };
        let simulated = config.markets.iter().filter(|m| m.simulated).map(|m| m.venue).collect();
        let social =
            social::spawn(config.social_seed, sender.clone(), Arc::clone(&ports.clock), cancel.clone());
        let sockets = Sockets::new(config, network, &sender, &ports, &cancel);
        let markets = Markets::open(config, network, &sender, &ports, &cancel);
        Self {
            appender: Appender::new(Arc::clone(&ports.log), fence),
            has_taken_over: false,
            ports,
            cancel,
            reports,
            scope,
            patience: (config.max_lag, config.ring),
            simulated,
            wants: Wants::default(),
            sources: Sources::default(),
            told: Told::default(),
            showing: Showing::default(),
            markets,
            social,
            sockets,
            instruments: Instruments::default(),
            streams: Vec::new(),
            outbox: Outbox::default(),
        }
    }

    /// Runs until it is cancelled, or until the log is lost to another writer.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Result<(), LogError> {
        let mut reconcile = interval(RECONCILE);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let cancel = self.cancel.clone();
        loop {
            let idle = self.until_next_window();
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(command) = commands.recv() => self.command(command).await,
                _ = reconcile.tick() => {
                    self.tell_losses();
                    self.reconcile().await;
                }
                _ = self.reports.recv_many(&mut batch, BATCH) => self.take_all(&mut batch),
                written = self.appender.done(), if self.appender.is_busy() => written?,
                () = sleep(idle) => {}
            }
            self.close_windows();
            self.appender.take(&mut self.outbox)?;
        }
        self.stop().await;
        Ok(())
    }

    /// Lets the log take what it has in hand, and ends all sources.
    async fn stop(mut self) {
        if self.appender.is_busy() && timeout(FAREWELL, self.appender.done()).await.is_err() {
            tracing::warn!("the log did not take the last events in time");
        }
        drop(self.reports);
        self.markets.stopped().await;
        self.social.stopped().await;
        self.sockets.stopped().await;
    }

    pub(super) fn now(&self) -> UnixNanos {
        self.ports.clock.now()
    }

    fn until_next_window(&self) -> Duration {
        let deadline = self.streams.iter().filter_map(StreamRun::next_deadline).min();
        deadline.map_or(RECONCILE, |deadline| deadline.since(self.now()).min(RECONCILE))
    }

    pub(super) fn close_windows(&mut self) {
        let now = self.now();
        self.streams.iter_mut().for_each(|stream| stream.close_due(now, &mut self.outbox));
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::StreamsChanged => return self.reconcile().await,
            Command::Feed { connection, filter, until } => {
                if !self.wants.lease(connection, filter, until) {
                    return;
                }
            }
            Command::FeedGone { connection } => self.wants.release(&connection),
            // For the relay, which tells the engine of what its feeds want.
            Command::Connected(_) | Command::Disconnected { .. } => return,
        }
        self.converge();
    }

    /// Reads the registry, and starts and ends streams accordingly. While it cannot be read, what runs goes on.
    async fn reconcile(&mut self) {
        match self.ports.store.desired(self.now()).await {
            Ok(desired) => self.settle_streams(desired).await,
            Err(error) => tracing::warn!(%error, "streams stay as they are"),
        }
        self.converge();
    }

    async fn settle_streams(&mut self, desired: Vec<DesiredStream>) {
        let wanted = desired.iter().map(|stream| (stream.id.clone(), stream.created_at)).collect();
        let Some(mut legacy) = self.take_over(&wanted).await else { return };
        for id in self.wants.retain_streams(&wanted) {
            self.end_stream(&id);
        }
        let unknown: Vec<_> =
            desired.into_iter().filter(|stream| !self.wants.has_stream(&stream.id)).collect();
        for stream in &unknown {
            self.begin_stream(stream, &legacy.remove(&stream.id).unwrap_or_default());
        }
    }

    /// At first, looks at what an earlier writer left in the log. `None` while the log cannot be read: no stream begins before, or its
    /// windows would come twice or be missing.
    async fn take_over(&mut self, wanted: &BTreeMap<StreamId, UnixNanos>) -> Option<Legacies> {
        if self.has_taken_over {
            return Some(Legacies::new());
        }
        match takeover::read(&*self.ports.log, wanted).await {
            Ok(Inheritance { streams, orphans, feeds }) => {
                self.has_taken_over = true;
                orphans.iter().for_each(|topic| self.outbox.end(topic));
                self.wants.inherit(feeds);
                Some(streams)
            }
            Err(error) => {
                tracing::warn!(%error, "the log cannot be taken over yet");
                None
            }
        }
    }

    fn begin_stream(&mut self, stream: &DesiredStream, legacy: &Legacy) {
        let spec = match StreamSpec::from_slice(stream.spec.as_bytes()) {
            Ok((spec, _)) => spec,
            Err(error) => return tracing::error!(stream = %stream.id, %error, "stored spec cannot be read"),
        };
        let plan = Arc::new(StreamPlan::new(spec, &self.scope.markets));
        let meter = self.ports.meters.of(&plan.id);
        self.streams.push(StreamRun::new(Arc::clone(&plan), meter, self.patience, self.now(), legacy));
        self.wants.add_stream(plan, stream.created_at);
        tracing::info!(stream = %stream.id, spec = stream.spec, taken_over = !legacy.is_empty(), "stream runs");
    }

    fn end_stream(&mut self, id: &StreamId) {
        self.streams.retain(|stream| stream.plan().id != *id);
        self.ports.meters.remove(id);
        tracing::info!(stream = %id, "stream ended");
        self.end_topic(&Topic::Stream(id.clone()));
    }

    fn end_topic(&mut self, topic: &Topic) {
        self.told.forget(topic);
        self.outbox.end(topic);
    }

    /// Brings subscriptions, topics and sources in line with what is wanted now.
    fn converge(&mut self) {
        let (desired, ended) = self.wants.resolve(&self.scope, self.ports.clock.now());
        ended.iter().for_each(|topic| self.end_topic(topic));
        self.route(&desired.topics);
        self.sources.retain(|subscription| desired.subscriptions.contains(subscription));
        self.told.retain(|topic| matches!(topic, Topic::Stream(_)) || desired.topics.contains(topic));
        self.markets.set(&desired);
        self.social.set(desired.assets);
        self.sockets.set(self.streams.iter().flat_map(|stream| &stream.plan().sockets));
        self.tell();
    }

    /// Notes at each instrument which topics and streams take what of it.
    fn route(&mut self, topics: &BTreeSet<Topic>) {
        self.instruments.clear_wants();
        for topic in topics {
            match topic {
                Topic::Market(topic) => self.instruments.of(&topic.instrument).want_topic(topic),
                Topic::Raw(instrument) => self.instruments.of(instrument).want_raw(instrument),
                Topic::Stream(_) => {}
            }
        }
        for (index, stream) in self.streams.iter().enumerate() {
            for need in &stream.plan().market {
                let taker = Taker { stream: index, passes: stream.passes(), depth: need.depth };
                self.instruments.of(&need.instrument).want_taker(need.channel, taker);
            }
        }
        self.instruments.settle();
    }
}
