//! Desired state: what streams and feeds want of venues, and which topics must run for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bond_core::feed::FeedFilter;
use bond_core::instrument::{MarketType, Symbol, Venue};
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use smol_str::SmolStr;

use super::plan::StreamPlan;
use crate::venue::Subscription;

/// What this process can serve, and what `*` stands for.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    /// The configured markets.
    pub(super) markets: BTreeSet<(Venue, MarketType)>,
    /// The symbols a feed without symbols makes run, besides those that run anyway.
    pub(super) feed_symbols: BTreeSet<Symbol>,
    /// How long a topic runs on when nobody wants it.
    pub(super) linger: Duration,
}

impl Scope {
    fn venues(&self) -> BTreeSet<Venue> {
        self.markets.iter().map(|(venue, _)| *venue).collect()
    }
}

/// Everything wanted at one time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Desired {
    /// What to receive from venues.
    pub(super) subscriptions: BTreeSet<Subscription>,
    /// Which topics to publish, streams left out.
    pub(super) topics: BTreeSet<Topic>,
    /// Whose posts to receive.
    pub(super) assets: BTreeSet<SmolStr>,
}

/// Who wants what.
#[derive(Debug, Default)]
pub(super) struct Wants {
    streams: BTreeMap<StreamId, (Arc<StreamPlan>, UnixNanos)>,
    feeds: BTreeMap<SmolStr, (FeedFilter, UnixNanos)>,
    /// Topics that run on though nobody wants them, and until when.
    lingering: BTreeMap<Topic, UnixNanos>,
    running: BTreeSet<Topic>,
}

impl Wants {
    /// Drops the streams that are not `wanted`, or were created anew since, and names them.
    pub(super) fn retain_streams(&mut self, wanted: &BTreeMap<StreamId, UnixNanos>) -> Vec<StreamId> {
        let gone = |id: &StreamId, created_at: &UnixNanos| wanted.get(id) != Some(created_at);
        let gone: Vec<_> =
            self.streams.iter().filter(|(id, (_, at))| gone(id, at)).map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| drop(self.streams.remove(id)));
        gone
    }

    /// Whether the stream runs.
    pub(super) fn has_stream(&self, id: &StreamId) -> bool {
        self.streams.contains_key(id)
    }

    /// Adds a stream that was created at `created_at`.
    pub(super) fn add_stream(&mut self, plan: Arc<StreamPlan>, created_at: UnixNanos) {
        self.streams.insert(plan.id.clone(), (plan, created_at));
    }

    /// Takes or renews a feed's lease. Whether what is wanted may have changed by it.
    pub(super) fn lease(&mut self, connection: SmolStr, filter: FeedFilter, until: UnixNanos) -> bool {
        let known = self.feeds.get(&connection).is_some_and(|(known, _)| *known == filter);
        self.feeds.insert(connection, (filter, until));
        !known
    }

    /// Drops a feed's lease.
    pub(super) fn release(&mut self, connection: &str) {
        self.feeds.remove(connection);
    }

    /// Takes over topics that ran under an earlier writer: they run on for as long as topics do that nobody wants any more.
    pub(super) fn inherit(&mut self, topics: impl IntoIterator<Item = Topic>) {
        self.running.extend(topics);
    }

    /// The topics that run, streams left out.
    pub(super) const fn topics(&self) -> &BTreeSet<Topic> {
        &self.running
    }

    /// What is wanted at `now`, lingering topics included, and the topics that have ended since the last call.
    pub(super) fn resolve(&mut self, scope: &Scope, now: UnixNanos) -> (Desired, Vec<Topic>) {
        self.feeds.retain(|_, (_, until)| *until > now);
        let mut desired = self.of_streams();
        desired.topics = self.of_feeds(scope);
        let ended = self.linger(&mut desired.topics, scope.linger, now);
        desired.subscriptions.extend(desired.topics.iter().filter_map(subscription));
        desired
            .subscriptions
            .retain(|s| scope.markets.contains(&(s.instrument.venue, s.instrument.symbol.market())));
        (desired, ended)
    }

    fn of_streams(&self) -> Desired {
        let mut desired = Desired::default();
        for (plan, _) in self.streams.values() {
            desired.assets.extend(plan.assets.iter().cloned());
            desired.subscriptions.extend(plan.market.iter().map(|need| Subscription {
                instrument: Arc::new(need.instrument.clone()),
                channel: need.channel,
            }));
        }
        desired
    }

    fn of_feeds(&self, scope: &Scope) -> BTreeSet<Topic> {
        let venues = scope.venues();
        let mut symbols = scope.feed_symbols.clone();
        symbols.extend(
            self.streams
                .values()
                .flat_map(|(plan, _)| plan.market.iter().map(|n| n.instrument.symbol.clone())),
        );
        symbols.extend(self.feeds.values().flat_map(|(filter, _)| filter.symbols.iter().cloned()));
        let mut topics = BTreeSet::new();
        for (filter, _) in self.feeds.values() {
            for topic in filter.wanted(&venues, &symbols) {
                if !scope.markets.contains(&(topic.instrument.venue, topic.instrument.symbol.market())) {
                    continue;
                }
                if filter.raw {
                    topics.insert(Topic::Raw(topic.instrument.clone()));
                }
                topics.insert(Topic::Market(topic));
            }
        }
        topics
    }

    /// Adds to `wanted` what lingers, and returns what has lingered long enough.
    fn linger(&mut self, wanted: &mut BTreeSet<Topic>, linger: Duration, now: UnixNanos) -> Vec<Topic> {
        for topic in self.running.difference(wanted) {
            self.lingering.entry(topic.clone()).or_insert_with(|| now.plus(linger));
        }
        self.lingering.retain(|topic, _| !wanted.contains(topic));
        let ended: Vec<_> = self
            .lingering
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(topic, _)| topic.clone())
            .collect();
        ended.iter().for_each(|topic| {
            self.lingering.remove(topic);
        });
        wanted.extend(self.lingering.keys().cloned());
        self.running.clone_from(wanted);
        ended
    }
}

/// What a topic needs of its venue. Raw frames come with the other channels of the instrument.
fn subscription(topic: &Topic) -> Option<Subscription> {
    match topic {
        Topic::Market(topic) => {
            Some(Subscription { instrument: Arc::new(topic.instrument.clone()), channel: topic.channel })
        }
        Topic::Stream(_) | Topic::Raw(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bond_core::event::Channel;

    use super::*;

    fn channels(subscriptions: &BTreeSet<Subscription>) -> Vec<(String, Channel)> {
        subscriptions.iter().map(|s| (s.instrument.to_string(), s.channel)).collect()
    }

    fn scope() -> Scope {
        Scope {
            markets: [(Venue::Binance, MarketType::Spot), (Venue::Okx, MarketType::Perpetual)].into(),
            feed_symbols: [Symbol::parse("BTC/USDT").expect("symbol")].into(),
            linger: Duration::from_secs(60),
        }
    }

    fn trades(connection: &str, until: i64) -> (SmolStr, FeedFilter, UnixNanos) {
        let filter = FeedFilter { channels: [Channel::Trades].into(), ..FeedFilter::default() };
        (connection.into(), filter, UnixNanos::from_secs(until))
    }

    #[test]
    fn a_feed_without_symbols_runs_the_default_ones_on_configured_markets() {
        let mut wants = Wants::default();
        let (connection, filter, until) = trades("a", 30);
        wants.lease(connection, filter, until);
        let (desired, ended) = wants.resolve(&scope(), UnixNanos::from_secs(1));
        assert_eq!(channels(&desired.subscriptions), [("binance:BTC/USDT".to_owned(), Channel::Trades)]);
        assert_eq!(ended, []);
    }

    #[test]
    fn a_topic_runs_on_for_one_ring_after_its_last_lease() {
        let mut wants = Wants::default();
        let (connection, filter, until) = trades("a", 30);
        wants.lease(connection, filter, until);
        wants.resolve(&scope(), UnixNanos::from_secs(1));
        let (desired, _) = wants.resolve(&scope(), UnixNanos::from_secs(31));
        assert_eq!(desired.topics.len(), 1, "lingers");
        let (desired, ended) = wants.resolve(&scope(), UnixNanos::from_secs(91));
        assert_eq!((desired.topics.len(), ended.len()), (0, 1));
    }
}
