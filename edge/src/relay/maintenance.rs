//! What a lane does beside delivering, one of each kind at a time: reconcile, save, remove, and see who is still there.

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

/// How often the store is compared with.
const RECONCILE_EVERY: Duration = Duration::from_secs(60);

/// How long a request may take from API Gateway's clock to the store, clocks' differences included: a function answers API Gateway within
/// 29 s (API Gateway quotas, read 2026-11).
const HEARD_AFTER: Duration = Duration::from_secs(35);

/// How many are looked for at once.
const PROBES: usize = 32;

/// How soon what failed at the start is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A finished chore.
#[derive(Debug)]
pub(super) enum Chore {
    /// What the store knew when it was asked.
    Reconciled(UnixNanos, Result<Vec<Connection>, StoreError>),
    /// Whether positions were saved.
    Saved(Result<(), LogError>),
    /// These are not in the store any more, but for those that must be tried again.
    Removed(Vec<ConnectionId>),
    /// Who was looked for, and whether it is open.
    Probed(Vec<(ConnectionId, Option<bool>)>),
}

/// Which chores are under way, and what they are for.
#[derive(Debug)]
pub(super) struct Chores {
    /// Whether there may be other positions than were saved.
    pub(super) has_moved: bool,
    /// Connections that are to be removed from the store.
    pub(super) removals: Vec<ConnectionId>,
    /// Connections that are to be closed before that.
    pub(super) closures: Vec<ConnectionId>,
    reconcile_at: Instant,
    is_reconciling: bool,
    is_saving: bool,
    is_removing: bool,
    is_probing: bool,
}

impl Chores {
    /// None; lanes take turns to reconcile.
    pub(super) fn new(lane: u16, now: Instant) -> Self {
        Self {
            // Even where there is nobody: a successor then knows that nothing was forgotten.
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
    /// Takes over the connections that there are, from where a predecessor had brought them.
    pub(super) async fn restore(&mut self) {
        let (parts, index) = (self.shared.parts.clone(), self.index);
        let saved = until_done(index, || parts.cursors.load(index)).await;
        if saved == LaneCursors::default() {
            // Either there was no predecessor, or its lease may have been forgotten with its positions.
            self.free_at = self.shared.begin_at;
        }
        self.restored = Some(Arc::new(saved));
        let asked_at = parts.ports.clock.now();
        let known = until_done(index, || parts.connections.lane(index, parts.ports.clock.now())).await;
        self.now = now();
        if self.reconcile(known) {
            self.heard = asked_at.minus(HEARD_AFTER);
        }
        // Whoever comes from here on is new.
        self.restored = None;
    }

    /// Begins the chores whose time has come.
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

    /// Runs beside the lane. Its panic is the lane's.
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
            // Its kind is not begun again: the process must not go on like this.
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
                    self.heard = asked_at.minus(HEARD_AFTER);
                }
                self.chores.has_moved = true;
                // By now all topics that run have been named.
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

    /// Saves positions and waits until that is done.
    pub(super) async fn save_now(&self) {
        let parts = &self.shared.parts;
        if let Err(error) = parts.cursors.save(parts.fence, self.index, &self.positions()).await {
            warn!(lane = self.index, %error, "positions were not saved at the end");
        }
    }
}

/// Tries until it succeeds.
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
