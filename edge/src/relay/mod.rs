//! The relay: delivery to clients behind API Gateway, from the same rings and by the same rules as to sockets.
//!
//! Connections are spread over lanes by their names. A lane has one invocation of the fan-out function in flight: hence at most one post
//! in flight per connection, and order. Cursors move by what a receipt says was taken, and by nothing else.
//!
//! Who holds the lease relays. Each second a lane saves how far its connections were brought, so that a successor goes on from there:
//! after a crash numbers may come again, never a hole.

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

/// How many commands wait for a lane. More are lost, and found again by the next reconciliation.
const COMMANDS: usize = 1_024;

/// What a relay works with.
#[derive(Clone)]
pub struct RelayParts {
    /// Where events come from, which streams exist, how the sources fare, and who watches over the lanes and what feeds them.
    pub ports: Ports,
    /// Where feeds' wishes go.
    pub control: Arc<dyn Control>,
    /// Who is connected.
    pub connections: Arc<dyn ConnectionStore>,
    /// Where positions are kept.
    pub cursors: Arc<dyn CursorStore>,
    /// The fan-out function.
    pub invoker: Arc<dyn Invoker>,
    /// Tells whether a connection that got nothing for long is still open.
    pub probe: Arc<dyn Deliverer>,
    /// The right under which positions are saved.
    pub fence: Fence,
    /// Until when nobody else relays. No post is made after it.
    pub until: Arc<dyn Fn() -> Instant + Send + Sync>,
    /// Whose connections must be closed.
    pub revoked: Arc<dyn Revoked>,
}

/// Who is no longer let in. Asked for every connection each second; does not wait.
pub trait Revoked: Send + Sync {
    /// Whether the key of `holder`, which opened a connection at `opened_at`, is known to be gone. What is known may be older than a key:
    /// then it is not.
    fn is_revoked(&self, holder: &Holder, opened_at: UnixNanos) -> bool;
}

/// How a relay works.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// How long items are kept for replay.
    pub ring: Duration,
    /// The most bytes of frames that are kept for one topic.
    pub ring_bytes: u64,
    /// How often a heartbeat is sent. Each is a billed message.
    pub heartbeat: Duration,
    /// The most connections. One more is not served, and told in the log.
    pub connections: usize,
    /// The least time between the starts of two invocations of a lane: what comes meanwhile goes together.
    pub pace: Duration,
    /// The longest that an invocation may post.
    pub budget: Duration,
    /// How long a client may take nothing before it is disconnected.
    pub stall: Duration,
    /// Who got nothing for so long is asked after: a connection that ended without a word is forgotten then.
    pub probe: Duration,
    /// How long to wait before the first invocation where no positions were saved: what forgot them may have forgotten a lease too, whose
    /// holder still posts until it ends.
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
            stall: Duration::from_secs(30),
            probe: Duration::from_secs(300),
            wait: LEASE,
        }
    }
}

/// What a relay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayStats {
    /// Connected clients.
    pub connections: usize,
    /// Events taken by clients since the start, one for each event and client.
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
    /// Ends what fills the rings, after the lanes.
    rest: CancellationToken,
}

impl Relay {
    /// Starts the lanes and the tasks that feed them. Must be called within a runtime.
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

    /// Takes what an edge says of a connection; other commands are none of its business. Never waits: what a lane has no room for is
    /// found by its next reconciliation.
    pub fn tell(&self, command: Command) {
        let lane = match &command {
            Command::Connected(connection) => connection.id.lane(),
            Command::Disconnected { connection, .. } => connection.lane(),
            _ => return,
        };
        if self.0.commands[usize::from(lane)].try_send(command).is_err() {
            metrics::counter!("bond_relay_commands_lost_total").increment(1);
        }
    }

    /// Closes the connections of a stream that was deleted, without waiting until it is noticed.
    pub fn end_stream(&self, id: &StreamId) {
        self.0.shared.hub.end_stream(id);
    }

    /// What it is doing.
    pub fn stats(&self) -> RelayStats {
        self.0.shared.stats()
    }

    /// How it has fared since this was last asked.
    pub fn take_figures(&self) -> RelayFigures {
        self.0.shared.gathered.take()
    }

    /// Waits for the invocations in flight, saves the positions, and ends. The connections stay open, for a successor.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        let lanes = std::mem::take(&mut *self.0.lanes.lock());
        for lane in lanes {
            // A lane that has panicked was noted, and has nothing left to end.
            let _ = lane.await;
        }
        self.0.rest.cancel();
    }

    /// Ends as a process that is killed.
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
