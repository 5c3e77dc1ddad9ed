//! The health of sources: what sessions report of subscriptions and markets, combined to the health of instruments and venues.
//!
//! The combined states are counts that each report updates. The cost of a report so does not depend on the number of subscriptions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use smol_str::SmolStr;

use super::plan::StreamPlan;
use crate::venue::Subscription;

/// A state, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) state: SourceState,
    pub(super) since: UnixNanos,
    pub(super) reason: SmolStr,
    /// Whether a simulator makes up the source's data.
    pub(super) simulated: bool,
}

impl Health {
    /// The health of a market that this process does not serve.
    pub(super) const fn unserved(since: UnixNanos) -> Self {
        let reason = SmolStr::new_static("not served here");
        Self { state: SourceState::Unavailable, since, reason, simulated: false }
    }

    /// The health of a subscription that is beyond the number that this process may have.
    pub(super) const fn beyond(since: UnixNanos) -> Self {
        let reason = SmolStr::new_static("limit");
        Self { state: SourceState::Unavailable, since, reason, simulated: false }
    }

    /// The worse of two, `self` on a tie.
    fn worse(self, other: Self) -> Self {
        if severity(other.state) > severity(self.state) { other } else { self }
    }
}

/// How bad a state is for those who wait for data of this source. An unavailable source does not count, so it is the least.
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

/// A state with its sort key: the worst state is the greatest, and among equal states the one that has lasted longest.
type Rank = (u8, std::cmp::Reverse<UnixNanos>, SourceState);

fn rank(health: &Health) -> Rank {
    let state = among_many(health.state);
    (severity_among_many(state), std::cmp::Reverse(health.since), state)
}

/// How bad the state of one subscription is for the venue as a whole. A subscription that is just starting does no harm: a venue stays
/// `connected` while one more of its channels is subscribed to.
const fn severity_among_many(state: SourceState) -> u8 {
    match state {
        SourceState::Connecting => severity(SourceState::Connected),
        SourceState::Connected => severity(SourceState::Connecting),
        state => severity(state),
    }
}

/// The state of one subscription as it counts for the venue as a whole. A refused one counts as unavailable: it says nothing of the rest.
const fn among_many(state: SourceState) -> SourceState {
    match state {
        SourceState::Refused => SourceState::Unavailable,
        state => state,
    }
}

/// The number of subscriptions in each state.
#[derive(Debug, Default)]
struct Tally(BTreeMap<Rank, usize>);

impl Tally {
    fn add(&mut self, health: &Health) {
        *self.0.entry(rank(health)).or_default() += 1;
    }

    fn remove(&mut self, health: &Health) {
        let rank = rank(health);
        if let Some(count) = self.0.get_mut(&rank) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&rank);
            }
        }
    }

    fn worst(&self) -> Option<(SourceState, UnixNanos)> {
        self.0.last_key_value().map(|((_, since, state), _)| (*state, since.0))
    }
}

/// The latest reports.
#[derive(Debug, Default)]
pub(super) struct Sources {
    wanted: HashMap<Subscription, Option<Health>>,
    /// Wanted subscriptions without a report so far. Their health is that of their market.
    unreported: BTreeMap<(Venue, MarketType), HashSet<Subscription>>,
    /// The last health of subscriptions that are no longer wanted. If one is wanted again before its session has noticed the change, the
    /// session does not report it anew.
    dropped: [HashMap<Subscription, Health>; 2],
    markets: BTreeMap<(Venue, MarketType), Health>,
    /// The number of subscriptions wanted of each market. A market of which nothing is wanted is disconnected and does not count for the
    /// venue.
    in_use: BTreeMap<(Venue, MarketType), usize>,
    venues: BTreeMap<Venue, Tally>,
    instruments: HashMap<Arc<Instrument>, Tally>,
    /// Venues and instruments whose state may differ from the one that is shown.
    changed: (BTreeSet<Venue>, BTreeSet<Arc<Instrument>>),
}

fn market_of(subscription: &Subscription) -> (Venue, MarketType) {
    (subscription.instrument.venue, subscription.instrument.symbol.market())
}

impl Sources {
    /// Records that a subscription is wanted.
    pub(super) fn want(&mut self, subscription: &Subscription) {
        if self.wanted.contains_key(subscription) {
            return;
        }
        let known = self.dropped.iter_mut().find_map(|dropped| dropped.remove(subscription));
        self.unreported.entry(market_of(subscription)).or_default().insert(subscription.clone());
        self.wanted.insert(subscription.clone(), None);
        self.use_market(market_of(subscription));
        if let Some(health) = known {
            self.subscription(subscription, health);
        }
    }

    /// Records that a subscription is no longer wanted.
    pub(super) fn drop(&mut self, subscription: &Subscription) {
        if let Some(unreported) = self.unreported.get_mut(&market_of(subscription)) {
            unreported.remove(subscription);
        }
        let Some(known) = self.wanted.remove(subscription) else { return };
        self.leave_market(market_of(subscription));
        if let Some(health) = known {
            self.count(subscription, Some(&health), None);
            self.dropped[0].insert(subscription.clone(), health);
        }
    }

    /// Counts one more subscription of a market.
    fn use_market(&mut self, market: (Venue, MarketType)) {
        let users = self.in_use.entry(market).or_default();
        *users += 1;
        if let Some(health) = self.markets.get(&market).filter(|_| *users == 1) {
            self.venues.entry(market.0).or_default().add(health);
        }
    }

    /// Counts one subscription of a market less.
    fn leave_market(&mut self, market: (Venue, MarketType)) {
        let Some(users) = self.in_use.get_mut(&market) else { return };
        *users -= 1;
        if *users > 0 {
            return;
        }
        self.in_use.remove(&market);
        if let Some(health) = self.markets.get(&market) {
            self.venues.entry(market.0).or_default().remove(health);
        }
    }

    /// Forgets subscriptions that were dropped before the last call.
    pub(super) fn forget_dropped(&mut self) {
        let newer = std::mem::take(&mut self.dropped[0]);
        self.dropped[1] = newer;
    }

    /// Takes a report about one subscription. Returns whether the subscription is wanted.
    pub(super) fn subscription(&mut self, subscription: &Subscription, health: Health) -> bool {
        let Some(known) = self.wanted.get_mut(subscription) else {
            if let Some(dropped) = self.dropped.iter_mut().find_map(|d| d.get_mut(subscription)) {
                *dropped = health;
            }
            return false;
        };
        let before = known.replace(health.clone());
        if before.is_none()
            && let Some(unreported) = self.unreported.get_mut(&market_of(subscription))
        {
            unreported.remove(subscription);
        }
        self.count(subscription, before.as_ref(), Some(&health));
        true
    }

    fn count(&mut self, subscription: &Subscription, before: Option<&Health>, after: Option<&Health>) {
        let instrument = &subscription.instrument;
        let of_venue = self.venues.entry(instrument.venue).or_default();
        let of_instrument = self.instruments.entry(Arc::clone(instrument)).or_default();
        for tally in [of_venue, of_instrument] {
            before.into_iter().for_each(|health| tally.remove(health));
            after.into_iter().for_each(|health| tally.add(health));
        }
        if after.is_none() && self.instruments.get(instrument).is_some_and(|tally| tally.0.is_empty()) {
            self.instruments.remove(instrument);
        }
        self.changed.0.insert(instrument.venue);
        self.changed.1.insert(Arc::clone(instrument));
    }

    /// Takes a report about a market as a whole. Returns the subscriptions whose health is that of the market.
    pub(super) fn market(&mut self, venue: Venue, market: MarketType, health: Health) -> Vec<Subscription> {
        let of_venue = self.venues.entry(venue).or_default();
        let counts = self.in_use.contains_key(&(venue, market));
        if counts {
            of_venue.add(&health);
        }
        if let Some(before) = self.markets.insert((venue, market), health).filter(|_| counts) {
            of_venue.remove(&before);
        }
        self.changed.0.insert(venue);
        self.unreported.get(&(venue, market)).into_iter().flatten().cloned().collect()
    }

    /// The health of a subscription. Until it first reports, the health of its market; `None` if neither has reported. A market is no better
    /// than the worst of its connections, which need not be the one that carries the subscription.
    pub(super) fn of(&self, subscription: &Subscription) -> Option<&Health> {
        let own = self.wanted.get(subscription).and_then(Option::as_ref);
        own.or_else(|| self.markets.get(&market_of(subscription)))
    }

    /// The health of each venue for each symbol of a stream: the worst among the stream's subscriptions there. Pairs without a report are
    /// left out.
    pub(super) fn by_symbol(&self, plan: &StreamPlan, since: UnixNanos) -> BySymbol {
        let mut by_symbol = BySymbol::new();
        for (venue, symbol) in &plan.unserved {
            fold(&mut by_symbol, (symbol.clone(), *venue), Health::unserved(since));
        }
        for need in &plan.market {
            if let Some(health) = self.of(&need.subscription()) {
                fold(&mut by_symbol, (need.symbol.clone(), need.instrument.venue), health.clone());
            }
        }
        by_symbol
    }

    /// The health of each venue for a stream as a whole.
    pub(super) fn by_venue(by_symbol: BySymbol) -> BTreeMap<Venue, Health> {
        let mut venues = BTreeMap::new();
        by_symbol.into_iter().for_each(|((_, venue), health)| fold(&mut venues, venue, health));
        venues
    }

    /// The state of a venue as a whole, and since when it holds.
    pub(super) fn venue(&self, venue: Venue) -> Option<(SourceState, UnixNanos)> {
        self.venues.get(&venue).and_then(Tally::worst)
    }

    /// Since when an instrument is unavailable; `None` if it is available, or not wanted.
    pub(super) fn missing(&self, instrument: &Instrument) -> Option<UnixNanos> {
        let (state, since) = self.instruments.get(instrument).and_then(Tally::worst)?;
        (state == SourceState::Unavailable).then_some(since)
    }

    /// The venues and instruments whose state may have changed since the last call.
    pub(super) fn take_changed(&mut self) -> (BTreeSet<Venue>, BTreeSet<Arc<Instrument>>) {
        std::mem::take(&mut self.changed)
    }
}

/// The health of each venue for each symbol of a stream.
pub(super) type BySymbol = BTreeMap<(Symbol, Venue), Health>;

/// Combines `health` with the one at `key`: the worse stays.
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
    use bond_core::instrument::Symbol;

    use super::*;

    fn health(state: SourceState) -> Health {
        Health { state, since: UnixNanos::EPOCH, reason: SmolStr::default(), simulated: false }
    }

    fn trades(symbol: &str) -> Subscription {
        let symbol = Symbol::parse(symbol).expect("symbol");
        Subscription { instrument: Instrument::shared(Venue::Okx, symbol), channel: Channel::Trades }
    }

    fn sources(wanted: &[&str]) -> Sources {
        let mut sources = Sources::default();
        wanted.iter().for_each(|symbol| sources.want(&trades(symbol)));
        sources
    }

    fn state(sources: &Sources, symbol: &str) -> Option<SourceState> {
        sources.of(&trades(symbol)).map(|health| health.state)
    }

    #[test]
    fn a_lost_connection_says_nothing_of_what_another_carries() {
        let mut sources = sources(&["BTC/USDT", "ETH/USDT"]);
        sources.subscription(&trades("ETH/USDT"), health(SourceState::Connected));
        let concerned = sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Reconnecting));
        assert_eq!(concerned, [trades("BTC/USDT")]);
        assert_eq!(state(&sources, "BTC/USDT"), Some(SourceState::Reconnecting));
        sources.subscription(&trades("BTC/USDT"), health(SourceState::Connected));
        assert_eq!(state(&sources, "BTC/USDT"), Some(SourceState::Connected));
    }

    #[test]
    fn what_a_venue_refuses_is_lacking_where_it_is_taken_and_says_nothing_of_the_rest() {
        let mut sources = sources(&["BTC/USDT", "FOO/USDT"]);
        sources.subscription(&trades("BTC/USDT"), health(SourceState::Connected));
        sources.subscription(&trades("FOO/USDT"), health(SourceState::Refused));
        assert_eq!(sources.venue(Venue::Okx).map(|(state, _)| state), Some(SourceState::Connected));
        assert_eq!(sources.missing(&trades("FOO/USDT").instrument), Some(UnixNanos::EPOCH));
        assert_eq!(state(&sources, "FOO/USDT"), Some(SourceState::Refused));
    }

    #[test]
    fn what_a_venue_does_not_list_says_nothing_of_the_venue() {
        let mut sources = sources(&["FOO/USDT"]);
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Connected));
        sources.subscription(&trades("FOO/USDT"), health(SourceState::Unavailable));
        assert_eq!(sources.venue(Venue::Okx).map(|(state, _)| state), Some(SourceState::Connected));
        assert_eq!(state(&sources, "FOO/USDT"), Some(SourceState::Unavailable));
        assert_eq!(sources.missing(&trades("FOO/USDT").instrument), Some(UnixNanos::EPOCH));
        sources.drop(&trades("FOO/USDT"));
        assert_eq!(sources.missing(&trades("FOO/USDT").instrument), None);
    }

    #[test]
    fn a_venue_is_as_its_worst_source_and_well_again_with_it() {
        let mut sources = sources(&["A/USDT", "B/USDT"]);
        let venue = |sources: &Sources| sources.venue(Venue::Okx).map(|(state, _)| state);
        sources.subscription(&trades("A/USDT"), health(SourceState::Connected));
        sources.subscription(&trades("B/USDT"), health(SourceState::Stale));
        assert_eq!(venue(&sources), Some(SourceState::Stale));
        sources.subscription(&trades("B/USDT"), health(SourceState::Connected));
        assert_eq!(venue(&sources), Some(SourceState::Connected));
        sources.drop(&trades("A/USDT"));
        sources.drop(&trades("B/USDT"));
        assert_eq!(venue(&sources), None);
    }

    #[test]
    fn a_venue_is_connected_while_one_more_channel_begins_and_broken_when_that_breaks() {
        let mut sources = sources(&["A/USDT", "B/USDT"]);
        let venue = |sources: &Sources| sources.venue(Venue::Okx).map(|(state, _)| state);
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Connecting));
        sources.subscription(&trades("A/USDT"), health(SourceState::Connecting));
        assert_eq!(venue(&sources), Some(SourceState::Connecting), "nothing of it runs yet");
        sources.subscription(&trades("A/USDT"), health(SourceState::Connected));
        assert_eq!(venue(&sources), Some(SourceState::Connected));
        sources.subscription(&trades("B/USDT"), health(SourceState::Connecting));
        assert_eq!(venue(&sources), Some(SourceState::Connected));
        assert_eq!(state(&sources, "B/USDT"), Some(SourceState::Connecting), "who takes that waits for it");
        sources.subscription(&trades("B/USDT"), health(SourceState::Reconnecting));
        assert_eq!(venue(&sources), Some(SourceState::Reconnecting));
    }

    #[test]
    fn a_market_that_nobody_uses_any_more_says_nothing_of_its_venue() {
        let mut sources = sources(&["A/USDT"]);
        let venue = |sources: &Sources| sources.venue(Venue::Okx).map(|(state, _)| state);
        let perpetual = trades("A/USDT:USDT");
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Connected));
        sources.drop(&trades("A/USDT"));
        sources.want(&perpetual);
        sources.subscription(&perpetual, health(SourceState::Connecting));
        assert_eq!(venue(&sources), Some(SourceState::Connecting));
        sources.market(Venue::Okx, MarketType::Spot, health(SourceState::Failed));
        assert_eq!(venue(&sources), Some(SourceState::Connecting));
        sources.want(&trades("A/USDT"));
        assert_eq!(venue(&sources), Some(SourceState::Failed));
    }

    #[test]
    fn what_is_wanted_again_at_once_fares_as_it_did() {
        let mut sources = sources(&["A/USDT"]);
        sources.subscription(&trades("A/USDT"), health(SourceState::Connected));
        sources.drop(&trades("A/USDT"));
        assert!(!sources.subscription(&trades("A/USDT"), health(SourceState::Stale)), "nobody wants it");
        sources.want(&trades("A/USDT"));
        assert_eq!(state(&sources, "A/USDT"), Some(SourceState::Stale));
        sources.drop(&trades("A/USDT"));
        (0..2).for_each(|_| sources.forget_dropped());
        sources.want(&trades("A/USDT"));
        assert_eq!(state(&sources, "A/USDT"), None);
    }
}
