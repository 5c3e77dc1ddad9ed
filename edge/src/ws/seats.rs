//! How many clients there are, in all, of one address and of one key: each holds a seat, which is given back by itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use metrics::{Gauge, gauge};
use parking_lot::Mutex;
use smol_str::SmolStr;
use tokio::sync::Notify;

use super::shared::Limits;
use crate::network::Network;

/// Who has a share of the seats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Network(Network),
    Key(SmolStr),
}

/// The seats of one fan-out.
#[derive(Debug)]
pub(crate) struct Seats {
    most: usize,
    most_per_address: usize,
    most_per_key: usize,
    taken: Mutex<SeatCounts>,
    emptied: Notify,
    is_closed: AtomicBool,
    open: Gauge,
}

#[derive(Debug, Default)]
struct SeatCounts {
    count: usize,
    by_owner: HashMap<Owner, usize>,
}

/// A client's seat, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    owners: [Option<Owner>; 2],
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSeat {
    /// The process has as many clients as it may, or is about to end.
    #[error("too many connections; try again")]
    Full,
    /// The address or key has as many connections as it may.
    #[error("too many connections of this {0}; close some, or ask for more")]
    OwnersFull(&'static str),
}

impl IntoResponse for NoSeat {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::OwnersFull(_) => StatusCode::TOO_MANY_REQUESTS,
        };
        (status, format!("{self}\n")).into_response()
    }
}

impl Seats {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            most: limits.connections,
            most_per_address: limits.connections_per_address,
            most_per_key: limits.connections_per_key,
            taken: Mutex::default(),
            emptied: Notify::new(),
            is_closed: AtomicBool::new(false),
            open: gauge!("bond_connections"),
        })
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.lock().count
    }

    /// Gives out no seat from here on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Takes a seat for a client from `peer` that shows the key of this id, if it shows one.
    pub(crate) fn take(self: &Arc<Self>, peer: Option<IpAddr>, key: Option<SmolStr>) -> Result<Seat, NoSeat> {
        let network = peer.and_then(Network::of).map(Owner::Network);
        let owners = [network, key.map(Owner::Key)];
        let mut taken = self.taken.lock();
        if taken.count >= self.most || self.is_closed.load(Ordering::Acquire) {
            return Err(NoSeat::Full);
        }
        let most = [("address", self.most_per_address), ("key", self.most_per_key)];
        for (owner, (name, most)) in owners.iter().zip(most) {
            if owner.as_ref().is_some_and(|owner| taken.by_owner.get(owner).is_some_and(|n| *n >= most)) {
                return Err(NoSeat::OwnersFull(name));
            }
        }
        taken.count += 1;
        for owner in owners.iter().flatten() {
            *taken.by_owner.entry(owner.clone()).or_default() += 1;
        }
        self.open.set(taken.count as f64);
        Ok(Seat { seats: Arc::clone(self), owners })
    }

    /// Waits until none is taken.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.taken() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.count -= 1;
        for owner in self.owners.iter().flatten() {
            if let Some(count) = taken.by_owner.get_mut(owner) {
                *count -= 1;
                if *count == 0 {
                    taken.by_owner.remove(owner);
                }
            }
        }
        self.seats.open.set(taken.count as f64);
        if taken.count == 0 {
            self.seats.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats() -> Arc<Seats> {
        let limits = Limits {
            connections: 5,
            connections_per_address: 2,
            connections_per_key: 3,
            ..Limits::default()
        };
        Seats::new(&limits)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn an_address_and_a_key_have_a_share_each_and_get_it_back() {
        let seats = seats();
        let key = |name: &'static str| Some(SmolStr::new_static(name));
        let held: Vec<_> =
            (0..2).map(|_| seats.take(address("192.0.2.1"), key("a")).expect("a seat")).collect();
        assert_eq!(seats.take(address("192.0.2.1"), None).err(), Some(NoSeat::OwnersFull("address")));
        let third = seats.take(address("192.0.2.2"), key("a")).expect("a seat");
        assert_eq!(seats.take(address("192.0.2.3"), key("a")).err(), Some(NoSeat::OwnersFull("key")));
        drop((held, third));
        assert!(seats.take(address("192.0.2.1"), key("a")).is_ok());
        assert!(seats.taken.lock().by_owner.is_empty(), "{seats:?}");
    }

    #[test]
    fn who_comes_from_loopback_without_a_key_is_counted_in_the_sum_alone() {
        let seats = seats();
        let held: Vec<_> = (0..5).map(|_| seats.take(address("127.0.0.1"), None)).collect();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(seats.take(address("127.0.0.1"), None).err(), Some(NoSeat::Full));
        drop(held);
        seats.close();
        assert_eq!(seats.take(None, None).err(), Some(NoSeat::Full));
    }
}
