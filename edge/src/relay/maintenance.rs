//! The periodic background work ("chores") of a lane, one of each kind at a time: reconcile with the store, save positions, remove
//! closed connections from the store, and probe whether silent connections are still open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_core::connection::{Connection, ConnectionId, LANES};
use bond_core::cursors::LaneCursors;
use bond_core::log::LogError;
use bond_core::store::StoreError;
use bond_core::time::UnixNanos;
use bond_supervise::{Death, owned};
use smol_str::format_smolstr;
use tokio::task::JoinError;
use tracing::{error, warn};

use super::client::Standing;
use super::lane::Lane;
use super::shared::now;

/// How often the lane's connections are compared with the store's.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);

/// How long after its API Gateway timestamp a client's request may reach the store. A function answers API Gateway within 29 s (API
/// Gateway quotas, read 2026-11); the rest covers differences between clocks. What the store holds now so includes every request that
/// is older than this.
const STORE_DELAY: Duration = Duration::from_secs(35);

/// How many connections are probed at once.
const PROBES: usize = 32;

/// How long to wait before a chore that failed at the start is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A finished chore.
#[derive(Debug)]
pub(super) enum Chore {
    /// The connections in the store, and when the store was asked.
    Reconciled(UnixNanos, Result<Vec<Connection>, StoreError>),
    /// Whether positions were saved.
    Saved(Result<(), LogError>),
    /// The removal of connections from the store has ended. These could not be removed and must be tried again.
    Removed(Vec<ConnectionId>),
    /// The connections that were probed, and whether each is open (`None`: not known).
    Probed(Vec<(ConnectionId, Option<bool>)>),
}

/// Which chores run, and the work that waits for them.
#[derive(Debug)]
pub(super) struct Chores {
    /// Whether positions may have changed since they were saved.
    pub(super) has_moved: bool,
    /// Connections that are to be removed from the store.
    pub(super) removals: Vec<ConnectionId>,
    /// Connections that are to be closed, and then removed from the store.
    pub(super) closures: Vec<ConnectionId>,
    reconcile_at: Instant,
    is_reconciling: bool,
    is_saving: bool,
    is_removing: bool,
    is_probing: bool,
}

impl Chores {
    /// No chores yet. The first reconciliation is later for higher lane numbers, so that lanes do not ask the store at the same time.
    pub(super) fn new(lane: u16, now: Instant) -> Self {
        Self {
            // Save even if there are no connections: the next relay can then tell "nobody was there" from "the positions were lost".
            has_moved: true,
            removals: Vec::new(),
            closures: Vec::new(),
            reconcile_at: now + RECONCILE_EVERY + RECONCILE_EVERY * u32::from(lane) / u32::from(LANES),
            is_reconciling: false,
            is_saving: false,
            is_removing: false,
            is_probing: false,
        }
    }
}

impl Lane {
    /// Loads the saved positions and the connections, and goes on where the previous relay stopped.
    pub(super) async fn restore(&mut self) {
        let (parts, index) = (self.shared.parts.clone(), self.index);
        let saved = until_done(index, || parts.cursors.load(index)).await;
        if saved == LaneCursors::default() {
            // Either there was no earlier relay, or the store lost its positions, and perhaps its lease, which may still be in use.
            self.free_at = self.shared.begin_at;
        }
        self.restored = Some(Arc::new(saved));
        let asked_at = parts.ports.clock.now();
        let known = until_done(index, || parts.connections.lane(index, parts.ports.clock.now())).await;
        self.now = now();
        if self.reconcile(known) {
            self.known_until = asked_at.minus(STORE_DELAY);
        }
        // Connections that come from here on are new.
        self.restored = None;
    }

    /// Begins the chores that are due.
    pub(super) fn begin_chores(&mut self) {
        if self.now >= self.chores.reconcile_at && !self.chores.is_reconciling {
            self.begin_reconciling();
        }
        if self.chores.has_moved && !self.chores.is_saving {
            self.begin_saving();
        }
        if !self.chores.removals.is_empty() && !self.chores.is_removing {
            self.begin_removing();
        }
        if !self.chores.is_probing {
            self.begin_probing();
        }
    }

    fn begin_reconciling(&mut self) {
        self.chores.is_reconciling = true;
        self.chores.reconcile_at = self.now + RECONCILE_EVERY;
        let (shared, index) = (Arc::clone(&self.shared), self.index);
        self.begin_chore(async move {
            let asked_at = shared.parts.ports.clock.now();
            Chore::Reconciled(asked_at, shared.parts.connections.lane(index, asked_at).await)
        });
    }

    fn begin_saving(&mut self) {
        (self.chores.is_saving, self.chores.has_moved) = (true, false);
        let (shared, index, cursors) = (Arc::clone(&self.shared), self.index, self.positions());
        self.begin_chore(async move {
            Chore::Saved(shared.parts.cursors.save(shared.parts.fence, index, &cursors).await)
        });
    }

    fn begin_removing(&mut self) {
        self.chores.is_removing = true;
        let (shared, ids) = (Arc::clone(&self.shared), std::mem::take(&mut self.chores.removals));
        let closures = std::mem::take(&mut self.chores.closures);
        self.begin_chore(async move {
            for id in closures {
                shared.parts.probe.close(&id).await;
            }
            let mut again = Vec::new();
            for id in ids {
                if shared.parts.connections.remove(&id).await.is_err() {
                    again.push(id);
                }
            }
            Chore::Removed(again)
        });
    }

    fn begin_probing(&mut self) {
        let probe = self.shared.config.probe;
        let is_unseen = |seen: Instant| self.now.saturating_duration_since(seen) >= probe;
        let unseen = self.clients.iter().filter(|(_, client)| is_unseen(client.seen));
        let ids: Vec<ConnectionId> = unseen
            .filter(|(_, client)| !matches!(client.standing, Standing::UnderWay { .. }))
            .map(|(_, client)| client.asked.id.clone())
            .take(PROBES)
            .collect();
        if ids.is_empty() {
            return;
        }
        self.chores.is_probing = true;
        let shared = Arc::clone(&self.shared);
        self.begin_chore(async move {
            let mut probed = Vec::new();
            for id in ids {
                let is_open = shared.parts.probe.is_open(&id).await;
                probed.push((id, is_open));
            }
            Chore::Probed(probed)
        });
    }

    /// Runs a chore beside the lane. If it panics, the lane counts as dead.
    fn begin_chore(&mut self, chore: impl Future<Output = Chore> + Send + 'static) {
        self.running.spawn(owned("chore", chore));
    }

    pub(super) fn on_done(&mut self, done: Result<Chore, JoinError>) {
        self.now = now();
        match done {
            Ok(Chore::Reconciled(asked_at, known)) => self.on_reconciled(asked_at, known),
            Ok(Chore::Saved(outcome)) => self.on_saved(outcome),
            Ok(Chore::Removed(again)) => {
                self.chores.is_removing = false;
                self.chores.removals.extend(again);
            }
            Ok(Chore::Probed(probed)) => self.on_probed(probed),
            // A chore of this kind is not begun again, because the process is about to end.
            Err(error) => {
                error!(lane = self.index, %error, "a chore of the relay has panicked");
                let name = format_smolstr!("relay-{}", self.index);
                self.shared.parts.ports.supervisor.note(Death { name, how: "panicked in a chore" });
            }
        }
    }

    fn on_reconciled(&mut self, asked_at: UnixNanos, known: Result<Vec<Connection>, StoreError>) {
        self.chores.is_reconciling = false;
        match known {
            Ok(known) => {
                if self.reconcile(known) {
                    self.known_until = asked_at.minus(STORE_DELAY);
                }
                self.chores.has_moved = true;
                // By now every running topic has been announced, so saved positions of others are of no use.
                for (_, client) in self.clients.iter_mut() {
                    client.restored = None;
                }
            }
            Err(error) => warn!(lane = self.index, %error, "connections were not reconciled"),
        }
    }

    fn on_saved(&mut self, outcome: Result<(), LogError>) {
        self.chores.is_saving = false;
        if let Err(error) = outcome {
            warn!(lane = self.index, %error, "positions were not saved");
            self.chores.has_moved = true;
        }
    }

    fn on_probed(&mut self, probed: Vec<(ConnectionId, Option<bool>)>) {
        self.chores.is_probing = false;
        for (id, is_open) in probed {
            match is_open {
                Some(false) => self.drop_closed(&id),
                Some(true) | None => {
                    let key = self.ids.get(&id).copied();
                    if let Some(client) = key.and_then(|key| self.clients.get_mut(key)) {
                        client.seen = self.now;
                    }
                }
            }
        }
    }

    /// Saves the positions, and waits until they are saved.
    pub(super) async fn save_now(&self) {
        let parts = &self.shared.parts;
        if let Err(error) = parts.cursors.save(parts.fence, self.index, &self.positions()).await {
            warn!(lane = self.index, %error, "positions were not saved at the end");
        }
    }
}

/// Repeats a request until it succeeds.
async fn until_done<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    lane: u16,
    attempt: impl Fn() -> F,
) -> T {
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => warn!(lane, %error, "the relay cannot take over yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
