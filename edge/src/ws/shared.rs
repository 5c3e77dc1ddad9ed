//! What all workers and handlers of one fan-out share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bond_api::admission::Admission;
use bond_core::connection::RateTable;
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::time::Clock;
use bond_core::topic::StreamId;
use bond_ingest::engine::Ports;
use metrics::{Counter, counter};
use smol_str::{SmolStr, format_smolstr};

use super::FanoutConfig;
use super::connection::UpgradedSocket;
use super::post::{Post, WorkerMessage};
use super::seats::Seats;
use super::users::Users;
use super::watched::Watched;
use crate::delivery::Delivery;
use crate::delivery::follow::Tally;
use crate::delivery::hub::Hub;
use crate::delivery::leases::Leases;

/// Deadlines and limits of connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections at once.
    pub connections: usize,
    /// As many of one address, loopback apart.
    pub connections_per_address: usize,
    /// As many of one API key.
    pub connections_per_key: usize,
    /// How often a heartbeat is sent.
    pub heartbeat: Duration,
    /// How long a client may take no byte before it is disconnected.
    pub stall: Duration,
    /// How long a client may give no sign of life before it is sent a ping. One that misses two is disconnected.
    pub silence: Duration,
    /// How long a message may be on its way.
    pub unfinished: Duration,
    /// How many events of a published topic a client may lag behind.
    pub queue: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 100_000,
            connections_per_address: 200,
            connections_per_key: 200,
            heartbeat: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            unfinished: Duration::from_secs(10),
            queue: 1_000,
        }
    }
}

/// The most addresses whose refusals are counted.
const MOST_ADDRESSES: usize = 4_096;

/// The shared state.
pub(crate) struct Shared {
    pub(crate) hub: Arc<Hub>,
    pub(crate) posts: Vec<Arc<Post>>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) board: SourceBoard,
    pub(crate) meters: Meters,
    pub(crate) leases: Arc<Leases>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    /// Tells this process' connections from those of other edges.
    pub(crate) instance: SmolStr,
    pub(crate) seats: Arc<Seats>,
    pub(crate) feeds: AtomicUsize,
    /// How often each user subscribes.
    pub(crate) users: Arc<Users>,
    /// How often connections to topics are refused to each address.
    pub(crate) refusals: RateTable<IpAddr>,
    /// How often each caller lists topics.
    pub(crate) listers: RateTable<SmolStr>,
    pub(crate) totals: Totals,
    pub(crate) watched: Watched,
    next_name: AtomicU64,
    next_worker: AtomicUsize,
}

/// Counters of this process.
pub(crate) struct Totals {
    delivered_events: AtomicU64,
    delivered: Counter,
    dropped: Counter,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            delivered_events: AtomicU64::new(0),
            delivered: counter!("bond_events_delivered_total"),
            dropped: counter!("bond_events_dropped_total"),
        }
    }
}

impl Shared {
    pub(crate) fn new(
        Delivery { hub, leases }: Delivery,
        posts: Vec<Arc<Post>>,
        config: FanoutConfig,
        admission: Arc<dyn Admission>,
        users: Arc<Users>,
        ports: &Ports,
    ) -> Self {
        let Ports { board, meters, clock, .. } = ports.clone();
        let FanoutConfig { limits, instance, alerts, .. } = config;
        Self {
            hub,
            leases,
            posts,
            admission,
            board,
            meters,
            clock,
            seats: Seats::new(&limits),
            limits,
            instance,
            feeds: AtomicUsize::new(0),
            users,
            refusals: RateTable::new(MOST_ADDRESSES),
            listers: RateTable::new(MOST_ADDRESSES),
            totals: Totals::default(),
            watched: Watched::new(alerts, ports),
            next_name: AtomicU64::new(0),
            next_worker: AtomicUsize::new(0),
        }
    }

    /// Events written to clients since the start.
    pub(crate) fn delivered(&self) -> u64 {
        self.totals.delivered_events.load(Ordering::Relaxed)
    }

    /// A name for a feed connection, unique among all edges.
    pub(crate) fn name_feed(&self) -> SmolStr {
        format_smolstr!("{}-{}", self.instance, self.next_name.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands a connection to one worker after the other.
    pub(crate) fn adopt(&self, newcomer: UpgradedSocket) {
        let turn = self.next_worker.fetch_add(1, Ordering::Relaxed);
        self.posts[turn % self.posts.len()].send(WorkerMessage::Adopt(Box::new(newcomer)));
    }

    /// Tells every worker.
    pub(crate) fn tell(&self, message: impl Fn() -> WorkerMessage) {
        self.posts.iter().for_each(|post| post.send(message()));
    }

    /// Counts what a turn came to.
    pub(crate) fn count(&self, stream: Option<&StreamId>, tally: &Tally) {
        if tally.delivered == 0 && tally.dropped == 0 {
            return;
        }
        self.totals.delivered_events.fetch_add(tally.delivered, Ordering::Relaxed);
        self.totals.delivered.increment(tally.delivered);
        self.totals.dropped.increment(tally.dropped);
        if let Some(stream) = stream {
            tally.meter(&self.meters.of(stream), &*self.clock);
        }
    }
}
