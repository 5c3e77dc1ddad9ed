//! How sources fare: what sessions report, folded to what topics and the board need to know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bond_core::instrument::{MarketType, Symbol, Venue};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use smol_str::SmolStr;

use super::plan::MarketNeed;
use crate::venue::Subscription;

/// A state, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) state: SourceState,
    pub(super) since: UnixNanos,
    pub(super) reason: SmolStr,
}

impl Health {
    /// The worse of two, `self` on a tie.
    fn worse(self, other: Self) -> Self {
        if severity(other.state) > severity(self.state) { other } else { self }
    }
}

/// How bad a state is for those who wait for data. An unavailable source is none, and so hides no other.
const fn severity(state: SourceState) -> u8 {
    match state {
        SourceState::Unavailable => 0,
        SourceState::Connected => 1,
        SourceState::Connecting => 2,
        SourceState::Suspect => 3,
        SourceState::Stale => 4,
        SourceState::Reconnecting => 5,
        SourceState::Failed => 6,
    }
}

/// The latest reports.
#[derive(Debug, Default)]
pub(super) struct Sources {
    subscriptions: HashMap<Subscription, Health>,
    markets: BTreeMap<(Venue, MarketType), Health>,
}

impl Sources {
    /// Takes a report about one subscription.
    pub(super) fn subscription(&mut self, subscription: Subscription, health: Health) {
        self.subscriptions.insert(subscription, health);
    }

    /// Takes a report about a market as a whole.
    pub(super) fn market(&mut self, venue: Venue, market: MarketType, health: Health) {
        self.markets.insert((venue, market), health);
    }

    /// Forgets subscriptions that are wanted no more.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Subscription) -> bool) {
        self.subscriptions.retain(|subscription, _| wanted(subscription));
    }

    /// How a subscription fares: as its market does while that is not connected, else as it does itself.
    /// `None` before the first report.
    pub(super) fn of(&self, subscription: &Subscription) -> Option<Health> {
        let instrument = &subscription.instrument;
        let own = self.subscriptions.get(subscription);
        if let Some(own) = own.filter(|own| own.state == SourceState::Unavailable) {
            return Some(own.clone());
        }
        let market = self.markets.get(&(instrument.venue, instrument.symbol.market()));
        match (market, own) {
            (Some(market), Some(own)) => Some(market.clone().worse(own.clone())),
            (market, own) => market.or(own).cloned(),
        }
    }

    /// How each venue fares for each symbol of a stream: as the worst of what is taken there. Nothing where nothing was reported.
    pub(super) fn by_symbol(&self, needs: &BTreeSet<MarketNeed>) -> BySymbol {
        let mut by_symbol = BySymbol::new();
        for need in needs {
            let instrument = Arc::new(need.instrument.clone());
            let venue = instrument.venue;
            if let Some(health) = self.of(&Subscription { instrument, channel: need.channel }) {
                fold(&mut by_symbol, (need.symbol.clone(), venue), health);
            }
        }
        by_symbol
    }

    /// The same by venue alone.
    pub(super) fn by_venue(by_symbol: BySymbol) -> BTreeMap<Venue, Health> {
        let mut venues = BTreeMap::new();
        by_symbol.into_iter().for_each(|((_, venue), health)| fold(&mut venues, venue, health));
        venues
    }

    /// How each venue fares as a whole.
    pub(super) fn venues(&self) -> BTreeMap<Venue, Health> {
        let mut venues: BTreeMap<Venue, Health> = BTreeMap::new();
        let own = self.subscriptions.iter().map(|(s, health)| (s.instrument.venue, health));
        let markets = self.markets.iter().map(|((venue, _), health)| (*venue, health));
        markets.chain(own).for_each(|(venue, health)| fold(&mut venues, venue, health.clone()));
        venues
    }
}

/// How each venue fares for each symbol of a stream.
pub(super) type BySymbol = BTreeMap<(Symbol, Venue), Health>;

/// Makes `health` part of what stands at `key`.
fn fold<K: Ord>(into: &mut BTreeMap<K, Health>, key: K, health: Health) {
    let folded = match into.remove(&key) {
        Some(known) => known.worse(health),
        None => health,
    };
    into.insert(key, folded);
}

#[cfg(test)]
mod tests {
    use bond_core::event::Channel;
    use bond_core::instrument::{Instrument, Symbol};

    use super::*;

    fn health(state: SourceState) -> Health {
        Health { state, since: UnixNanos::EPOCH, reason: SmolStr::default() }
    }

    fn trades(symbol: &str) -> Subscription {
        let symbol = Symbol::parse(symbol).expect("symbol");
        Subscription { instrument: Instrument::shared(Venue::Okx, symbol), channel: Channel::Trades }
    }

    #[test]
    fn a_lost_market_takes_its_subscriptions_with_it() {
        let mut sources = Sources::default();
        sources.subscription(trades("BTC/USDT"), health(SourceState::Connected));
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Reconnecting));
        assert_eq!(sources.of(&trades("BTC/USDT")).map(|h| h.state), Some(SourceState::Reconnecting));
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Connected));
        assert_eq!(sources.of(&trades("BTC/USDT")).map(|h| h.state), Some(SourceState::Connected));
    }

    #[test]
    fn what_a_venue_does_not_list_says_nothing_of_the_venue() {
        let mut sources = Sources::default();
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Connected));
        sources.subscription(trades("FOO/USDT"), health(SourceState::Unavailable));
        assert_eq!(sources.venues()[&Venue::Okx].state, SourceState::Connected);
        assert_eq!(sources.of(&trades("FOO/USDT")).map(|h| h.state), Some(SourceState::Unavailable));
    }
}
