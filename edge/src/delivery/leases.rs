//! What feed connections want to run: leases that ingest is told of, renewed while the connection lives.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bond_core::api_key::Holder;
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

/// Of how many changes of one owner's connections ingest is told within [`SPACING`]: fifty a second. The others wait.
const OF_ONE_OWNER: usize = 10;

/// What a feed connection wants, and whose it is, where keys say so.
#[derive(Clone, Debug, PartialEq)]
struct DesiredFeed {
    owner: Option<SmolStr>,
    /// `None`: it wants nothing any more.
    filter: Option<FeedFilter>,
}

/// The wishes of this edge's feed connections. Workers write them, one task tells ingest.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    wishes: Mutex<DesiredFeeds>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct DesiredFeeds {
    standing: HashMap<SmolStr, DesiredFeed>,
    /// What changed since ingest was told: at most one entry a connection.
    changed: HashMap<SmolStr, DesiredFeed>,
    /// When ingest was told of whom, within the last [`SPACING`], and whose that is.
    told: HashMap<SmolStr, (Instant, Option<SmolStr>)>,
}

impl DesiredFeeds {
    /// The changes that may be told at `now`, and when to look again for others. What changes faster is told as it then is.
    fn due(&mut self, now: Instant) -> (HashMap<SmolStr, DesiredFeed>, Option<Instant>) {
        self.told.retain(|_, (told, _)| now.duration_since(*told) < SPACING);
        let mut of_owners: HashMap<SmolStr, usize> = HashMap::new();
        for owner in self.told.values().filter_map(|(_, owner)| owner.as_ref()) {
            *of_owners.entry(owner.clone()).or_default() += 1;
        }
        let mut due = HashMap::new();
        for (name, wish) in mem::take(&mut self.changed) {
            if self.told.contains_key(&name) || !has_room(&mut of_owners, wish.owner.as_ref()) {
                self.changed.insert(name, wish);
            } else {
                self.told.insert(name.clone(), (now, wish.owner.clone()));
                due.insert(name, wish);
            }
        }
        let first_told = self.told.values().map(|(told, _)| *told).min();
        (due, first_told.filter(|_| !self.changed.is_empty()).map(|told| told + SPACING))
    }
}

/// Whether ingest may be told of one more change of this owner, which then counts.
fn has_room(of_owners: &mut HashMap<SmolStr, usize>, owner: Option<&SmolStr>) -> bool {
    let Some(owner) = owner else { return true };
    let told = of_owners.entry(owner.clone()).or_default();
    *told += 1;
    *told <= OF_ONE_OWNER
}

impl Leases {
    /// Has ingest told what a connection, that of `holder`'s key, wants from now on; `None`: nothing.
    pub(crate) fn set(&self, connection: &SmolStr, holder: Option<&Holder>, filter: Option<FeedFilter>) {
        let mut wishes = self.wishes.lock();
        let wish = DesiredFeed { owner: holder.map(|holder| holder.owner.clone()), filter };
        match &wish.filter {
            Some(_) => wishes.standing.insert(connection.clone(), wish.clone()),
            None => wishes.standing.remove(connection),
        };
        wishes.changed.insert(connection.clone(), wish);
        drop(wishes);
        self.changed.notify_one();
    }

    fn due(&self) -> (HashMap<SmolStr, DesiredFeed>, Option<Instant>) {
        self.wishes.lock().due(Instant::now())
    }

    fn standing(&self) -> HashMap<SmolStr, DesiredFeed> {
        self.wishes.lock().standing.clone()
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

fn given_up(leases: &Leases) -> HashMap<SmolStr, DesiredFeed> {
    let given_up = |wish: DesiredFeed| DesiredFeed { filter: None, ..wish };
    leases.standing().into_iter().map(|(name, wish)| (name, given_up(wish))).collect()
}

async fn tell(control: &dyn Control, clock: &dyn Clock, wishes: HashMap<SmolStr, DesiredFeed>) {
    for (connection, DesiredFeed { owner, filter }) in wishes {
        let command = match filter {
            Some(filter) => Command::Feed { connection, owner, filter, until: clock.now().plus(LEASE) },
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
            leases.set(&flapping, None, filter);
            told += leases.wishes.lock().due(now + Duration::from_millis(ms)).0.len();
        }
        assert_eq!(told, 5, "five a second");
        leases.set(&other, None, Some(FeedFilter::default()));
        let end = now + Duration::from_millis(999);
        let (due, again) = leases.wishes.lock().due(end);
        assert_eq!(due.keys().collect::<Vec<_>>(), [&other], "nobody waits for another");
        let (due, _) = leases.wishes.lock().due(again.expect("the last change waits"));
        let wish = DesiredFeed { owner: None, filter: Some(FeedFilter::default()) };
        assert_eq!(due, HashMap::from([(flapping, wish)]));
    }

    #[test]
    fn the_connections_of_one_owner_share_a_pace_and_none_is_forgotten() {
        let (leases, now) = (Leases::default(), Instant::now());
        let ann = Holder { owner: "ann".into(), key: "key".into() };
        let names: Vec<SmolStr> = (0..100).map(|n| format!("f{n}").into()).collect();
        names.iter().for_each(|name| leases.set(name, Some(&ann), Some(FeedFilter::default())));
        leases.set(&"bob's".into(), None, Some(FeedFilter::default()));
        let mut told = HashMap::new();
        let mut at = now;
        for turn in 0..10 {
            let (due, again) = leases.wishes.lock().due(at);
            assert_eq!(due.len(), OF_ONE_OWNER + usize::from(turn == 0), "bob does not wait for ann");
            told.extend(due);
            at = again.unwrap_or(at + SPACING);
        }
        assert_eq!((told.len(), at), (101, now + 10 * SPACING));
    }
}
