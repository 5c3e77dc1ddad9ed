//! `bond broker`: serves `/ws/{id}` from Redis Streams that other programs write. Each entry's `data` is sent unchanged.
//!
//! The entries have no numbers, so a gap could not be announced. A client that cannot get every entry in order is closed with 4008, and
//! connects again with a `from`.

mod client;
mod ring;
mod route;
mod socket;
mod supply;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bond_core::time::Clock;
use bond_core::token::TokenKeys;
use bond_redis::external::ForeignStreams;
use bond_supervise::Supervisor;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ws::Limits;
use crate::ws::seats::Seats;
use ring::{BrokerRing, Followed};

/// The settings of a broker.
pub struct BrokerConfig {
    /// The keys that verify tokens.
    pub tokens: TokenKeys,
    /// Whether only this machine may connect. This is so on loopback, unless a setting names the host by which clients come, such as that
    /// of a proxy.
    pub is_local: bool,
    /// How far back clients may begin.
    pub window: Duration,
    /// The most bytes that are kept of one stream.
    pub stream_bytes: usize,
    /// The most bytes that are kept of all streams. Beyond it, the largest streams lose their oldest entries.
    pub total_bytes: usize,
    /// The most streams at one time. A client that asks for a further one is told to come again later.
    pub streams: usize,
    /// Deadlines and limits of clients.
    pub limits: Limits,
    /// Wall time, for tokens. Entries have the time of Redis.
    pub clock: Arc<dyn Clock>,
}

/// A running broker. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Broker(Arc<BrokerShared>);

/// The state that the broker's connections share.
pub(crate) struct BrokerShared {
    config: BrokerConfig,
    streams: ForeignStreams,
    rings: Mutex<HashMap<String, Arc<BrokerRing>>>,
    /// Notified when a new stream is to be read.
    asked: Notify,
    supervisor: Supervisor,
    stop: CancellationToken,
    clients: tokio_util::task::TaskTracker,
    seats: Arc<Seats>,
}

impl Broker {
    /// Starts a broker, which reads the streams that clients ask for until [`Broker::drain`]. Must be called within a runtime.
    pub fn start(config: BrokerConfig, streams: ForeignStreams, supervisor: &Supervisor) -> Self {
        let shared = Arc::new(BrokerShared {
            seats: Seats::new(&config.limits),
            config,
            streams,
            rings: Mutex::default(),
            asked: Notify::new(),
            supervisor: supervisor.clone(),
            stop: CancellationToken::new(),
            clients: tokio_util::task::TaskTracker::new(),
        });
        supervisor.spawn("supply", &shared.stop, supply::run(Arc::clone(&shared)));
        Self(shared)
    }

    /// `/ws/{stream_id}`, `/health` and `/`.
    pub fn router(&self) -> Router {
        route::router(Arc::clone(&self.0))
    }

    /// Asks all clients to come back later. Returns when they have gone, or after `patience`.
    pub async fn drain(&self, patience: Duration) {
        self.0.seats.close();
        self.0.stop.cancel();
        self.0.clients.close();
        // Clients that have not gone by then are dropped.
        let _ = tokio::time::timeout(patience, self.0.clients.wait()).await;
    }
}

impl BrokerShared {
    /// The ring of stream `id`, with one more follower. A new ring is filled from Redis. `None` if there are too many streams.
    fn follow(&self, id: &str) -> Option<Followed> {
        let mut rings = self.rings.lock();
        if rings.len() >= self.config.streams && !rings.contains_key(id) {
            return None;
        }
        let ring = rings.entry(id.to_owned()).or_insert_with(|| {
            self.asked.notify_one();
            Arc::new(BrokerRing::new(self.config.window, self.config.stream_bytes))
        });
        Some(Followed::new(ring))
    }
}
