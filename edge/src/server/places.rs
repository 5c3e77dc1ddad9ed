//! Bounds the number of connections that are not WebSockets yet. If all places are taken, a connection that waits loses its place.
//!
//! A connection waits from when it was accepted, or last answered, until its next request. The connection that has waited for longest is
//! closed first, so that sockets that do nothing keep nobody out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::network::Network;

/// How long a client may wait with its request on a crowded server. If many clients come at once and all send requests, none is closed.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a request may take on a crowded server. Clients may be slow to send the body.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// How often a full server checks whether a connection can be closed.
const LOOK: Duration = Duration::from_millis(50);

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_per_address: usize,
    began: Instant,
    taken: Mutex<HeldSlot>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct HeldSlot {
    count: u64,
    occupants: HashMap<u64, Arc<Occupant>>,
    by_network: HashMap<Network, usize>,
}

/// A connection that has a place.
#[derive(Debug)]
pub(super) struct Occupant {
    network: Option<Network>,
    began: Instant,
    /// From this time on the connection may be closed to make room, in milliseconds.
    stale_at: AtomicU64,
    lost: CancellationToken,
}

/// A place. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Slot {
    places: Arc<Places>,
    id: u64,
    occupant: Arc<Occupant>,
}

impl Places {
    pub(super) fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        let (taken, freed) = (Mutex::default(), Notify::new());
        Arc::new(Self { most, most_per_address, began: Instant::now(), taken, freed })
    }

    /// Takes a place. If all are taken, waits until a connection can be closed to make room. `None` if the address uses all places that one
    /// address may have.
    pub(super) async fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        let network = Network::of(peer);
        if network.is_some_and(|network| !self.make_room_in(network)) {
            return None;
        }
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.try_take(network) {
                return Some(place);
            }
            // There is no signal when a connection becomes stale, so check again at intervals.
            let _ = timeout(LOOK, freed).await;
        }
    }

    /// Whether an address may have one more place. If it has too many, its stalest connection without a request in progress is closed.
    fn make_room_in(&self, network: Network) -> bool {
        let mut taken = self.taken.lock();
        if taken.by_network.get(&network).is_none_or(|count| *count < self.most_per_address) {
            return true;
        }
        // Every connection without a request in progress becomes stale before this time.
        let before = millis(self.began.elapsed() + PATIENCE);
        let stalest = taken.stalest(before, |occupant| occupant.network == Some(network));
        stalest.is_some_and(|id| taken.evict(id))
    }

    fn try_take(self: &Arc<Self>, network: Option<Network>) -> Option<Slot> {
        let mut taken = self.taken.lock();
        if taken.occupants.len() >= self.most {
            let stalest = taken.stalest(millis(self.began.elapsed()), |_| true)?;
            taken.evict(stalest);
        }
        let occupant = Arc::new(Occupant::new(network, self.began));
        Some(Slot { places: Arc::clone(self), id: taken.insert(&occupant), occupant })
    }
}

impl HeldSlot {
    fn insert(&mut self, occupant: &Arc<Occupant>) -> u64 {
        self.count += 1;
        self.occupants.insert(self.count, Arc::clone(occupant));
        if let Some(network) = occupant.network {
            *self.by_network.entry(network).or_default() += 1;
        }
        self.count
    }

    /// The connection that became stale first, among those for which `eligible` holds; `None` if none is stale at `now`.
    fn stalest(&self, now: u64, eligible: impl Fn(&Occupant) -> bool) -> Option<u64> {
        let stale = self.occupants.iter().filter(|(_, occupant)| eligible(occupant));
        let stale = stale.map(|(id, occupant)| (occupant.stale_at.load(Ordering::Relaxed), *id));
        stale.min().filter(|(at, _)| *at <= now).map(|(_, id)| id)
    }

    fn evict(&mut self, id: u64) -> bool {
        let evicted = self.remove(id);
        evicted.inspect(|occupant| occupant.lost.cancel()).is_some()
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Occupant>> {
        let occupant = self.occupants.remove(&id)?;
        if let Some(network) = occupant.network
            && let Some(count) = self.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
        Some(occupant)
    }
}

impl Occupant {
    fn new(network: Option<Network>, began: Instant) -> Self {
        let occupant = Self { network, began, stale_at: AtomicU64::new(0), lost: CancellationToken::new() };
        occupant.is_stale_in(PATIENCE);
        occupant
    }

    fn is_stale_in(&self, time: Duration) {
        self.stale_at.store(millis(self.began.elapsed() + time), Ordering::Relaxed);
    }

    /// Marks a request as in progress, until the returned value is dropped.
    pub(super) fn served(occupant: &Arc<Self>) -> ServedRequest {
        occupant.is_stale_in(SERVED_WITHIN);
        ServedRequest(Arc::clone(occupant))
    }
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct ServedRequest(Arc<Occupant>);

impl Drop for ServedRequest {
    fn drop(&mut self) {
        self.0.is_stale_in(PATIENCE);
    }
}

impl Slot {
    pub(super) fn occupant(&self) -> Arc<Occupant> {
        Arc::clone(&self.occupant)
    }

    /// Waits until the place was taken away.
    pub(super) async fn lost(&self) {
        self.occupant.lost.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.places.taken.lock().remove(self.id).is_some() {
            self.places.freed.notify_one();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn who_kept_a_full_server_waiting_for_longest_gives_way_and_nobody_within_a_second() {
        let places = Places::new(2, 64);
        let first = places.take(LOOPBACK).await.expect("a place");
        advance(Duration::from_millis(10)).await;
        let second = places.take(LOOPBACK).await.expect("a place");
        let asked = Instant::now();
        let _third = places.take(LOOPBACK).await.expect("a place");
        assert!(asked.elapsed() >= PATIENCE - Duration::from_millis(11), "{:?}", asked.elapsed());
        assert!(first.occupant.lost.is_cancelled() && !second.occupant.lost.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_served_gives_way_later_than_who_is_not() {
        let places = Places::new(2, 64);
        let served = places.take(LOOPBACK).await.expect("a place");
        let request = Occupant::served(&served.occupant);
        advance(Duration::from_millis(10)).await;
        let idle = places.take(LOOPBACK).await.expect("a place");
        advance(PATIENCE).await;
        let _another = places.take(LOOPBACK).await.expect("a place");
        assert!(idle.occupant.lost.is_cancelled() && !served.occupant.lost.is_cancelled());
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_places_of_its_own_and_ipv6_is_counted_by_network() {
        let places = Places::new(100, 2);
        let first = places.take(address("2001:db8::1")).await.expect("a place");
        let second = places.take(address("2001:db8::2")).await.expect("a place");
        let request = [Occupant::served(&first.occupant), Occupant::served(&second.occupant)];
        assert!(places.take(address("2001:db8::3")).await.is_none(), "both are being served");
        assert!(places.take(address("2001:db8:0:1::3")).await.is_some(), "another network");
        drop(request);
        assert!(places.take(address("2001:db8::3")).await.is_some(), "who is idle gives way");
        assert!(first.occupant.lost.is_cancelled() || second.occupant.lost.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_given_back_when_it_is_dropped() {
        let places = Places::new(1, 1);
        for _ in 0..10 {
            drop(places.take(address("192.0.2.1")).await.expect("a place"));
        }
        assert!(places.taken.lock().by_network.is_empty());
    }
}
