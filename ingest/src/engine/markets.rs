//! The markets that are served, each with its session.

use std::collections::BTreeMap;
use std::sync::Arc;

use bond_core::instrument::{MarketType, Venue};
use bond_core::topic::Topic;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::wants::Desired;
use super::{EngineConfig, Ports};
use crate::report::Report;
use crate::session::{MarketConfig, MarketHandle, Network, market};
use crate::venue::Subscription;

/// Running markets.
pub(super) struct Markets(BTreeMap<(Venue, MarketType), MarketHandle>);

impl Markets {
    /// Opens every market that is configured. None connects before something is wanted of it.
    pub(super) fn open(
        config: &EngineConfig,
        network: &Network,
        reports: &mpsc::Sender<Report>,
        ports: &Ports,
        cancel: &CancellationToken,
    ) -> Self {
        let mut handles = BTreeMap::new();
        for m in &config.markets {
            let session = MarketConfig::new(m.venue, m.market, m.ws_base.clone(), m.rest_base.clone());
            let Some(session) = session else {
                tracing::error!(venue = %m.venue, "no connector in this build");
                continue;
            };
            let session = MarketConfig { timing: config.timing, ..session };
            let (clock, reports) = (Arc::clone(&ports.clock), reports.clone());
            let handle = market::spawn(session, network.clone(), reports, clock, cancel.clone());
            handles.insert((m.venue, m.market), handle);
        }
        Self(handles)
    }

    /// Says what is wanted of each market from now on.
    pub(super) fn set(&self, desired: &Desired) {
        for (market, handle) in &self.0 {
            let own = |s: &&Subscription| (s.instrument.venue, s.instrument.symbol.market()) == *market;
            handle.set(desired.subscriptions.iter().filter(own).cloned().collect());
            handle.set_raw(desired.topics.iter().any(|topic| is_raw_of(topic, *market)));
        }
    }

    /// Waits until all have closed their connections, after they were cancelled.
    pub(super) async fn stopped(self) {
        for market in self.0.into_values() {
            market.stopped().await;
        }
    }
}

fn is_raw_of(topic: &Topic, (venue, market): (Venue, MarketType)) -> bool {
    matches!(topic, Topic::Raw(i) if (i.venue, i.symbol.market()) == (venue, market))
}
