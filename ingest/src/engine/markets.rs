//! The markets that are served, each with its session.

use std::collections::BTreeMap;
use std::sync::Arc;

use bond_core::instrument::{MarketType, Venue};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{EngineConfig, Ports};
use crate::report::Report;
use crate::session::{MarketConfig, MarketHandle, Network, OutageLog, market};

/// Names a market.
pub(super) type MarketKey = (Venue, MarketType);

/// Running markets.
pub(super) struct Markets(BTreeMap<MarketKey, MarketHandle>);

impl Markets {
    /// Opens every configured market. A market connects only once something is wanted of it.
    pub(super) fn open(
        config: &EngineConfig,
        network: &Network,
        reports: &mpsc::Sender<Report>,
        ports: &Ports,
        cancel: &CancellationToken,
    ) -> Self {
        let mut handles = BTreeMap::new();
        let mut outages: BTreeMap<Venue, Arc<OutageLog>> = BTreeMap::new();
        for m in &config.markets {
            let session = MarketConfig::new(m.venue, m.market, m.ws_base.clone(), m.rest_base.clone());
            let Some(session) = session else {
                tracing::error!(venue = %m.venue, "no connector in this build");
                continue;
            };
            let outages = Arc::clone(outages.entry(m.venue).or_default());
            let session = MarketConfig { timing: config.timing, outages, ..session };
            let (clock, reports) = (Arc::clone(&ports.clock), reports.clone());
            let handle = market::spawn(session, network.clone(), reports, clock, cancel, &ports.supervisor);
            handles.insert((m.venue, m.market), handle);
        }
        Self(handles)
    }

    /// The handle of a market, if the market is served.
    pub(super) fn get(&self, market: MarketKey) -> Option<&MarketHandle> {
        self.0.get(&market)
    }

    /// Waits until all sessions, which were cancelled before, have closed their connections.
    pub(super) async fn stopped(self) {
        for market in self.0.into_values() {
            market.stopped().await;
        }
    }
}
