//! Supervises a market: compares what is wanted with what its connections carry, and converges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bond_core::instrument::{MarketType, Venue};
use bond_core::source::SourceState;
use bond_core::time::Clock;
use smol_str::SmolStr;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::books::BookOrder;
use super::config::MarketConfig;
use super::connection::{Connection, Context, Note};
use super::gate::Gate;
use super::listing::{ListingsReader, Read};
use super::plan::{Share, assign};
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

/// What the handle's holder wants.
pub(super) struct Wishes {
    pub(super) wanted: watch::Receiver<BTreeSet<Subscription>>,
    pub(super) raw: watch::Receiver<bool>,
    pub(super) orders: broadcast::Sender<BookOrder>,
}

/// Keeps the connections of a market.
pub(super) struct Supervisor<T> {
    context: Arc<Context<T>>,
    protocol: Box<dyn Protocol>,
    cancel: CancellationToken,
    wanted: watch::Receiver<BTreeSet<Subscription>>,
    raw: watch::Receiver<bool>,
    reader: ListingsReader,
    listings: watch::Sender<Arc<Listings>>,
    slots: Vec<Slot>,
    tasks: JoinSet<()>,
    next_id: u64,
    notes: (mpsc::Sender<Note>, mpsc::Receiver<Note>),
    told: Option<SourceState>,
    /// When what is wanted may change again.
    rested: Instant,
}

/// A connection and what it was told to carry.
struct Slot {
    id: u64,
    share: Share,
    wanted: watch::Sender<BTreeSet<Subscription>>,
    state: SourceState,
    reason: SmolStr,
    /// When it is closed for having nothing to carry.
    closes: Option<Instant>,
    cancel: CancellationToken,
    task: task::Id,
}

impl<T: Transport> Supervisor<T> {
    pub(super) fn new(
        config: MarketConfig,
        transport: T,
        reports: mpsc::Sender<Report>,
        clock: Arc<dyn Clock>,
        cancel: CancellationToken,
        Wishes { wanted, raw, orders }: Wishes,
    ) -> Self {
        let protocol = (config.protocol)(Arc::default());
        let timing = config.timing;
        Self {
            reader: ListingsReader::new(timing),
            listings: watch::Sender::new(Arc::default()),
            context: Arc::new(Context {
                venue: protocol.venue(),
                market: protocol.market(),
                orders,
                transport,
                reports,
                statuses: Arc::new(Statuses::new(Arc::clone(&clock))),
                clock,
                connecting: Gate::new(protocol.limits().connect_interval, 1),
                rest: Gate::new(timing.rest_interval, timing.rest_burst),
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

    /// The venue that it reaches.
    pub(super) fn venue(&self) -> Venue {
        self.context.venue
    }

    /// The venue's market.
    pub(super) fn market(&self) -> MarketType {
        self.context.market
    }

    /// Runs until cancelled, then closes the connections.
    pub(super) async fn run(mut self) {
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
    fn is_wanted(&self) -> bool {
        !self.wanted.borrow().is_empty()
    }

    fn take_note(&mut self, note: Note) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == note.connection) {
            (slot.state, slot.reason) = (note.state, note.reason);
        }
    }

    /// A connection that ends without having been told to has failed in a way nobody thought of. What it carried gets another.
    async fn take_end(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let Some(place) = self.slots.iter().position(|slot| slot.task == id) else { return };
        self.slots.remove(place);
        if let Err(error) = ended {
            tracing::error!(venue = %self.context.venue, market = %self.context.market, %error, "connection task failed");
        }
        self.reconcile().await;
    }

    fn take_listings(&mut self, read: Read) {
        match read {
            Read::Listings(listings) => drop(self.listings.send_replace(listings)),
            Read::Failed { reason, wait } => self.log_unread(&reason, wait),
        }
    }

    fn log_unread(&self, reason: &str, wait: Duration) {
        let Some(untold) = self.context.config.outages.tell(wait, Instant::now()) else { return };
        tracing::warn!(
            venue = %self.context.venue,
            market = %self.context.market,
            reason,
            wait_ms = wait.as_millis(),
            untold,
            "list of instruments not read, trying again after a wait"
        );
    }

    /// Compares what is wanted with what connections carry, and converges.
    async fn reconcile(&mut self) {
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
        let task = self.tasks.spawn(connection.run()).id();
        let (state, reason) = (SourceState::Connecting, SmolStr::new_static("connecting"));
        self.slots.push(Slot { id, share, wanted, state, reason, closes: None, cancel, task });
    }

    fn close_idle(&mut self, now: Instant) {
        let is_idle = |slot: &mut Slot| slot.closes.is_some_and(|closes| closes <= now);
        self.slots.extract_if(.., is_idle).for_each(|slot| slot.cancel.cancel());
    }

    /// Reports how the market fares as a whole, if that has changed.
    async fn tell(&mut self) -> Result<(), mpsc::error::SendError<Report>> {
        let whole = self.whole();
        let state = whole.as_ref().map(|(state, _)| *state);
        if std::mem::replace(&mut self.told, state) == state {
            return Ok(());
        }
        let Some((state, reason)) = whole else { return Ok(()) };
        let Context { venue, market, .. } = *self.context;
        let since = self.context.clock.now();
        self.context.reports.send(Report::Market { venue, market, state, since, reason }).await
    }

    /// The worst of the connections; `None` while nothing is wanted.
    fn whole(&self) -> Option<(SourceState, SmolStr)> {
        if !self.is_wanted() {
            return None;
        }
        if !self.reader.has_read() {
            return Some((self.reader.state(), "reading the list of instruments".into()));
        }
        let busy = self.slots.iter().filter(|slot| slot.closes.is_none());
        let worst = busy.max_by_key(|slot| severity(slot.state));
        Some(worst.map_or_else(
            || (SourceState::Unavailable, SmolStr::new_static("nothing that is wanted can be had here")),
            |slot| (slot.state, slot.reason.clone()),
        ))
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

fn severity(state: SourceState) -> u8 {
    match state {
        SourceState::Connected => 0,
        SourceState::Connecting => 1,
        SourceState::Stale | SourceState::Suspect => 2,
        SourceState::Reconnecting => 3,
        SourceState::Failed => 4,
        SourceState::Unavailable | SourceState::Refused => 5,
    }
}
