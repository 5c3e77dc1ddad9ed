//! What feed connections want to run: leases that ingest is told of, renewed while the connection lives.

use std::collections::HashMap;
use std::mem;
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

/// How far apart ingest is told of changes of one connection's wish. What changes in between is told once.
const SPACING: Duration = Duration::from_millis(200);

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
    /// When ingest was told of whom, within the last [`SPACING`].
    told: HashMap<SmolStr, Instant>,
}

impl Wishes {
    /// The changes that may be told at `now`, and when to look again for others. What changes faster is told as it then is.
    fn due(&mut self, now: Instant) -> (HashMap<SmolStr, Option<FeedFilter>>, Option<Instant>) {
        self.told.retain(|_, told| now.duration_since(*told) < SPACING);
        let told = &self.told;
        let (waiting, due) =
            mem::take(&mut self.changed).into_iter().partition(|(name, _)| told.contains_key(name));
        self.changed = waiting;
        let again = self.changed.keys().filter_map(|name| Some(*self.told.get(name)? + SPACING)).min();
        let due: HashMap<_, _> = due;
        self.told.extend(due.keys().map(|name| (name.clone(), now)));
        (due, again)
    }
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

    fn due(&self) -> (HashMap<SmolStr, Option<FeedFilter>>, Option<Instant>) {
        self.wishes.lock().due(Instant::now())
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
    let mut again = None;
    loop {
        let wishes = tokio::select! {
            () = stop.cancelled() => return tell(&*control, &*clock, given_up(&leases)).await,
            _ = renewal.tick() => leases.standing(),
            () = changed(&leases, again) => {
                let (due, next) = leases.due();
                again = next;
                due
            }
        };
        tell(&*control, &*clock, wishes).await;
    }
}

/// Waits for a change, or until one that waits may be told.
async fn changed(leases: &Leases, again: Option<Instant>) {
    let again = async {
        match again {
            Some(again) => tokio::time::sleep_until(again).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = leases.changed.notified() => {}
        () = again => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_that_changes_fast_is_told_as_it_then_is() {
        let (leases, now) = (Leases::default(), Instant::now());
        let (flapping, other) = (SmolStr::new("flapping"), SmolStr::new("other"));
        let mut told = 0;
        for ms in 0..1_000 {
            let filter = (ms % 2 == 1).then(FeedFilter::default);
            leases.set(&flapping, filter);
            told += leases.wishes.lock().due(now + Duration::from_millis(ms)).0.len();
        }
        assert_eq!(told, 5, "five a second");
        leases.set(&other, Some(FeedFilter::default()));
        let end = now + Duration::from_millis(999);
        let (due, again) = leases.wishes.lock().due(end);
        assert_eq!(due.keys().collect::<Vec<_>>(), [&other], "nobody waits for another");
        let (due, _) = leases.wishes.lock().due(again.expect("the last change waits"));
        assert_eq!(due, HashMap::from([(flapping, Some(FeedFilter::default()))]));
    }
}
