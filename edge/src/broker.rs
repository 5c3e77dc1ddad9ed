//! `bond broker`: serves `/ws/{id}` from Redis Streams that others write, each entry's `data` as it is.
//!
//! Nothing here is numbered, so that nothing could be announced as missing: a client that cannot be served everything in order is closed
//! with 4008, and comes back with a `from`.

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

/// What a broker works with.
pub struct BrokerConfig {
    /// What verifies tokens.
    pub tokens: TokenKeys,
    /// Whether this machine alone may connect: as on loopback, unless it is said by which name clients come, as by that of a proxy.
    pub is_local: bool,
    /// How far back clients may begin.
    pub window: Duration,
    /// The most bytes that are kept of one stream.
    pub stream_bytes: usize,
    /// The most bytes that are kept of all streams: above it, those with the most give up their oldest entries.
    pub total_bytes: usize,
    /// The most streams at once: whoever asks for one more is told to come again.
    pub streams: usize,
    /// Deadlines and limits of clients.
    pub limits: Limits,
    /// Our time, for tokens; entries have that of Redis.
    pub clock: Arc<dyn Clock>,
}

/// A running broker. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Broker(Arc<BrokerShared>);

/// What its connections share.
pub(crate) struct BrokerShared {
    config: BrokerConfig,
    streams: ForeignStreams,
    rings: Mutex<HashMap<String, Arc<BrokerRing>>>,
    /// There is a stream to be read that was not before.
    asked: Notify,
    supervisor: Supervisor,
    stop: CancellationToken,
    clients: tokio_util::task::TaskTracker,
    seats: Arc<Seats>,
}

impl Broker {
    /// Starts reading what will be asked for, until [`Broker::drain`]. Must be called within a runtime.
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

    /// Asks all clients to come back later, and returns when they have gone or `patience` has passed.
    pub async fn drain(&self, patience: Duration) {
        self.0.seats.close();
        self.0.stop.cancel();
        self.0.clients.close();
        // Whoever has not gone by then is dropped.
        let _ = tokio::time::timeout(patience, self.0.clients.wait()).await;
    }
}

impl BrokerShared {
    /// The ring of stream `id`, with one follower more; filled where it is new. `None` where there are too many streams.
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
