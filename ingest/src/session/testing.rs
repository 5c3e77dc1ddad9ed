//! A venue in memory: it speaks a language of words, and does what the test says.

mod memory;
mod words;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bond_core::event::{Channel, MarketEvent};
use bond_core::instrument::{Instrument, Symbol, Venue};
use bond_core::source::SourceState;
use bond_core::time::{ManualClock, UnixNanos};
use bond_supervise::Supervisor;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::memory::{Answer, Memory, Peer};
pub(super) use self::words::Words;
use super::{MarketConfig, MarketHandle, OutageLog, Timing, market};
use crate::report::{Report, SubscriptionState};
use crate::rest::RestError;
use crate::venue::{ContinuityRule, Subscription};

/// How long an instrument may be silent at this venue.
pub(super) const BUDGET: Duration = Duration::from_secs(20);

/// Longer than anything here takes, so that what never comes fails a test at once: time is paused.
pub(in crate::session) const PATIENCE: Duration = Duration::from_secs(3 * 86_400);

pub(super) fn subscription(symbol: &str, channel: Channel) -> Subscription {
    Subscription { instrument: Instrument::shared(Venue::Binance, Symbol::parse(symbol).unwrap()), channel }
}

pub(super) fn trades(symbol: &str) -> Subscription {
    subscription(symbol, Channel::Trades)
}

/// A market of the venue in memory, and all its ends.
pub(super) struct Bench {
    pub(super) market: MarketHandle,
    pub(super) reports: mpsc::Receiver<Report>,
    /// What came together and is looked at one after another.
    states: VecDeque<SubscriptionState>,
    pub(super) cancel: CancellationToken,
    peers: mpsc::Receiver<Peer>,
    transport: Memory,
}

impl Bench {
    /// A market with small waits that lists BTC/USDT, ETH/USDT and SOL/USDT, and answers requests for snapshots with `snapshot`.
    pub(super) fn new(rule: ContinuityRule, mut snapshot: impl FnMut() -> Answer + Send + 'static) -> Self {
        Self::with(Timing::default(), rule, 256, move |url| match url.path() {
            "/listings" => Ok(Bytes::from_static(b"BTC/USDT ETH/USDT SOL/USDT")),
            _ => snapshot(),
        })
    }

    /// A market whose venue answers nothing and counts that, one of several that log together.
    pub(super) fn unreachable(outages: &Arc<OutageLog>, failures: &Arc<AtomicUsize>) -> Self {
        let failures = Arc::clone(failures);
        let answers = move |_: &Url| {
            failures.fetch_add(1, Ordering::SeqCst);
            Err(RestError::Status { status: 503, retry_after: None })
        };
        Self::logging(Timing::default(), ContinuityRule::PlusOne, 256, answers, outages)
    }

    pub(super) fn trades_only() -> Self {
        Self::new(ContinuityRule::PlusOne, || Ok(Bytes::new()))
    }

    pub(super) fn with(
        timing: Timing,
        rule: ContinuityRule,
        capacity: usize,
        answers: impl FnMut(&Url) -> Answer + Send + 'static,
    ) -> Self {
        Self::logging(timing, rule, capacity, answers, &Arc::default())
    }

    fn logging(
        timing: Timing,
        rule: ContinuityRule,
        capacity: usize,
        answers: impl FnMut(&Url) -> Answer + Send + 'static,
        outages: &Arc<OutageLog>,
    ) -> Self {
        let (peers_tx, peers) = mpsc::channel(16);
        let transport = Memory {
            peers: peers_tx,
            refusals: Arc::default(),
            attempts: Arc::default(),
            answers: Arc::new(Mutex::new(Box::new(answers))),
        };
        let config = MarketConfig {
            protocol: Arc::new(move |listings| Box::new(Words { listings, rule })),
            ws_base: Url::parse("ws://venue.test").unwrap(),
            rest_base: Url::parse("http://venue.test").unwrap(),
            timing,
            outages: Arc::clone(outages),
        };
        let (reports_tx, reports) = mpsc::channel(capacity);
        let cancel = CancellationToken::new();
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(1)));
        let market =
            market::spawn(config, transport.clone(), reports_tx, clock, &cancel, &Supervisor::default());
        Self { market, reports, states: VecDeque::new(), cancel, peers, transport }
    }

    pub(super) fn want(&self, wanted: &[Subscription]) {
        self.market.set(wanted.iter().cloned().collect::<BTreeSet<_>>());
    }

    /// The next `count` attempts to connect fail.
    pub(super) fn refuse(&self, count: usize) {
        self.transport.refusals.store(count, Ordering::SeqCst);
    }

    pub(super) fn attempts(&self) -> usize {
        self.transport.attempts.load(Ordering::SeqCst)
    }

    /// The next connection's other end.
    pub(super) async fn accept(&mut self) -> Peer {
        timeout(PATIENCE, self.peers.recv()).await.expect("a connection").unwrap()
    }

    /// Reads reports until `subscription` comes into `state`; gives the reason.
    pub(super) async fn until(&mut self, subscription: &Subscription, wanted: SourceState) -> String {
        loop {
            if let Report::Subscriptions(states) = self.report().await
                && let [SubscriptionState { subscription: about, state, reason, .. }] = states.as_slice()
                && *about == *subscription
                && *state == wanted
            {
                return reason.to_string();
            }
        }
    }

    /// Reads reports until the market comes into `state`.
    pub(super) async fn until_market(&mut self, wanted: SourceState) {
        while !matches!(self.report().await, Report::Market { state, .. } if state == wanted) {}
    }

    /// Reads reports until the next events.
    pub(super) async fn events(&mut self) -> Vec<MarketEvent> {
        loop {
            if let Report::Events { events, .. } = self.report().await {
                return events;
            }
        }
    }

    /// Reads reports until the next events; gives their frame.
    pub(super) async fn raw(&mut self) -> Option<String> {
        loop {
            if let Report::Events { raw, .. } = self.report().await {
                return raw.map(|raw| String::from_utf8(raw.data.to_vec()).unwrap());
            }
        }
    }

    pub(super) async fn report(&mut self) -> Report {
        if let Some(state) = self.states.pop_front() {
            return state.into();
        }
        match timeout(PATIENCE, self.reports.recv()).await.expect("a report").unwrap() {
            Report::Subscriptions(states) => {
                self.states.extend(states);
                self.states.pop_front().expect("a report is of something").into()
            }
            report => report,
        }
    }
}
