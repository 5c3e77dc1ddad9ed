//! How sources fare: what sessions report, folded to what topics and the board need to know.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bond_core::instrument::{MarketType, Symbol, Venue};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use smol_str::{SmolStr, format_smolstr};

use super::plan::StreamPlan;
use crate::venue::Subscription;

/// A state, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) state: SourceState,
    pub(super) since: UnixNanos,
    pub(super) reason: SmolStr,
    /// Whether the source's data are made up by a simulator.
    pub(super) simulated: bool,
}

impl Health {
    /// Of a market that this process does not serve.
    pub(super) const fn unserved(since: UnixNanos) -> Self {
        let reason = SmolStr::new_static("not served here");
        Self { state: SourceState::Unavailable, since, reason, simulated: false }
    }

    /// As seen by those who take something else there: what is refused is not to be had, and says nothing of the rest.
    fn of_one_among_many(&self) -> Self {
        let state = match self.state {
            SourceState::Refused => SourceState::Unavailable,
            state => state,
        };
        Self { state, ..self.clone() }
    }

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
        SourceState::Refused => 3,
        SourceState::Suspect => 4,
        SourceState::Stale => 5,
        SourceState::Reconnecting => 6,
        SourceState::Failed => 7,
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

    /// How a subscription fares; as its market does before its own first report, and `None` before that too. A market is no better
    /// than the worst of its connections, which need not be the one that carries the subscription.
    pub(super) fn of(&self, subscription: &Subscription) -> Option<Health> {
        let instrument = &subscription.instrument;
        let market = (instrument.venue, instrument.symbol.market());
        self.subscriptions.get(subscription).or_else(|| self.markets.get(&market)).cloned()
    }

    /// How each venue fares for each symbol of a stream: as the worst of what is taken there. Nothing where nothing was reported.
    pub(super) fn by_symbol(&self, plan: &StreamPlan, since: UnixNanos) -> BySymbol {
        let mut by_symbol = BySymbol::new();
        for (venue, symbol) in &plan.unserved {
            fold(&mut by_symbol, (symbol.clone(), *venue), Health::unserved(since));
        }
        for need in &plan.market {
            let instrument = Arc::new(need.instrument.clone());
            let venue = instrument.venue;
            if let Some(health) = self.of(&Subscription { instrument, channel: need.channel }) {
                fold(&mut by_symbol, (need.symbol.clone(), venue), health);
            }
        }
        by_symbol
    }

    /// The instruments that cannot be had, by the names they have on the board.
    pub(super) fn missing(&self) -> BTreeMap<SmolStr, Health> {
        let mut instruments: BTreeMap<SmolStr, Health> = BTreeMap::new();
        for (subscription, health) in &self.subscriptions {
            let name = format_smolstr!("{}", subscription.instrument);
            fold(&mut instruments, name, health.of_one_among_many());
        }
        instruments.retain(|_, health| health.state == SourceState::Unavailable);
        instruments
    }

    /// How each venue fares for a stream as a whole.
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
        markets.chain(own).for_each(|(venue, health)| fold(&mut venues, venue, health.of_one_among_many()));
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
        Health { state, since: UnixNanos::EPOCH, reason: SmolStr::default(), simulated: false }
    }

    fn trades(symbol: &str) -> Subscription {
        let symbol = Symbol::parse(symbol).expect("symbol");
        Subscription { instrument: Instrument::shared(Venue::Okx, symbol), channel: Channel::Trades }
    }

    #[test]
    fn a_lost_connection_says_nothing_of_what_another_carries() {
        let mut sources = Sources::default();
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Reconnecting));
        assert_eq!(sources.of(&trades("BTC/USDT")).map(|h| h.state), Some(SourceState::Reconnecting));
        sources.subscription(trades("BTC/USDT"), health(SourceState::Connected));
        assert_eq!(sources.of(&trades("BTC/USDT")).map(|h| h.state), Some(SourceState::Connected));
    }

    #[test]
    fn what_a_venue_refuses_is_lacking_where_it_is_taken_and_says_nothing_of_the_rest() {
        let mut sources = Sources::default();
        sources.subscription(trades("BTC/USDT"), health(SourceState::Connected));
        sources.subscription(trades("FOO/USDT"), health(SourceState::Refused));
        assert_eq!(sources.venues()[&Venue::Okx].state, SourceState::Connected);
        assert_eq!(sources.missing().keys().collect::<Vec<_>>(), ["okx:FOO/USDT"]);
        assert_eq!(sources.of(&trades("FOO/USDT")).map(|h| h.state), Some(SourceState::Refused));
    }

    #[test]
    fn what_a_venue_does_not_list_says_nothing_of_the_venue() {
        let mut sources = Sources::default();
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Connected));
        sources.subscription(trades("FOO/USDT"), health(SourceState::Unavailable));
        assert_eq!(sources.venues()[&Venue::Okx].state, SourceState::Connected);
        assert_eq!(sources.of(&trades("FOO/USDT")).map(|h| h.state), Some(SourceState::Unavailable));
        assert_eq!(sources.missing().keys().collect::<Vec<_>>(), ["okx:FOO/USDT"]);
    }
}
