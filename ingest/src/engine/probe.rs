//! An engine without its loop, for tests and measurements: takes commands and reports, and tells what they cost.

use std::collections::BTreeSet;
use std::time::Duration;

use bond_core::control::Command;
use bond_core::event::Channel;
use bond_core::feed::FeedFilter;
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::log::Fence;
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use smol_str::{SmolStr, format_smolstr};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::run::{BATCH, Engine};
use super::{EngineConfig, Market, Ports};
use crate::report::{Report, SubscriptionState};
use crate::rest::RestError;
use crate::session::{Network, Timing};
use crate::venue::Subscription;

/// Symbols of one feed.
const SYMBOLS: usize = 100;

/// An engine of one market, which nobody answers for.
pub struct Probe(Engine);

impl Probe {
    /// An engine that asks venues for at most `most` subscriptions. Wants a runtime.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn new(ports: Ports, most: usize, fence: Fence) -> Result<Self, RestError> {
        let nowhere = Url::parse("ws://127.0.0.1:9").expect("a url");
        let market = Market {
            venue: Venue::Okx,
            market: MarketType::Spot,
            ws_base: nowhere.clone(),
            rest_base: nowhere,
            simulated: true,
        };
        let config = EngineConfig {
            markets: vec![market],
            feed_symbols: BTreeSet::new(),
            ring: Duration::from_secs(60),
            max_lag: Duration::from_millis(500),
            timing: Timing::default(),
            allow_private_sources: false,
            max_subscriptions: most,
            max_sockets: 16,
            social_seed: 1,
        };
        Ok(Self(Engine::new(&config, ports, &Network::new()?, fence, CancellationToken::new())))
    }

    /// Feeds come that want `count` topics together, trades of as many symbols.
    pub fn want(&mut self, count: usize) {
        for first in (0..count).step_by(SYMBOLS) {
            let symbols = (first..count.min(first + SYMBOLS)).map(symbol).collect();
            let filter = FeedFilter { channels: [Channel::Trades].into(), symbols, ..FeedFilter::default() };
            let until = UnixNanos::from_nanos(i64::MAX);
            self.0.command(Command::Feed { connection: format_smolstr!("f{first}"), filter, until });
        }
        self.0.settle();
    }

    /// Each of the first `count` symbols is reported to be in `state`, one report for each.
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

    /// What each wake-up does where nothing has happened.
    pub fn wake(&mut self) {
        self.0.settle();
    }

    /// How many times a topic or a stream was looked at to be told something.
    pub const fn tellings(&self) -> u64 {
        self.0.tellings
    }

    /// How many statuses wait for the log.
    pub fn told(&mut self) -> usize {
        std::iter::from_fn(|| Some(self.0.outbox.take()).filter(|batch| !batch.is_empty()))
            .map(|batch| batch.len())
            .sum()
    }

    /// The ports it was given.
    pub const fn ports(&self) -> &Ports {
        &self.0.ports
    }
}

fn symbol(number: usize) -> Symbol {
    Symbol::parse(&format!("A{number}/USDT")).expect("a symbol")
}
