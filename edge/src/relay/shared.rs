//! The state that all lanes of one relay share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bond_core::topic::StreamId;
use bond_ingest::engine::Ports;
use metrics::{counter, gauge};
use parking_lot::Mutex;

use super::pause::Pause;
use super::stats::Gathered;
use super::{RelayConfig, RelayParts, RelayStats};
use crate::delivery::Delivery;
use crate::delivery::follow::Tally;
use crate::delivery::hub::Hub;
use crate::delivery::leases::Leases;

/// The shared state.
pub(super) struct RelayShared {
    pub(super) hub: Arc<Hub>,
    pub(super) leases: Arc<Leases>,
    pub(super) config: RelayConfig,
    pub(super) parts: RelayParts,
    /// No invocation begins before this time if no saved positions were found.
    pub(super) begin_at: Instant,
    /// The pause of all lanes while the account's quota of posts is used up.
    pub(super) quota: Mutex<Pause>,
    pub(super) gathered: Gathered,
    connections: AtomicUsize,
    delivered: AtomicU64,
}

impl RelayShared {
    pub(super) fn new(delivery: Delivery, config: RelayConfig, parts: RelayParts) -> Self {
        let Delivery { hub, leases } = delivery;
        Self {
            hub,
            leases,
            begin_at: now() + config.wait,
            config,
            parts,
            quota: Mutex::new(Pause::quota()),
            gathered: Gathered::default(),
            connections: AtomicUsize::new(0),
            delivered: AtomicU64::new(0),
        }
    }

    pub(super) fn stats(&self) -> RelayStats {
        RelayStats {
            connections: self.connections.load(Ordering::Relaxed),
            delivered: self.delivered.load(Ordering::Relaxed),
        }
    }

    /// Counts one more connection. Returns false if there are too many already.
    pub(super) fn open(&self) -> bool {
        let count = self.connections.fetch_add(1, Ordering::AcqRel);
        if count >= self.config.connections {
            self.connections.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        gauge!("bond_connections").set((count + 1) as f64);
        true
    }

    /// Counts one connection less.
    pub(super) fn closed(&self) {
        let left = self.connections.fetch_sub(1, Ordering::AcqRel) - 1;
        gauge!("bond_connections").set(left as f64);
    }

    /// Adds the counts of a delivery.
    pub(super) fn count(&self, stream: Option<&StreamId>, tally: &Tally) {
        if tally.delivered == 0 && tally.dropped == 0 {
            return;
        }
        self.gathered.count(tally.delivered, tally.dropped);
        self.delivered.fetch_add(tally.delivered, Ordering::Relaxed);
        counter!("bond_events_delivered_total").increment(tally.delivered);
        counter!("bond_events_dropped_total").increment(tally.dropped);
        if let Some(stream) = stream {
            let Ports { meters, clock, .. } = &self.parts.ports;
            tally.meter(&meters.of(stream), &**clock);
        }
    }
}

/// The runtime's time, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
