//! The engine's loop: reports in, appends out, and what runs kept in line with what is wanted.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bond_core::control::Command;
use bond_core::instrument::{Instrument, Venue};
use bond_core::log::{Fence, LogError};
use bond_core::store::DesiredStream;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::appender::Appender;
use super::board::{AnnouncedSources, Showing, ShownToStreams};
use super::desired::{Change, Desired, Scope};
use super::health::{Health, Sources};
use super::instruments::InstrumentStates;
use super::markets::{MarketKey, Markets};
use super::outbox::Outbox;
use super::sockets::Sockets;
use super::streams::{StreamKey, Streams};
use super::subscriptions::AskState;
use super::takeover::StreamTakeover;
use super::{EngineConfig, FAREWELL, Ports};
use crate::report::Report;
use crate::session::Network;
use crate::source::social::{self, SocialHandle};
use crate::venue::Subscription;

/// Reports that may wait; sessions stop reading from their venue while the queue is full.
const REPORTS: usize = 1024;

/// Reports worked through before the log is appended to.
pub(super) const BATCH: usize = 256;

/// How often wants are looked at without being told.
const RECONCILE: Duration = Duration::from_secs(2);

/// Commands worked through before what they change is carried out.
const COMMANDS_AT_ONCE: usize = 256;

/// The least time between two readings of the registry that commands ask for.
const REGISTRY_EVERY: Duration = Duration::from_millis(100);

/// The single writer and all that it keeps.
pub(super) struct Engine {
    pub(super) ports: Ports,
    appender: Appender,
    /// Whether what an earlier writer left in the log has been looked at.
    pub(super) has_taken_over: bool,
    cancel: CancellationToken,
    /// Ends what the engine has started, however it ends itself.
    parts: DropGuard,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) scope: Scope,
    pub(super) patience: (Duration, Duration),
    pub(super) simulated: BTreeSet<Venue>,
    pub(super) wants: Desired,
    pub(super) sources: Sources,
    pub(super) told: AnnouncedSources,
    pub(super) showing: Showing,
    pub(super) markets: Markets,
    pub(super) social: SocialHandle,
    pub(super) sockets: Sockets,
    pub(super) instruments: InstrumentStates,
    pub(super) streams: Streams,
    /// Streams that are wanted and begin with the next turns.
    pub(super) beginning: VecDeque<(DesiredStream, StreamTakeover)>,
    /// When a command has asked for the registry to be read.
    pub(super) read_at: Option<Instant>,
    pub(super) was_read: Option<Instant>,
    /// Streams that are to be told how their sources fare.
    pub(super) concerned: BTreeSet<StreamKey>,
    pub(super) shown: ShownToStreams,
    pub(super) raw: BTreeMap<MarketKey, usize>,
    /// How many times a topic was looked at to be told something.
    pub(super) tellings: u64,
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
        let parts = cancel.child_token();
        let social = social::spawn(
            config.social_seed,
            sender.clone(),
            Arc::clone(&ports.clock),
            parts.clone(),
            &ports.supervisor,
        );
        let sockets = Sockets::new(config, network, &sender, &ports, &parts);
        let markets = Markets::open(config, network, &sender, &ports, &parts);
        Self {
            appender: Appender::new(Arc::clone(&ports.log), fence),
            has_taken_over: false,
            ports,
            cancel,
            parts: parts.drop_guard(),
            reports,
            wants: Desired::new(scope.clone(), config.max_subscriptions),
            scope,
            patience: (config.max_lag, config.ring),
            simulated,
            sources: Sources::default(),
            told: AnnouncedSources::default(),
            showing: Showing::default(),
            markets,
            social,
            sockets,
            instruments: InstrumentStates::default(),
            streams: Streams::default(),
            beginning: VecDeque::new(),
            read_at: None,
            was_read: None,
            concerned: BTreeSet::new(),
            shown: ShownToStreams::default(),
            raw: BTreeMap::new(),
            tellings: 0,
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
            let (idle, read_at) = (self.until_next_window(), self.read_at);
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(command) = commands.recv() => self.commands(command, &mut commands),
                () = sleep_until(read_at.unwrap_or_else(Instant::now)), if read_at.is_some() => self.reconcile().await,
                _ = reconcile.tick() => {
                    self.tell_losses();
                    self.sources.forget_dropped();
                    self.wants.lapse(self.now());
                    self.reconcile().await;
                }
                _ = self.reports.recv_many(&mut batch, BATCH) => self.take_all(&mut batch),
                written = self.appender.done(), if self.appender.is_busy() => written?,
                () = sleep(idle) => {}
            }
            self.settle();
            self.appender.take(&mut self.outbox)?;
        }
        self.stop().await;
        Ok(())
    }

    /// Carries out what a turn has changed. What it costs is in proportion to that.
    pub(super) fn settle(&mut self) {
        self.begin_streams();
        self.converge();
        self.tell();
        let now = self.now();
        self.streams.close_due(now, &mut self.outbox);
    }

    /// Lets the log take what it has in hand, and ends all sources.
    async fn stop(mut self) {
        if self.appender.is_busy() && timeout(FAREWELL, self.appender.done()).await.is_err() {
            tracing::warn!("the log did not take the last events in time");
        }
        drop(self.parts);
        drop(self.reports);
        self.markets.stopped().await;
        self.social.stopped().await;
        self.sockets.stopped().await;
    }

    pub(super) fn now(&self) -> UnixNanos {
        self.ports.clock.now()
    }

    fn until_next_window(&self) -> Duration {
        if !self.beginning.is_empty() {
            return Duration::ZERO;
        }
        let deadline = self.streams.next_deadline();
        deadline.map_or(RECONCILE, |deadline| deadline.since(self.now()).min(RECONCILE))
    }

    fn commands(&mut self, first: Command, others: &mut mpsc::Receiver<Command>) {
        self.command(first);
        for _ in 1..COMMANDS_AT_ONCE {
            let Ok(command) = others.try_recv() else { return };
            self.command(command);
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::StreamsChanged => {
                let earliest = self.was_read.map(|at| at + REGISTRY_EVERY);
                let at = earliest.unwrap_or_else(Instant::now).max(Instant::now());
                self.read_at.get_or_insert(at);
            }
            Command::Feed { connection, owner, filter, until } => {
                self.wants.lease(connection, owner, filter, until, now);
            }
            Command::FeedGone { connection } => self.wants.release(&connection, now),
            // For the relay, which tells the engine of what its feeds want.
            Command::Connected(_) | Command::Disconnected { .. } => {}
        }
    }

    pub(super) fn end_topic(&mut self, topic: &Topic) {
        self.told.forget(topic);
        self.outbox.end(topic);
    }

    /// Brings subscriptions and topics in line with what is wanted now.
    fn converge(&mut self) {
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
        if let Some(handle) = self.markets.get(market) {
            handle.set_raw(*count > 0);
        }
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
        for (market, changes) in changes {
            if let Some(market) = self.markets.get(market) {
                market.change(changes);
            }
        }
    }
}
