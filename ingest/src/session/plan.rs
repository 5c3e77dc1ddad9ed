//! Assigns subscriptions to connections: as few connections as routes and limits allow, and no subscription moves without need.

use std::collections::{BTreeMap, BTreeSet};

use crate::venue::{Route, Subscription};

/// The subscriptions of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) route: Route,
    pub(super) subscriptions: BTreeSet<Subscription>,
}

/// Spreads `wanted` over the existing connections, in their order, and over new ones behind them. A connection holds at most `capacity`
/// subscriptions. A subscription that is still wanted stays on its connection.
pub(super) fn assign(
    current: &[Share],
    wanted: &BTreeMap<Subscription, Route>,
    capacity: usize,
) -> Vec<Share> {
    let mut shares: Vec<Share> = current.iter().map(|share| keep(share, wanted)).collect();
    let placed: BTreeSet<Subscription> =
        shares.iter().flat_map(|s| s.subscriptions.iter().cloned()).collect();
    for (subscription, route) in wanted.iter().filter(|(subscription, _)| !placed.contains(subscription)) {
        place(&mut shares, subscription.clone(), *route, capacity.max(1));
    }
    shares
}

fn keep(share: &Share, wanted: &BTreeMap<Subscription, Route>) -> Share {
    let still = |subscription: &&Subscription| wanted.get(subscription) == Some(&share.route);
    Share { route: share.route, subscriptions: share.subscriptions.iter().filter(still).cloned().collect() }
}

fn place(shares: &mut Vec<Share>, subscription: Subscription, route: Route, capacity: usize) {
    let has_room = |share: &&mut Share| share.route == route && share.subscriptions.len() < capacity;
    match shares.iter_mut().find(has_room) {
        Some(share) => drop(share.subscriptions.insert(subscription)),
        None => shares.push(Share { route, subscriptions: BTreeSet::from([subscription]) }),
    }
}

#[cfg(test)]
mod tests {
    use bond_core::event::Channel;
    use bond_core::instrument::{Instrument, Symbol, Venue};

    use super::*;

    const PUBLIC: Route = Route { name: "public", path: "/public" };
    const MARKET: Route = Route { name: "market", path: "/market" };

    fn subscription(symbol: &str) -> Subscription {
        let instrument = Instrument::shared(Venue::Binance, Symbol::parse(symbol).unwrap());
        Subscription { instrument, channel: Channel::Trades }
    }

    fn wanted(list: &[(&str, Route)]) -> BTreeMap<Subscription, Route> {
        list.iter().map(|(symbol, route)| (subscription(symbol), *route)).collect()
    }

    fn symbols(shares: &[Share]) -> Vec<Vec<String>> {
        let names =
            |share: &Share| share.subscriptions.iter().map(|s| s.instrument.symbol.to_string()).collect();
        shares.iter().map(names).collect()
    }

    #[test]
    fn routes_have_their_own_connections_and_capacity_opens_more() {
        let all = wanted(&[("AUSDT", PUBLIC), ("BUSDT", PUBLIC), ("CUSDT", PUBLIC), ("DUSDT", MARKET)]);
        let shares = assign(&[], &all, 2);
        assert_eq!(symbols(&shares), [vec!["A/USDT", "B/USDT"], vec!["C/USDT"], vec!["D/USDT"]]);
    }

    #[test]
    fn what_is_still_wanted_stays_and_room_is_filled_first() {
        let all = wanted(&[("AUSDT", PUBLIC), ("BUSDT", PUBLIC), ("CUSDT", PUBLIC)]);
        let before = assign(&[], &all, 2);
        let after = assign(&before, &wanted(&[("BUSDT", PUBLIC), ("CUSDT", PUBLIC), ("EUSDT", PUBLIC)]), 2);
        assert_eq!(symbols(&after), [vec!["B/USDT", "E/USDT"], vec!["C/USDT"]]);
        assert_eq!(symbols(&assign(&after, &BTreeMap::new(), 2)), [Vec::<String>::new(), vec![]]);
    }
}
