//! Delivery: from a topic's log to the clients that follow it, whatever carries the bytes to them.
//!
//! One task fills a [`ring`] of ready frames for every followed topic from the log's tail ([`hub`]). A client is a cursor into each ring that
//! it follows ([`follow`]), or a [`feed`] of many. Workers with sockets (`crate::ws`) and the relay's lanes (`crate::relay`) are woken by a
//! [`mailbox`] when a ring has news.
//!
//! A ring holds WebSocket frames, header and all, laid back to back: a worker writes a run of them to a socket in one call, and nothing is
//! copied or encoded for one client. The relay, which has no socket, takes the headers off.
//! Compressed frames ([`deflate`]) are kept beside the items, and only workers with sockets ask for them.

pub(crate) mod cursor;
pub(crate) mod deflate;
pub(crate) mod feed;
pub(crate) mod figures;
pub(crate) mod follow;
pub(crate) mod followers;
pub(crate) mod frame;
mod frame_buffer;
mod history;
pub(crate) mod hub;
pub(crate) mod leases;
pub(crate) mod mailbox;
pub(crate) mod pool;
pub(crate) mod ring;
pub(crate) mod roster;

use std::sync::Arc;

use bond_core::control::Control;
use bond_ingest::engine::Ports;
use tokio_util::sync::CancellationToken;

use cursor::Retention;
use hub::{Hub, Sources};
use leases::Leases;
use mailbox::Mailbox;

/// What a client is told that is disconnected because it takes nothing.
pub(crate) const TOO_SLOW: &str = "too slow: connect again with a narrower filter or a coarser interval";

/// What the listeners of one process have in common, be they workers or lanes.
pub(crate) struct Delivery {
    pub(crate) hub: Arc<Hub>,
    pub(crate) leases: Arc<Leases>,
}

impl Delivery {
    /// Rings for the owners of these mailboxes.
    pub(crate) fn new(ports: &Ports, retention: Retention, mailboxes: Vec<Arc<Mailbox>>) -> Self {
        let Ports { log, store, clock, .. } = ports.clone();
        let hub = Arc::new(Hub::new(Sources { log, store, clock, retention }, mailboxes));
        Self { hub, leases: Arc::default() }
    }

    /// Has the rings filled and the leases kept until `stop`, under these two names.
    pub(crate) fn run(
        &self,
        [tail, feeds]: [&'static str; 2],
        ports: &Ports,
        control: Arc<dyn Control>,
        stop: &CancellationToken,
    ) {
        ports.supervisor.spawn(tail, stop, hub::fill(Arc::clone(&self.hub), stop.clone()));
        let keep = leases::keep(Arc::clone(&self.leases), control, Arc::clone(&ports.clock), stop.clone());
        ports.supervisor.spawn(feeds, stop, keep);
    }
}
