//! One market of one venue, as the engine holds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bond_core::time::Clock;
use bond_supervise::Supervisor as Supervision;
use smol_str::format_smolstr;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::books::BookOrder;
use super::config::MarketConfig;
use super::supervisor::{Supervisor, Wishes};
use super::transport::Transport;
use crate::report::Report;
use crate::venue::Subscription;

/// Orders about books that may wait. The oldest are dropped beyond that: whoever doubts a book will doubt it again.
const ORDERS: usize = 256;

/// A running market.
#[derive(Debug)]
pub struct MarketHandle {
    wanted: watch::Sender<BTreeSet<Subscription>>,
    raw: watch::Sender<bool>,
    orders: broadcast::Sender<BookOrder>,
    task: JoinHandle<()>,
}

impl MarketHandle {
    /// Says what is wanted from now on, all of it. Saying the same again changes nothing.
    pub fn set(&self, wanted: BTreeSet<Subscription>) {
        self.wanted.send_if_modified(|current| {
            let changed = *current != wanted;
            *current = wanted;
            changed
        });
    }

    /// Says what else is wanted from now on (`true`), or no more.
    pub fn change(&self, changes: Vec<(Subscription, bool)>) {
        self.wanted.send_if_modified(|wanted| {
            let mut has_changed = false;
            for (subscription, on) in changes {
                has_changed |= if on { wanted.insert(subscription) } else { wanted.remove(&subscription) };
            }
            has_changed
        });
    }

    /// Whether events shall carry their venue's frame.
    pub fn set_raw(&self, on: bool) {
        self.raw.send_if_modified(|current| std::mem::replace(current, on) != on);
    }

    /// Asks something of an order book. Ignored where the book is not subscribed to.
    pub fn order(&self, order: BookOrder) {
        // Without a connection there is nobody to take it, and nothing to be done.
        drop(self.orders.send(order));
    }

    /// Waits until the market has closed its connections, after it was cancelled.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "market task failed");
        }
    }
}

/// Starts a market, watched over by `supervision`. When something is wanted it reads the list of instruments and connects; it reports until
/// `cancel`.
///
/// Nothing that is said of a market ends it: a venue that is down is tried again for ever. While nothing is wanted, no
/// [`Report::Market`] is made.
pub fn spawn<T: Transport>(
    config: MarketConfig,
    transport: T,
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    cancel: &CancellationToken,
    supervision: &Supervision,
) -> MarketHandle {
    let (wanted, wanted_rx) = watch::channel(BTreeSet::new());
    let (raw, raw_rx) = watch::channel(false);
    let orders = broadcast::Sender::new(ORDERS);
    let wishes = Wishes { wanted: wanted_rx, raw: raw_rx, orders: orders.clone() };
    let supervisor = Supervisor::new(config, transport, reports, clock, cancel.clone(), wishes);
    let name = format_smolstr!("market-{}-{}", supervisor.venue(), supervisor.market());
    MarketHandle { wanted, raw, orders, task: supervision.spawn(name, cancel, supervisor.run()) }
}
