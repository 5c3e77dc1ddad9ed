//! What feed connections want to run: leases that ingest is told of, renewed while the connection lives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bond_core::control::{Command, Control};
use bond_core::feed::FeedFilter;
use bond_core::time::Clock;
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(10);

/// How long a lease lasts: two renewals may be lost.
const LEASE: Duration = Duration::from_secs(30);

/// The wishes of this edge's feed connections. Workers write them, one task tells ingest.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    wishes: Mutex<Wishes>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wishes {
    standing: HashMap<SmolStr, FeedFilter>,
    /// What changed since ingest was told: at most one entry a connection.
    changed: HashMap<SmolStr, Option<FeedFilter>>,
}

impl Leases {
    /// What a connection wants from now on; `None`: nothing.
    pub(crate) fn set(&self, connection: &SmolStr, filter: Option<FeedFilter>) {
        let mut wishes = self.wishes.lock();
        match &filter {
            Some(filter) => wishes.standing.insert(connection.clone(), filter.clone()),
            None => wishes.standing.remove(connection),
        };
        wishes.changed.insert(connection.clone(), filter);
        drop(wishes);
        self.changed.notify_one();
    }

    fn take_changed(&self) -> HashMap<SmolStr, Option<FeedFilter>> {
        std::mem::take(&mut self.wishes.lock().changed)
    }

    fn standing(&self) -> HashMap<SmolStr, Option<FeedFilter>> {
        let wishes = self.wishes.lock();
        wishes.standing.iter().map(|(name, filter)| (name.clone(), Some(filter.clone()))).collect()
    }
}

/// Tells ingest of wishes as they change, and renews them, until `stop`.
pub(crate) async fn keep(
    leases: Arc<Leases>,
    control: Arc<dyn Control>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut renewal = tokio::time::interval_at(Instant::now() + RENEWAL, RENEWAL);
    loop {
        let wishes = tokio::select! {
            () = stop.cancelled() => return tell(&*control, &*clock, given_up(&leases)).await,
            () = leases.changed.notified() => leases.take_changed(),
            _ = renewal.tick() => leases.standing(),
        };
        tell(&*control, &*clock, wishes).await;
    }
}

fn given_up(leases: &Leases) -> HashMap<SmolStr, Option<FeedFilter>> {
    leases.standing().into_keys().map(|name| (name, None)).collect()
}

async fn tell(control: &dyn Control, clock: &dyn Clock, wishes: HashMap<SmolStr, Option<FeedFilter>>) {
    for (connection, filter) in wishes {
        let command = match filter {
            Some(filter) => Command::Feed { connection, filter, until: clock.now().plus(LEASE) },
            None => Command::FeedGone { connection },
        };
        if let Err(error) = control.send(command).await {
            warn!(%error, "a feed's wish is told again with the next renewal");
        }
    }
}
