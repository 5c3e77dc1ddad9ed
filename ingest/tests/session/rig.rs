//! A market of a simulated venue, and the loop connected to it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bond_core::backoff::BackoffPolicy;
use bond_core::clock::SystemClock;
use bond_core::event::{BookUpdate, Channel, MarketData, MarketEvent};
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use bond_ingest::report::{Report, SubscriptionState};
use bond_ingest::session::{MarketConfig, MarketHandle, Network, Timing, market};
use bond_ingest::venue::{
    ContinuityRule, Decoded, Keepalive, Limits, ListingsPage, Protocol, Reject, Route, Subscription,
};
use bond_sim::{Config, Entry, Fault, Market, Simulator, serve};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const VENUES: [Venue; 3] = [Venue::Binance, Venue::Okx, Venue::Bybit];

pub(crate) fn subscription(venue: Venue, channel: Channel) -> Subscription {
    Subscription { instrument: Instrument::shared(venue, Symbol::parse("BTC/USDT").unwrap()), channel }
}

/// Waits in milliseconds where the real ones are in seconds.
pub(crate) fn hasty() -> Timing {
    let quick = BackoffPolicy {
        first: Duration::from_millis(20),
        most: Duration::from_millis(200),
        failed_after: 10,
    };
    Timing {
        backoff: quick,
        resync: quick,
        ack_timeout: Duration::from_secs(2),
        refused_retry: Duration::from_millis(200),
        rest_interval: Duration::from_millis(10),
        ..Timing::default()
    }
}

pub(crate) struct Rig {
    pub(crate) venue: Venue,
    pub(crate) simulator: Simulator,
    pub(crate) market: MarketHandle,
    pub(crate) updates: Vec<BookUpdate>,
    reports: mpsc::Receiver<Report>,
    /// What came together and is looked at one after another.
    states: VecDeque<SubscriptionState>,
    _cancel: DropGuard,
}

impl Rig {
    /// The loop at a seeded market that sends much, with nothing wanted yet and the list of instruments read.
    pub(crate) async fn new(venue: Venue, timing: Timing) -> Self {
        Self::with_budget(venue, timing, None).await
    }

    /// The same, with a silence budget of the test's own.
    pub(crate) async fn with_budget(venue: Venue, timing: Timing, budget: Option<Duration>) -> Self {
        let simulator = serve(Config::seeded(simulated(venue), Market::Spot, 7, 400.0)).await.unwrap();
        let rest_base = Url::parse(&simulator.base_url()).unwrap();
        let ws_base = Url::parse(&simulator.base_url().replace("http", "ws")).unwrap();
        let config = MarketConfig::new(venue, MarketType::Spot, ws_base, rest_base).unwrap();
        let inner = Arc::clone(&config.protocol);
        let protocol = move |listings| match budget {
            Some(budget) => Box::new(Impatient { inner: inner(listings), budget }),
            None => inner(listings),
        };
        let config = MarketConfig { protocol: Arc::new(protocol), timing, ..config };
        let (sender, reports) = mpsc::channel(256);
        let cancel = CancellationToken::new();
        let network = Network::new().unwrap();
        let market = market::spawn(
            config,
            network,
            sender,
            Arc::new(SystemClock),
            &cancel,
            &bond_supervise::Supervisor::default(),
        );
        let rig = Self {
            venue,
            simulator,
            market,
            reports,
            states: VecDeque::new(),
            updates: Vec::new(),
            _cancel: cancel.drop_guard(),
        };
        // The list is read when something is wanted; a spot market has no liquidations, so nothing is connected for them.
        rig.want(&[Channel::Liquidations]);
        rig.journal(|entry| matches!(entry, Entry::Served { status: 200, .. })).await;
        rig.want(&[]);
        rig
    }

    pub(crate) fn want(&self, channels: &[Channel]) {
        let wanted = channels.iter().map(|channel| subscription(self.venue, *channel));
        self.market.set(wanted.collect::<BTreeSet<_>>());
    }

    pub(crate) fn inject(&self, fault: &str) {
        self.simulator.inject(fault.parse::<Fault>().unwrap());
    }

    pub(crate) async fn journal(&self, wanted: impl Fn(&Entry) -> bool) -> Entry {
        timeout(PATIENCE, self.simulator.journal().wait(wanted)).await.expect("the simulator saw it")
    }

    /// How often the simulator was subscribed to.
    pub(crate) fn subscribed(&self) -> usize {
        self.simulator
            .journal()
            .entries()
            .iter()
            .filter(|entry| matches!(entry, Entry::Subscribed { .. }))
            .count()
    }

    pub(crate) async fn report(&mut self) -> Report {
        if let Some(state) = self.states.pop_front() {
            return state.into();
        }
        let mut report = timeout(PATIENCE, self.reports.recv()).await.expect("a report in time").unwrap();
        if let Report::Subscriptions(states) = &mut report {
            self.states.extend(states.drain(1..));
        }
        if let Report::Events { events, .. } = &report {
            self.updates.extend(events.iter().filter_map(book_update).cloned());
        }
        report
    }

    /// Reads reports until the channel comes into `state`; gives the reason.
    pub(crate) async fn until(&mut self, channel: Channel, wanted: SourceState) -> String {
        let venue = self.venue;
        loop {
            if let Report::Subscriptions(states) = self.report().await
                && let [SubscriptionState { subscription: about, state, reason, .. }] = states.as_slice()
                && *about == subscription(venue, channel)
                && *state == wanted
            {
                return reason.to_string();
            }
        }
    }

    /// Reads reports until `count` more events of the channel came.
    pub(crate) async fn flow(&mut self, channel: Channel, mut count: usize) {
        while count > 0 {
            if let Report::Events { events, .. } = self.report().await {
                count = count
                    .saturating_sub(events.iter().filter(|event| event.data.channel() == channel).count());
            }
        }
    }
}

fn book_update(event: &MarketEvent) -> Option<&BookUpdate> {
    match &event.data {
        MarketData::Book(update) => Some(update),
        _ => None,
    }
}

fn simulated(venue: Venue) -> bond_sim::Venue {
    match venue {
        Venue::Binance => bond_sim::Venue::Binance,
        Venue::Okx => bond_sim::Venue::Okx,
        Venue::Bybit => bond_sim::Venue::Bybit,
        other => panic!("not simulated: {other}"),
    }
}

/// A venue that expects data sooner.
struct Impatient {
    inner: Box<dyn Protocol>,
    budget: Duration,
}

impl Protocol for Impatient {
    fn venue(&self) -> Venue {
        self.inner.venue()
    }

    fn market(&self) -> MarketType {
        self.inner.market()
    }

    fn route(&self, channel: Channel) -> Option<Route> {
        self.inner.route(channel)
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn keepalive(&self) -> Option<Keepalive> {
        self.inner.keepalive()
    }

    fn silence_budget(&self, _: Channel) -> Duration {
        self.budget
    }

    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        self.inner.subscribe(subscriptions)
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        self.inner.unsubscribe(subscriptions)
    }

    fn decode(
        &mut self,
        frame: &str,
        received: UnixNanos,
        out: &mut Vec<Decoded>,
        rejects: &mut Vec<Reject>,
    ) {
        self.inner.decode(frame, received, out, rejects);
    }

    fn continuity(&self) -> ContinuityRule {
        self.inner.continuity()
    }

    fn snapshot_request(&self, instrument: &Instrument) -> Option<String> {
        self.inner.snapshot_request(instrument)
    }

    fn decode_snapshot(&self, instrument: &Instrument, body: &[u8]) -> Result<BookUpdate, Reject> {
        self.inner.decode_snapshot(instrument, body)
    }

    fn resubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        self.inner.resubscribe(subscriptions)
    }

    fn listings_request(&self, after: Option<&str>) -> String {
        self.inner.listings_request(after)
    }

    fn decode_listings(&self, body: &[u8]) -> Result<ListingsPage, Reject> {
        self.inner.decode_listings(body)
    }
}
