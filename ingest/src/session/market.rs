//! One market of one venue: which subscriptions the engine wants, and which connection carries each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bond_core::source::SourceState;
use bond_core::time::Clock;
use bond_supervise::{Supervisor as Supervision, owned};
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{self, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::books::BookResync;
use super::config::MarketConfig;
use super::context::{Connection, ConnectionContext, ConnectionState};
use super::listing::ListingsReader;
use super::plan::{Share, assign};
use super::rate_limiter::RateLimiter;
use super::statuses::Statuses;
use super::transport::Transport;
use crate::report::Report;
use crate::venue::{Listings, Protocol, Route, Subscription};

/// Notes that connections may send before the market reads them.
const NOTES: usize = 64;

/// How many times as long as a change of what is wanted took, the next one waits.
const REST: u32 = 10;

/// The longest wait between two changes of what is wanted.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// Why an instrument cannot be had until the list changes.
const NOT_LISTED: &str = "not listed by the venue";

/// The most requests for snapshots of books that wait. Beyond it the oldest are dropped. The engine repeats a request as long as the book
/// is wrong.
const ORDERS: usize = 256;

/// A running market.
#[derive(Debug)]
pub struct MarketHandle {
    wanted: watch::Sender<BTreeSet<Subscription>>,
    raw: watch::Sender<bool>,
    orders: broadcast::Sender<BookResync>,
    task: JoinHandle<()>,
}

impl MarketHandle {
    /// Sets all subscriptions that are wanted from now on. Setting the same again changes nothing.
    pub fn set(&self, wanted: BTreeSet<Subscription>) {
        self.wanted.send_if_modified(|current| {
            let changed = *current != wanted;
            *current = wanted;
            changed
        });
    }

    /// Changes which subscriptions are wanted: these are from now on (`true`), or no longer.
    pub fn change(&self, changes: Vec<(Subscription, bool)>) {
        self.wanted.send_if_modified(|wanted| {
            let mut has_changed = false;
            for (subscription, on) in changes {
                has_changed |= if on { wanted.insert(subscription) } else { wanted.remove(&subscription) };
            }
            has_changed
        });
    }

    /// Sets whether reports carry the venue's frame.
    pub fn set_raw(&self, on: bool) {
        self.raw.send_if_modified(|current| std::mem::replace(current, on) != on);
    }

    /// Requests a new snapshot of an order book. Ignored if the book is not subscribed to.
    pub fn order(&self, order: BookResync) {
        // Sending fails if there is no connection. Then there is no book either.
        drop(self.orders.send(order));
    }

    /// Waits until the market, which was cancelled before, has closed its connections.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "market task failed");
        }
    }
}

/// What the holder of the [`MarketHandle`] wants.
struct DesiredSubscriptions {
    wanted: watch::Receiver<BTreeSet<Subscription>>,
    raw: watch::Receiver<bool>,
    orders: broadcast::Sender<BookResync>,
}

/// Starts a market, watched by `supervision`. As soon as something is wanted, the market reads the list of instruments and connects. It
/// reports until `cancel`.
///
/// No failure of the venue ends a market: it goes on trying for ever. While nothing is wanted, there is no [`Report::Market`].
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
    let wishes = DesiredSubscriptions { wanted: wanted_rx, raw: raw_rx, orders: orders.clone() };
    let supervisor = Supervisor::new(config, transport, reports, clock, cancel.clone(), wishes);
    let name = format_smolstr!("market-{}-{}", supervisor.context.venue, supervisor.context.market);
    MarketHandle { wanted, raw, orders, task: supervision.spawn(name, cancel, supervisor.run()) }
}

/// Keeps the connections of a market.
pub(super) struct Supervisor<T> {
    pub(super) context: Arc<ConnectionContext<T>>,
    protocol: Box<dyn Protocol>,
    cancel: CancellationToken,
    wanted: watch::Receiver<BTreeSet<Subscription>>,
    raw: watch::Receiver<bool>,
    pub(super) reader: ListingsReader,
    pub(super) listings: watch::Sender<Arc<Listings>>,
    pub(super) slots: Vec<Slot>,
    tasks: JoinSet<()>,
    next_id: u64,
    notes: (mpsc::Sender<ConnectionState>, mpsc::Receiver<ConnectionState>),
    pub(super) told: Option<SourceState>,
    /// When what is wanted may change again.
    rested: Instant,
}

/// A connection and what it was told to carry.
pub(super) struct Slot {
    pub(super) id: u64,
    share: Share,
    wanted: watch::Sender<BTreeSet<Subscription>>,
    pub(super) state: SourceState,
    pub(super) reason: SmolStr,
    /// When it is closed for having nothing to carry.
    pub(super) closes: Option<Instant>,
    pub(super) cancel: CancellationToken,
    pub(super) task: task::Id,
}

impl<T: Transport> Supervisor<T> {
    fn new(
        config: MarketConfig,
        transport: T,
        reports: mpsc::Sender<Report>,
        clock: Arc<dyn Clock>,
        cancel: CancellationToken,
        DesiredSubscriptions { wanted, raw, orders }: DesiredSubscriptions,
    ) -> Self {
        let protocol = (config.protocol)(Arc::default());
        let timing = config.timing;
        Self {
            reader: ListingsReader::new(timing),
            listings: watch::Sender::new(Arc::default()),
            context: Arc::new(ConnectionContext {
                venue: protocol.venue(),
                market: protocol.market(),
                orders,
                transport,
                reports,
                statuses: Arc::new(Statuses::new(Arc::clone(&clock))),
                clock,
                connecting: RateLimiter::new(protocol.limits().connect_interval, 1),
                rest: RateLimiter::new(timing.rest_interval, timing.rest_burst),
                config,
            }),
            protocol,
            cancel,
            wanted,
            raw,
            slots: Vec::new(),
            tasks: JoinSet::new(),
            next_id: 0,
            notes: mpsc::channel(NOTES),
            told: None,
            rested: Instant::now(),
        }
    }

    /// Runs until cancelled, then closes the connections.
    async fn run(mut self) {
        let cancel = self.cancel.clone();
        cancel.run_until_cancelled(self.supervise()).await;
        self.slots.iter().for_each(|slot| slot.cancel.cancel());
        while self.tasks.join_next().await.is_some() {}
    }

    /// Returns only where nobody listens or wants any more.
    async fn supervise(&mut self) {
        loop {
            if self.is_wanted() {
                self.reader.read_when_due(&self.context, Instant::now());
            }
            let deadline = self.next_deadline();
            tokio::select! {
                changed = changed(&mut self.wanted, self.rested) => match changed {
                    Ok(()) => self.reconcile().await,
                    Err(_) => return,
                },
                Some(note) = self.notes.1.recv() => self.take_note(note),
                Some(ended) = self.tasks.join_next_with_id() => self.take_end(ended).await,
                read = self.reader.next() => {
                    self.take_listings(read);
                    self.reconcile().await;
                }
                () = sleep_until(deadline) => {}
            }
            self.close_idle(Instant::now());
            if self.context.reports.is_closed() || self.tell().await.is_err() {
                return;
            }
        }
    }

    fn next_deadline(&self) -> Instant {
        let closings = self.slots.iter().filter_map(|slot| slot.closes);
        closings
            .chain(self.reader.next_deadline().filter(|_| self.is_wanted()))
            .min()
            .unwrap_or_else(|| Instant::now() + self.context.config.timing.listings_refresh)
    }

    /// Whether anything is. Nobody's instruments are read before.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.borrow().is_empty()
    }

    /// Compares what is wanted with what connections carry, and converges.
    pub(super) async fn reconcile(&mut self) {
        let began = Instant::now();
        let wanted = self.wanted.borrow_and_update().clone();
        self.context.statuses.retain(&wanted);
        let mut routed = BTreeMap::new();
        let mut unlisted = BTreeSet::new();
        let mut states = Vec::new();
        for subscription in wanted {
            match self.route(&subscription) {
                Ok(route) => drop(routed.insert(subscription, route)),
                Err((state, reason)) => {
                    states.extend(self.context.statuses.change(&subscription, state, reason));
                    if reason == NOT_LISTED {
                        unlisted.insert(subscription.instrument.symbol.clone());
                    }
                }
            }
        }
        if !states.is_empty() {
            // A closed channel is found by the next telling.
            drop(self.context.reports.send(Report::Subscriptions(states)).await);
        }
        self.reader.missed(unlisted, Instant::now());
        self.share_out(&routed);
        self.rested = Instant::now() + began.elapsed().saturating_mul(REST).min(LONGEST_REST);
    }

    /// Which route carries a subscription, or how it fares without one.
    fn route(&mut self, subscription: &Subscription) -> Result<Route, (SourceState, &'static str)> {
        let instrument = &subscription.instrument;
        if instrument.venue != self.context.venue || instrument.symbol.market() != self.context.market {
            return Err((SourceState::Unavailable, "another market"));
        }
        let Some(route) = self.protocol.route(subscription.channel) else {
            return Err((SourceState::Unavailable, "the venue's market has no such channel"));
        };
        if !self.reader.has_read() {
            return Err((self.reader.state(), "the list of instruments is not read yet"));
        }
        if self.listings.borrow().by_symbol(&instrument.symbol).is_some() {
            return Ok(route);
        }
        Err((SourceState::Unavailable, NOT_LISTED))
    }

    fn share_out(&mut self, routed: &BTreeMap<Subscription, Route>) {
        let current: Vec<Share> = self.slots.iter().map(|slot| slot.share.clone()).collect();
        let shares = assign(&current, routed, self.protocol.limits().subscriptions);
        let linger = self.context.config.timing.linger;
        for (slot, share) in self.slots.iter_mut().zip(&shares) {
            slot.carry(share.clone(), linger);
        }
        for share in shares.into_iter().skip(current.len()) {
            self.open(share);
        }
    }

    fn open(&mut self, share: Share) {
        let cancel = CancellationToken::new();
        let (wanted, wanted_rx) = watch::channel(share.subscriptions.clone());
        let id = self.next_id;
        self.next_id += 1;
        let connection = Connection {
            id,
            route: share.route,
            context: Arc::clone(&self.context),
            wanted: wanted_rx,
            listings: self.listings.subscribe(),
            raw: self.raw.clone(),
            notes: self.notes.0.clone(),
            cancel: cancel.clone(),
        };
        let name = format_smolstr!("connection-{}-{}", self.context.venue, self.context.market);
        let task = self.tasks.spawn(owned(name, connection.run())).id();
        let (state, reason) = (SourceState::Connecting, SmolStr::new_static("connecting"));
        self.slots.push(Slot { id, share, wanted, state, reason, closes: None, cancel, task });
    }
}

/// Waits for a change of what is wanted, and until the last one was rested from: changes without end take a part of a core, not all of it.
async fn changed(
    wanted: &mut watch::Receiver<BTreeSet<Subscription>>,
    rested: Instant,
) -> Result<(), watch::error::RecvError> {
    wanted.changed().await?;
    // Not taken yet, if another branch comes first.
    wanted.mark_changed();
    sleep_until(rested).await;
    Ok(())
}

impl Slot {
    fn carry(&mut self, share: Share, linger: Duration) {
        if share == self.share {
            return;
        }
        self.closes = share.subscriptions.is_empty().then(|| Instant::now() + linger);
        self.wanted.send_replace(share.subscriptions.clone());
        self.share = share;
    }
}
