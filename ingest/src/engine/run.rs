//! The engine's loop: reports in, appends out, and what runs kept in line with what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bond_core::control::Command;
use bond_core::event::{Channel, MarketEvent};
use bond_core::instrument::{Instrument, MarketType, Venue};
use bond_core::log::{Fence, LogError};
use bond_core::source::SourceStatus;
use bond_core::spec::StreamSpec;
use bond_core::store::DesiredStream;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::board::{Showing, Told, lost_status, source_status};
use super::health::{Health, Sources};
use super::instruments::{Instruments, Taker};
use super::outbox::Outbox;
use super::plan::StreamPlan;
use super::sockets::Sockets;
use super::streams::StreamRun;
use super::wants::{Scope, Wants};
use super::{EngineConfig, Ports};
use crate::report::Report;
use crate::session::{MarketConfig, MarketHandle, Network, ProtocolFactory, market};
use crate::source::social::{self, SocialHandle};
use crate::venue::{self, Subscription};

/// Reports that may wait; sessions stop reading from their venue while the queue is full.
const REPORTS: usize = 1024;

/// Reports worked through before the log is appended to.
const BATCH: usize = 256;

/// How often wants are looked at without being told.
const RECONCILE: Duration = Duration::from_secs(2);

/// The single writer and all that it keeps.
pub(super) struct Engine {
    ports: Ports,
    fence: Fence,
    cancel: CancellationToken,
    reports: mpsc::Receiver<Report>,
    scope: Scope,
    patience: (Duration, Duration),
    simulated: BTreeSet<Venue>,
    wants: Wants,
    sources: Sources,
    told: Told,
    showing: Showing,
    markets: BTreeMap<(Venue, MarketType), MarketHandle>,
    social: SocialHandle,
    sockets: Sockets,
    instruments: Instruments,
    streams: Vec<StreamRun>,
    outbox: Outbox,
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
        let markets = open_markets(config, network, &sender, &ports, &cancel);
        Self {
            ports,
            fence,
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
                Some(command) = commands.recv() => self.command(command).await?,
                _ = reconcile.tick() => {
                    self.tell_losses();
                    self.reconcile().await?;
                }
                _ = self.reports.recv_many(&mut batch, BATCH) => self.take_all(&mut batch),
                () = sleep(idle) => {}
            }
            self.close_windows();
            self.flush().await?;
        }
        self.stop().await;
        Ok(())
    }

    async fn stop(self) {
        drop(self.reports);
        for (_, market) in self.markets {
            market.stopped().await;
        }
        self.social.stopped().await;
        self.sockets.stopped().await;
    }

    fn now(&self) -> UnixNanos {
        self.ports.clock.now()
    }

    fn until_next_window(&self) -> Duration {
        let deadline = self.streams.iter().filter_map(StreamRun::next_deadline).min();
        deadline.map_or(RECONCILE, |deadline| deadline.since(self.now()).min(RECONCILE))
    }

    fn close_windows(&mut self) {
        let now = self.now();
        self.streams.iter_mut().for_each(|stream| stream.close_due(now, &mut self.outbox));
    }

    /// Appends what has gathered. A log that cannot be reached loses these events, and says so.
    async fn flush(&mut self) -> Result<(), LogError> {
        match self.outbox.flush(self.ports.log.as_ref(), self.fence).await {
            Err(LogError::Unavailable(reason)) => {
                tracing::error!(%reason, "the event log did not take what was to be appended");
                Ok(())
            }
            outcome => outcome,
        }
    }

    async fn command(&mut self, command: Command) -> Result<(), LogError> {
        match command {
            Command::StreamsChanged => return self.reconcile().await,
            Command::Feed { connection, filter, until } => {
                if !self.wants.lease(connection, filter, until) {
                    return Ok(());
                }
            }
            Command::FeedGone { connection } => self.wants.release(&connection),
        }
        self.converge().await
    }

    /// Says in the topics that are concerned which trades a venue never sent.
    fn tell_losses(&mut self) {
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

    /// Reads the registry, and starts and ends streams accordingly. While it cannot be read, what runs goes on.
    async fn reconcile(&mut self) -> Result<(), LogError> {
        match self.ports.store.desired(self.now()).await {
            Ok(desired) => self.settle_streams(desired).await?,
            Err(error) => tracing::warn!(%error, "streams stay as they are"),
        }
        self.converge().await
    }

    async fn settle_streams(&mut self, desired: Vec<DesiredStream>) -> Result<(), LogError> {
        let wanted = desired.iter().map(|stream| (stream.id.clone(), stream.created_at)).collect();
        for id in self.wants.retain_streams(&wanted) {
            self.end_stream(&id).await?;
        }
        let unknown: Vec<_> =
            desired.into_iter().filter(|stream| !self.wants.has_stream(&stream.id)).collect();
        unknown.into_iter().for_each(|stream| self.begin_stream(&stream));
        Ok(())
    }

    fn begin_stream(&mut self, stream: &DesiredStream) {
        let spec = match StreamSpec::from_slice(stream.spec.as_bytes()) {
            Ok((spec, _)) => spec,
            Err(error) => return tracing::error!(stream = %stream.id, %error, "stored spec cannot be read"),
        };
        let plan = Arc::new(StreamPlan::new(spec, &self.scope.markets));
        let meter = self.ports.meters.of(&plan.id);
        self.streams.push(StreamRun::new(Arc::clone(&plan), meter, self.patience, self.now()));
        self.wants.add_stream(plan, stream.created_at);
        tracing::info!(stream = %stream.id, spec = stream.spec, "stream runs");
    }

    async fn end_stream(&mut self, id: &StreamId) -> Result<(), LogError> {
        self.streams.retain(|stream| stream.plan().id != *id);
        self.ports.meters.remove(id);
        tracing::info!(stream = %id, "stream ended");
        self.end_topic(&Topic::Stream(id.clone())).await
    }

    async fn end_topic(&mut self, topic: &Topic) -> Result<(), LogError> {
        self.outbox.forget(topic);
        self.told.forget(topic);
        self.ports.log.end(self.fence, topic).await
    }

    /// Brings subscriptions, topics and sources in line with what is wanted now.
    async fn converge(&mut self) -> Result<(), LogError> {
        let (desired, ended) = self.wants.resolve(&self.scope, self.ports.clock.now());
        for topic in &ended {
            self.end_topic(topic).await?;
        }
        self.route(&desired.topics);
        self.sources.retain(|subscription| desired.subscriptions.contains(subscription));
        self.told.retain(|topic| matches!(topic, Topic::Stream(_)) || desired.topics.contains(topic));
        self.social.set(desired.assets);
        self.sockets.set(self.streams.iter().flat_map(|stream| &stream.plan().sockets));
        for (market, handle) in &self.markets {
            let own = |s: &&Subscription| (s.instrument.venue, s.instrument.symbol.market()) == *market;
            handle.set(desired.subscriptions.iter().filter(own).cloned().collect());
            handle.set_raw(desired.topics.iter().any(|topic| is_raw_of(topic, *market)));
        }
        self.tell();
        Ok(())
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

    fn take_all(&mut self, batch: &mut Vec<Report>) {
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
        use bond_core::source::SourceState::Connected;
        if subscription.channel == Channel::OrderBook
            && health.state != Connected
            && let Some(state) = self.instruments.get_mut(&subscription.instrument)
        {
            state.distrust_book();
        }
        self.sources.subscription(subscription, health);
        self.tell();
    }

    fn show(&mut self) {
        let (venues, mut missing) = (self.sources.venues(), self.sources.missing());
        let unserved = self.streams.iter().flat_map(|stream| &stream.plan().unserved);
        for (venue, _) in unserved.filter(|(venue, _)| !venues.contains_key(venue)) {
            missing.insert(SmolStr::new_static(venue.name()), Health::unserved(self.ports.clock.now()));
        }
        self.showing.show(&self.ports.board, &venues, missing);
    }

    /// Tells the board, the topics and the windows how their sources fare now.
    fn tell(&mut self) {
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

fn is_raw_of(topic: &Topic, (venue, market): (Venue, MarketType)) -> bool {
    matches!(topic, Topic::Raw(i) if (i.venue, i.symbol.market()) == (venue, market))
}

/// How the connections of a market speak; `None` where this build has no connector.
fn factory(venue: Venue, market: MarketType) -> Option<ProtocolFactory> {
    let speaks = move |listings| venue::protocol(venue, market, listings);
    speaks(Arc::default())?;
    Some(Arc::new(move |listings| speaks(listings).expect("a connector that was there a moment ago")))
}

fn open_markets(
    config: &EngineConfig,
    network: &Network,
    reports: &mpsc::Sender<Report>,
    ports: &Ports,
    cancel: &CancellationToken,
) -> BTreeMap<(Venue, MarketType), MarketHandle> {
    let mut handles = BTreeMap::new();
    for m in &config.markets {
        let (name, kind) = (m.venue, m.market);
        let Some(protocol) = factory(name, kind) else {
            tracing::error!(venue = %name, "no connector in this build");
            continue;
        };
        let session = MarketConfig {
            protocol,
            ws_base: m.ws_base.clone(),
            rest_base: m.rest_base.clone(),
            timing: config.timing,
        };
        let clock = Arc::clone(&ports.clock);
        handles.insert(
            (name, kind),
            market::spawn(session, network.clone(), reports.clone(), clock, cancel.clone()),
        );
    }
    handles
}
