//! The relay: delivery to clients behind API Gateway, from the same rings and by the same rules as to sockets.
//!
//! Connections are spread over lanes by a hash of their ids. A lane has at most one invocation of the fan-out function in flight.
//! Therefore a connection has at most one post in flight, and its messages stay in order. Only a receipt moves cursors: past the
//! messages that it says were taken.
//!
//! The process that holds the lease is the relay. Each second a lane saves the positions of its connections, so that the next relay goes
//! on from there. After a crash a client may get events twice, but it misses none.

mod build;
mod client;
mod invocation_builder;
mod invocation_result;
mod lag;
mod lane;
mod maintenance;
mod membership;
mod pause;
mod poison_search;
mod saving;
mod shared;
mod stats;
mod truncate;

use std::sync::Arc;
use std::time::Duration;

use bond_core::api_key::Holder;
use bond_core::connection::{ConnectionStore, LANES};
use bond_core::control::{Command, Control};
use bond_core::cursors::CursorStore;
use bond_core::deliver::{Deliverer, Invoker};
use bond_core::lease::LEASE;
use bond_core::log::Fence;
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use bond_ingest::engine::Ports;
use parking_lot::Mutex;
use smol_str::format_smolstr;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::delivery::Delivery;
use crate::delivery::cursor::Retention;
use crate::delivery::mailbox::{Mailbox, Waker};
use lane::Lane;
use shared::RelayShared;
pub use stats::RelayFigures;

/// The most commands that wait for a lane. Further ones are dropped; the next reconciliation makes up for them.
const COMMANDS: usize = 1_024;

/// The ports and shared state that a relay uses.
#[derive(Clone)]
pub struct RelayParts {
    /// The log, the registry, the table of source statuses, the counters, wall time, and the supervisor of the lanes and their tails.
    pub ports: Ports,
    /// Where the leases of feeds are sent.
    pub control: Arc<dyn Control>,
    /// The store of connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// The store of positions.
    pub cursors: Arc<dyn CursorStore>,
    /// The fan-out function.
    pub invoker: Arc<dyn Invoker>,
    /// Asks API Gateway whether a connection that got nothing for long is still open.
    pub probe: Arc<dyn Deliverer>,
    /// The fencing number under which positions are saved.
    pub fence: Fence,
    /// Until when the lease lasts. No post is made after it, since another relay may run from then on.
    pub until: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// The revoked keys, whose connections are closed.
    pub revoked: Arc<dyn Revoked>,
}

/// Answers whether an API key was revoked. It is asked for every connection each second and must not block.
pub trait Revoked: Send + Sync {
    /// Whether the key of `holder`, with which a connection was opened at `opened_at`, is known to be revoked. A key that is missing in
    /// a list of keys older than `opened_at` does not count as revoked: the key may be newer than the list.
    fn is_revoked(&self, holder: &Holder, opened_at: UnixNanos) -> bool;
}

/// The settings of a relay.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// How long items are kept for replay.
    pub ring: Duration,
    /// The most bytes of frames that are kept for one topic.
    pub ring_bytes: u64,
    /// The interval between heartbeats. API Gateway bills each as a message.
    pub heartbeat: Duration,
    /// The most connections. Further ones are not served, and a warning is logged for each.
    pub connections: usize,
    /// The least time between the starts of two invocations of a lane. Events that arrive in between go together.
    pub pace: Duration,
    /// The longest time for which an invocation may post.
    pub budget: Duration,
    /// How many events a client may lag in a topic that it asks for by name. Beyond them it is told of a gap and goes on from the state.
    pub most_lag: u64,
    /// A client that takes nothing for this long is disconnected.
    pub stall: Duration,
    /// A connection that got nothing for this long is probed. It is removed if it turns out to have closed without notice.
    pub probe: Duration,
    /// How long to wait before the first invocation if no saved positions are found. The store may have lost its data, including the
    /// lease of an earlier relay, and that relay posts until its lease ends.
    pub wait: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            ring: Duration::from_secs(60),
            ring_bytes: 32 * 1024 * 1024,
            heartbeat: Duration::from_secs(300),
            connections: 100_000,
            pace: Duration::from_millis(50),
            budget: Duration::from_secs(4),
            most_lag: 1_000,
            stall: Duration::from_secs(30),
            probe: Duration::from_secs(300),
            wait: LEASE,
        }
    }
}

/// Counters of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayStats {
    /// The number of connections that are served.
    pub connections: usize,
    /// Events taken by clients since the start. An event that goes to three clients counts three times.
    pub delivered: u64,
}

/// A running relay. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Relay(Arc<RelayInner>);

struct RelayInner {
    shared: Arc<RelayShared>,
    commands: Vec<mpsc::Sender<Command>>,
    stop: CancellationToken,
    lanes: Mutex<Vec<JoinHandle<()>>>,
    /// Stops the tasks that fill the rings, after the lanes have ended.
    rest: CancellationToken,
}

impl Relay {
    /// Starts the lanes and the tasks that feed them. Must be called within a tokio runtime.
    pub fn start(config: RelayConfig, parts: RelayParts) -> Self {
        let mailboxes: Vec<_> =
            (0..LANES).map(|_| Arc::new(Mailbox::new(Waker::Task(tokio::sync::Notify::new())))).collect();
        let retention = Retention { window: config.ring, bytes: config.ring_bytes };
        let (stop, rest) = (CancellationToken::new(), CancellationToken::new());
        let delivery = Delivery::new(&parts.ports, retention, mailboxes.clone());
        delivery.run(["relay-tail", "relay-feeds"], &parts.ports, Arc::clone(&parts.control), &rest);
        let shared = Arc::new(RelayShared::new(delivery, config, parts));
        let (commands, lanes) = start_lanes(&shared, mailboxes, &stop);
        Self(Arc::new(RelayInner { shared, commands, stop, lanes: Mutex::new(lanes), rest }))
    }

    /// Passes a command about a connection to its lane; other commands are ignored. Never waits: if the lane's queue is full, the
    /// command is dropped, and the next reconciliation makes up for it.
    pub fn notify(&self, command: Command) {
        let lane = match &command {
            Command::Connected(connection) => connection.id.lane(),
            Command::Disconnected { connection, .. } => connection.lane(),
            _ => return,
        };
        if self.0.commands[usize::from(lane)].try_send(command).is_err() {
            metrics::counter!("bond_relay_commands_lost_total").increment(1);
        }
    }

    /// Closes the connections of a stream that was deleted, at once instead of at the next reconciliation.
    pub fn end_stream(&self, id: &StreamId) {
        self.0.shared.hub.end_stream(id);
    }

    /// The counters as of now.
    pub fn stats(&self) -> RelayStats {
        self.0.shared.stats()
    }

    /// The figures since the last call.
    pub fn take_figures(&self) -> RelayFigures {
        self.0.shared.gathered.take()
    }

    /// Waits for the invocations in flight, saves the positions, and ends. The connections stay open, for the next relay.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        let lanes = std::mem::take(&mut *self.0.lanes.lock());
        for lane in lanes {
            // An error means that the lane has panicked. The supervisor knows, and there is nothing left to stop.
            let _ = lane.await;
        }
        self.0.rest.cancel();
    }

    /// Ends like a process that is killed.
    #[cfg(test)]
    fn crash(&self) {
        self.0.lanes.lock().iter().for_each(JoinHandle::abort);
        self.0.rest.cancel();
    }
}

fn start_lanes(
    shared: &Arc<RelayShared>,
    mailboxes: Vec<Arc<Mailbox>>,
    stop: &CancellationToken,
) -> (Vec<mpsc::Sender<Command>>, Vec<JoinHandle<()>>) {
    let lanes = (0..LANES).zip(mailboxes).map(|(index, mailbox)| {
        let (sender, commands) = mpsc::channel(COMMANDS);
        let lane = Lane::new(index, Arc::clone(shared), mailbox, commands);
        let name = format_smolstr!("relay-{index}");
        (sender, shared.parts.ports.supervisor.spawn(name, stop, lane.run(stop.clone())))
    });
    lanes.unzip()
}

#[cfg(test)]
mod tests;
