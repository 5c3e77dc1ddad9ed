//! An engine without its loop, for tests and measurements. It takes commands and reports, and returns what they cost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::control::Command;
use bond_core::event::Channel;
use bond_core::feed::FeedFilter;
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::log::Fence;
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::{SourceBoard, SourceState};
use bond_core::store::{Claim, DesiredStream, StoreError, StreamStore};
use bond_core::time::{ManualClock, UnixNanos};
use bond_core::topic::StreamId;
use bond_supervise::Supervisor;
use smol_str::{SmolStr, format_smolstr};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::run::{BATCH, Engine};
use super::{EngineConfig, Market, Ports};
use crate::report::{Report, SubscriptionState};
use crate::rest::RestError;
use crate::session::{Network, Timing};
use crate::venue::Subscription;

/// The number of symbols of one feed.
const SYMBOLS: usize = 100;

/// How long history is kept.
pub(super) const RING: Duration = Duration::from_secs(60);

/// A registry without streams.
struct NoStreams;

#[async_trait]
impl StreamStore for NoStreams {
    async fn claim(
        &self,
        _: DesiredStream,
        _: Claim,
        quota: usize,
        _: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError> {
        Err(StoreError::Quota { limit: quota })
    }

    async fn release(&self, _: &StreamId, _: &str, _: UnixNanos) -> Result<Option<bool>, StoreError> {
        Ok(None)
    }

    async fn get(
        &self,
        _: &StreamId,
        _: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        Ok(None)
    }

    async fn list(
        &self,
        _: &str,
        _: Option<&StreamId>,
        _: usize,
        _: UnixNanos,
    ) -> Result<Vec<(DesiredStream, Claim)>, StoreError> {
        Ok(Vec::new())
    }

    async fn desired(&self, _: UnixNanos) -> Result<Vec<DesiredStream>, StoreError> {
        Ok(Vec::new())
    }
}

/// Ports with a log in memory, and without streams.
pub(super) fn ports(clock: Arc<ManualClock>) -> Ports {
    let retention = Retention { ring: RING, topic_bytes: 1 << 20, total_bytes: 1 << 20 };
    Ports {
        log: Arc::new(MemoryLog::new(retention, Arc::clone(&clock) as _, 1)),
        store: Arc::new(NoStreams),
        board: SourceBoard::default(),
        meters: Meters::default(),
        clock,
        supervisor: Supervisor::default(),
    }
}

/// An engine of one market, at which no venue answers, that makes at most `most` subscriptions.
pub(super) fn config(most: usize) -> EngineConfig {
    let nowhere = Url::parse("ws://127.0.0.1:9").expect("a url");
    let market = Market {
        venue: Venue::Okx,
        market: MarketType::Spot,
        ws_base: nowhere.clone(),
        rest_base: nowhere,
        simulated: true,
    };
    EngineConfig {
        markets: vec![market],
        feed_symbols: BTreeSet::new(),
        ring: RING,
        max_lag: Duration::from_millis(500),
        timing: Timing::default(),
        allow_private_sources: false,
        max_subscriptions: most,
        max_sockets: 16,
        social_seed: 1,
    }
}

/// An engine of one market, at which no venue answers.
pub struct Probe(Engine);

impl Probe {
    /// An engine with a log in memory and without streams, which makes at most `most` subscriptions. Must be called within a runtime.
    ///
    /// # Errors
    /// [`RestError`] if TLS cannot be set up.
    pub async fn alone(most: usize) -> Result<Self, RestError> {
        let ports = ports(Arc::new(ManualClock::new(UnixNanos::from_secs(100))));
        let fence = ports.log.acquire().await.expect("a log in memory has no other writer");
        Self::new(ports, most, fence)
    }

    fn new(ports: Ports, most: usize, fence: Fence) -> Result<Self, RestError> {
        Ok(Self(Engine::new(&config(most), ports, &Network::new()?, fence, CancellationToken::new())))
    }

    /// Adds feeds that want `count` topics together: the trades of as many symbols.
    pub fn want(&mut self, count: usize) {
        for first in (0..count).step_by(SYMBOLS) {
            let symbols = (first..count.min(first + SYMBOLS)).map(symbol).collect();
            let filter = FeedFilter { channels: [Channel::Trades].into(), symbols, ..FeedFilter::default() };
            let until = UnixNanos::from_nanos(i64::MAX);
            let connection = format_smolstr!("f{first}");
            self.0.command(Command::Feed { connection, owner: None, filter, until });
        }
        self.0.settle();
    }

    /// Reports that the first `count` symbols are in `state`, with one report for each.
    pub fn report(&mut self, count: usize, state: SourceState) {
        let mut reports = (0..count).map(|number| {
            let instrument = Instrument::shared(Venue::Okx, symbol(number));
            let subscription = Subscription { instrument, channel: Channel::Trades };
            let (since, reason) = (UnixNanos::EPOCH, SmolStr::new_static("planned"));
            Report::from(SubscriptionState { subscription, state, since, reason })
        });
        loop {
            let mut batch: Vec<_> = reports.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            self.0.take_all(&mut batch);
            self.0.settle();
        }
    }

    /// Does what the engine does at a wake-up when nothing has happened.
    pub fn wake(&mut self) {
        self.0.settle();
    }

    /// How many times a topic or a stream was checked for whether it has to be notified.
    pub const fn tellings(&self) -> u64 {
        self.0.tellings
    }

    /// The number of statuses that wait for the log.
    pub fn told(&mut self) -> usize {
        std::iter::from_fn(|| Some(self.0.outbox.take()).filter(|batch| !batch.is_empty()))
            .map(|batch| batch.len())
            .sum()
    }

    /// The ports of the engine.
    pub const fn ports(&self) -> &Ports {
        &self.0.ports
    }
}

fn symbol(number: usize) -> Symbol {
    Symbol::parse(&format!("A{number}/USDT")).expect("a symbol")
}
