//! Desired state: what streams and feeds want of venues, and which topics must run for it.
//!
//! All of it is counted, so that a change costs what it changes and not what there is. What has changed is gathered, and taken by the engine
//! once for all that it was told in one turn.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::Channel;
use bond_core::feed::FeedFilter;
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::time::UnixNanos;
use bond_core::topic::{MarketTopic, StreamId, Topic};
use smol_str::SmolStr;

use super::owners::Owners;
use super::plan::{MarketNeed, StreamPlan};
use super::subscriptions::Subscriptions;
use crate::venue::Subscription;

/// The most topics that run at one time, streams left out. Beyond it, none begins before another has ended: a feed that wants one gets it
/// with the first renewal of its lease after that.
pub(super) const MOST_TOPICS: usize = 100_000;

/// The most feeds whose wishes are held. Beyond it, a new feed makes nothing run before another has gone.
pub(super) const MOST_FEEDS: usize = 200_000;

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

    /// Whether the market of `instrument` is served.
    fn serves(&self, instrument: &Instrument) -> bool {
        self.markets.contains(&(instrument.venue, instrument.symbol.market()))
    }
}

/// What has changed in what must run, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A topic runs from here on.
    Began(Topic),
    /// A topic has run on for long enough without being wanted.
    Ended(Topic),
}

/// What feeds without symbols want of a venue: the form in which they take what streams receive there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    venue: Venue,
    channel: Channel,
    /// Levels a side, of order books.
    depth: Option<u16>,
    raw: bool,
}

impl Form {
    fn topic(self, instrument: &Instrument) -> Topic {
        let Self { channel, depth, raw, .. } = self;
        if raw {
            return Topic::Raw(instrument.clone());
        }
        Topic::Market(MarketTopic { channel, instrument: instrument.clone(), depth })
    }
}

/// What one feed wants, and until when.
#[derive(Debug)]
struct Lease {
    owner: Option<SmolStr>,
    filter: FeedFilter,
    topics: BTreeSet<Topic>,
    forms: Vec<Form>,
    until: UnixNanos,
    /// Whether some of its topics found no room.
    lacks: bool,
}

/// A topic that runs.
#[derive(Debug, Default)]
struct Running {
    /// How many times it is wanted.
    wanted: usize,
    /// Until when it runs on while nobody wants it.
    until: Option<UnixNanos>,
}

/// Who wants what.
#[derive(Debug, Default)]
pub(super) struct Desired {
    scope: Scope,
    streams: BTreeMap<StreamId, (Arc<StreamPlan>, UnixNanos)>,
    feeds: HashMap<SmolStr, Lease>,
    owners: Owners,
    /// Leases by their end.
    ends: BTreeSet<(UnixNanos, SmolStr)>,
    /// How many feeds without symbols there are of each form.
    forms: BTreeMap<Form, usize>,
    /// What streams receive of each venue, and how many of them do.
    received: BTreeMap<(Venue, Channel), BTreeMap<Arc<Instrument>, usize>>,
    /// The topics that run for feeds without symbols because streams receive them.
    for_forms: BTreeMap<Topic, usize>,
    running: HashMap<Topic, Running>,
    /// Topics that run on though nobody wants them, by their end.
    lingering: BTreeSet<(UnixNanos, Topic)>,
    assets: BTreeMap<SmolStr, usize>,
    subscriptions: Subscriptions,
    changes: Vec<Change>,
}

impl Desired {
    /// Nothing is wanted yet; of venues no more than `most` subscriptions will be.
    pub(super) fn new(scope: Scope, most: usize) -> Self {
        Self { scope, subscriptions: Subscriptions::new(most), ..Self::default() }
    }

    /// The streams that are not `wanted`, or were created anew since.
    pub(super) fn gone(&self, wanted: &BTreeMap<StreamId, UnixNanos>) -> Vec<StreamId> {
        let gone = |id: &StreamId, created_at: &UnixNanos| wanted.get(id) != Some(created_at);
        self.streams.iter().filter(|(id, (_, at))| gone(id, at)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether the stream runs.
    pub(super) fn has_stream(&self, id: &StreamId) -> bool {
        self.streams.contains_key(id)
    }

    /// Adds a stream that was created at `created_at`.
    pub(super) fn add_stream(&mut self, plan: Arc<StreamPlan>, created_at: UnixNanos) {
        for asset in &plan.assets {
            *self.assets.entry(asset.clone()).or_default() += 1;
        }
        for need in &plan.market {
            self.subscriptions.want(need.subscription());
            self.receive(need);
        }
        self.streams.insert(plan.id.clone(), (plan, created_at));
    }

    /// Drops a stream.
    pub(super) fn remove_stream(&mut self, id: &StreamId, now: UnixNanos) {
        let Some((plan, _)) = self.streams.remove(id) else { return };
        for asset in &plan.assets {
            count_down(&mut self.assets, asset);
        }
        for need in &plan.market {
            self.subscriptions.drop(&need.subscription());
            self.receive_no_more(need, now);
        }
    }

    /// What a stream receives runs for the feeds without symbols too, in the forms they take.
    fn receive(&mut self, need: &MarketNeed) {
        let place = (need.instrument.venue, need.channel);
        let count = self.received.entry(place).or_default().entry(Arc::clone(&need.instrument)).or_default();
        *count += 1;
        if *count == 1 {
            self.forms_at(place).for_each(|form| self.want_for_forms(form.topic(&need.instrument)));
        }
    }

    fn receive_no_more(&mut self, need: &MarketNeed, now: UnixNanos) {
        let place = (need.instrument.venue, need.channel);
        let Some(received) = self.received.get_mut(&place) else { return };
        if count_down(received, &need.instrument) {
            self.forms_at(place).for_each(|form| self.unwant_for_forms(&form.topic(&need.instrument), now));
        }
    }

    fn forms_at(&self, (venue, channel): (Venue, Channel)) -> std::vec::IntoIter<Form> {
        let forms = self.forms.keys().filter(|form| (form.venue, form.channel) == (venue, channel));
        forms.copied().collect::<Vec<_>>().into_iter()
    }

    /// Takes or renews a feed's lease.
    pub(super) fn lease(
        &mut self,
        connection: SmolStr,
        owner: Option<SmolStr>,
        filter: FeedFilter,
        until: UnixNanos,
        now: UnixNanos,
    ) {
        if self.renew(&connection, &filter, until) {
            return;
        }
        if self.feeds.len() >= MOST_FEEDS && !self.feeds.contains_key(&connection) {
            return tracing::warn!(most = MOST_FEEDS, "a feed makes nothing run: there are too many");
        }
        let mut lease = self.lease_of(owner, filter, until);
        let count = lease.topics.len();
        // What is wanted before and after must not end in between.
        lease.topics.retain(|topic| self.want_for(lease.owner.as_ref(), topic));
        lease.lacks = lease.topics.len() < count;
        lease.forms.iter().for_each(|form| self.take_form(*form));
        self.release(&connection, now);
        self.ends.insert((until, connection.clone()));
        self.feeds.insert(connection, lease);
    }

    /// Whether nothing else is wanted than before, and all of that was to be had.
    fn renew(&mut self, connection: &SmolStr, filter: &FeedFilter, until: UnixNanos) -> bool {
        let same = |known: &&mut Lease| known.filter == *filter && !known.lacks;
        let Some(known) = self.feeds.get_mut(connection).filter(same) else { return false };
        self.ends.remove(&(known.until, connection.clone()));
        known.until = until;
        self.ends.insert((until, connection.clone()));
        true
    }

    /// Drops a feed's lease.
    pub(super) fn release(&mut self, connection: &str, now: UnixNanos) {
        let Some(lease) = self.feeds.remove(connection) else { return };
        self.ends.remove(&(lease.until, connection.into()));
        for topic in &lease.topics {
            self.owners.give_back(lease.owner.as_ref(), topic);
            self.unwant(topic, now);
        }
        lease.forms.iter().for_each(|form| self.drop_form(*form, now));
    }

    /// What a filter wants: topics of its symbols, or of those that `*` stands for, and then also what streams receive.
    fn lease_of(&self, owner: Option<SmolStr>, filter: FeedFilter, until: UnixNanos) -> Lease {
        let venues = self.scope.venues();
        let wanted = filter.wanted(&venues, &self.scope.feed_symbols).into_iter();
        let mut topics = BTreeSet::new();
        for topic in wanted.filter(|topic| self.scope.serves(&topic.instrument)) {
            if filter.raw {
                topics.insert(Topic::Raw(topic.instrument.clone()));
            }
            topics.insert(Topic::Market(topic));
        }
        let forms = if filter.symbols.is_empty() { forms(&filter, &venues) } else { Vec::new() };
        Lease { owner, filter, topics, forms, until, lacks: false }
    }

    /// Whether it runs for a feed of `owner`.
    fn want_for(&mut self, owner: Option<&SmolStr>, topic: &Topic) -> bool {
        if !self.owners.take(owner, topic) {
            return false;
        }
        let runs = self.want(topic.clone());
        if !runs {
            self.owners.give_back(owner, topic);
        }
        runs
    }

    fn take_form(&mut self, form: Form) {
        let count = self.forms.entry(form).or_default();
        *count += 1;
        if *count == 1 {
            self.received_in(form).iter().for_each(|instrument| self.want_for_forms(form.topic(instrument)));
        }
    }

    fn drop_form(&mut self, form: Form, now: UnixNanos) {
        if count_down(&mut self.forms, &form) {
            let received = self.received_in(form);
            received.iter().for_each(|instrument| self.unwant_for_forms(&form.topic(instrument), now));
        }
    }

    fn want_for_forms(&mut self, topic: Topic) {
        if self.want(topic.clone()) {
            *self.for_forms.entry(topic).or_default() += 1;
        }
    }

    fn unwant_for_forms(&mut self, topic: &Topic, now: UnixNanos) {
        if self.for_forms.contains_key(topic) {
            count_down(&mut self.for_forms, topic);
            self.unwant(topic, now);
        }
    }

    fn received_in(&self, form: Form) -> Vec<Arc<Instrument>> {
        let received = self.received.get(&(form.venue, form.channel));
        received.into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// Takes over topics that ran under an earlier writer: they run on for as long as topics do that nobody wants any more.
    pub(super) fn inherit(&mut self, topics: impl IntoIterator<Item = Topic>, now: UnixNanos) {
        for topic in topics {
            if self.want(topic.clone()) {
                self.unwant(&topic, now);
            }
        }
    }

    /// Whether it runs.
    fn want(&mut self, topic: Topic) -> bool {
        let is_full = self.running.len() >= MOST_TOPICS;
        match self.running.entry(topic) {
            Entry::Occupied(mut known) => {
                let running = known.get_mut();
                running.wanted += 1;
                if let Some(until) = running.until.take() {
                    self.lingering.remove(&(until, known.key().clone()));
                }
            }
            Entry::Vacant(_) if is_full => return false,
            Entry::Vacant(place) => {
                self.changes.push(Change::Began(place.key().clone()));
                let needed = subscription(place.key()).filter(|s| self.scope.serves(&s.instrument));
                needed.into_iter().for_each(|subscription| self.subscriptions.want(subscription));
                place.insert(Running { wanted: 1, until: None });
            }
        }
        true
    }

    fn unwant(&mut self, topic: &Topic, now: UnixNanos) {
        let Some(running) = self.running.get_mut(topic) else { return };
        running.wanted = running.wanted.saturating_sub(1);
        if running.wanted == 0 && running.until.is_none() {
            let until = now.plus(self.scope.linger);
            running.until = Some(until);
            self.lingering.insert((until, topic.clone()));
        }
    }

    /// Ends what has lapsed by `now`: leases that were not renewed, and topics that nobody has wanted for long enough.
    pub(super) fn lapse(&mut self, now: UnixNanos) {
        while let Some((until, connection)) = self.ends.first().filter(|(until, _)| *until <= now).cloned() {
            // It would have run on from the lease's end, however late that is noticed.
            self.release(&connection, until);
        }
        while self.lingering.first().is_some_and(|(until, _)| *until <= now) {
            let Some((_, topic)) = self.lingering.pop_first() else { return };
            self.running.remove(&topic);
            let needed = subscription(&topic).filter(|s| self.scope.serves(&s.instrument));
            needed.iter().for_each(|subscription| self.subscriptions.drop(subscription));
            self.changes.push(Change::Ended(topic));
        }
    }

    /// The assets whose posts are wanted.
    pub(super) fn assets(&self) -> BTreeSet<SmolStr> {
        self.assets.keys().cloned().collect()
    }

    /// What is wanted of venues.
    pub(super) const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// What has changed since the last call: in topics, in order, and in subscriptions.
    pub(super) fn take_changes(&mut self) -> (Vec<Change>, HashSet<Subscription>) {
        (std::mem::take(&mut self.changes), self.subscriptions.take_touched())
    }
}

fn forms(filter: &FeedFilter, served: &BTreeSet<Venue>) -> Vec<Form> {
    let venues = served.iter().filter(|venue| filter.venues.is_empty() || filter.venues.contains(venue));
    let places = venues.flat_map(|venue| filter.channels().map(move |channel| (*venue, channel)));
    let forms = places.flat_map(|(venue, channel)| {
        let depth = (channel == Channel::OrderBook).then_some(filter.depth);
        [Form { venue, channel, depth, raw: false }, Form { venue, channel, depth: None, raw: true }]
    });
    forms.filter(|form| filter.raw || !form.raw).collect()
}

/// Whether the last one was counted.
pub(super) fn count_down<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) -> bool {
    let Some(count) = counts.get_mut(key) else { return false };
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        counts.remove(key);
    }
    is_last
}

/// What a topic needs of its venue. Raw frames come with the other channels of the instrument.
fn subscription(topic: &Topic) -> Option<Subscription> {
    match topic {
        Topic::Market(topic) => {
            Some(Subscription { instrument: Arc::new(topic.instrument.clone()), channel: topic.channel })
        }
        Topic::Stream(_) | Topic::Raw(_) | Topic::Published(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::owners::MOST_TOPICS_OF_OWNER;
    use super::*;

    fn scope() -> Scope {
        Scope {
            markets: [(Venue::Binance, MarketType::Spot), (Venue::Okx, MarketType::Perpetual)].into(),
            feed_symbols: [Symbol::parse("BTC/USDT").expect("symbol")].into(),
            linger: Duration::from_secs(60),
        }
    }

    fn wants() -> Desired {
        Desired::new(scope(), 100)
    }

    fn trades() -> FeedFilter {
        FeedFilter { channels: [Channel::Trades].into(), ..FeedFilter::default() }
    }

    fn at(seconds: i64) -> UnixNanos {
        UnixNanos::from_secs(seconds)
    }

    fn began(wants: &mut Desired) -> Vec<String> {
        let (changes, _) = wants.take_changes();
        let began = changes.iter().map(|change| match change {
            Change::Began(topic) => topic.to_string(),
            Change::Ended(topic) => format!("no more {topic}"),
        });
        began.collect()
    }

    fn stream(symbol: &str) -> Arc<StreamPlan> {
        let json = format!(
            r#"{{"sources":[{{"type":"market","symbols":["{symbol}"],"channels":["trades"],"exchanges":["binance"]}}]}}"#
        );
        let (spec, _) = bond_language::read_spec_bytes(json.as_bytes()).expect("spec");
        Arc::new(StreamPlan::new(spec, &scope().markets))
    }

    #[test]
    fn a_feed_without_symbols_runs_the_default_ones_on_configured_markets() {
        let mut wants = wants();
        wants.lease("a".into(), None, trades(), at(30), at(0));
        assert_eq!(began(&mut wants), ["trades.binance.BTC-USDT"]);
        assert_eq!(wants.subscriptions().len(), 1);
    }

    #[test]
    fn a_topic_runs_on_for_one_ring_after_its_last_lease() {
        let mut wants = wants();
        wants.lease("a".into(), None, trades(), at(30), at(0));
        wants.lapse(at(31));
        assert_eq!(wants.running.len(), 1, "lingers");
        wants.lapse(at(91));
        assert_eq!((wants.running.len(), wants.subscriptions().len()), (0, 0));
        assert_eq!(began(&mut wants), ["trades.binance.BTC-USDT", "no more trades.binance.BTC-USDT"]);
    }

    #[test]
    fn a_renewed_lease_holds_and_changes_nothing() {
        let mut wants = wants();
        wants.lease("a".into(), None, trades(), at(30), at(0));
        began(&mut wants);
        wants.lease("a".into(), None, trades(), at(60), at(20));
        wants.lapse(at(31));
        assert_eq!(wants.feeds.len(), 1);
        assert!(wants.lingering.is_empty() && wants.take_changes().0.is_empty());
    }

    #[test]
    fn what_an_owner_has_no_room_for_runs_with_the_renewal_after_there_is_some() {
        let mut wants = wants();
        let named = |from: usize, to: usize| FeedFilter {
            symbols: (from..to).map(|n| Symbol::parse(&format!("A{n}/USDT")).expect("symbol")).collect(),
            venues: [Venue::Binance].into(),
            ..trades()
        };
        let ann = || Some(SmolStr::new("ann"));
        wants.lease("many".into(), ann(), named(0, MOST_TOPICS_OF_OWNER), at(30), at(0));
        wants.lease("more".into(), ann(), named(9_999, 10_000), at(30), at(0));
        assert_eq!(began(&mut wants).len(), MOST_TOPICS_OF_OWNER);
        wants.lease("bob's".into(), Some("bob".into()), named(9_998, 9_999), at(30), at(0));
        assert_eq!(began(&mut wants), ["trades.binance.A9998-USDT"]);
        wants.release("many", at(1));
        wants.lease("more".into(), ann(), named(9_999, 10_000), at(40), at(10));
        assert_eq!(began(&mut wants), ["trades.binance.A9999-USDT"]);
    }

    #[test]
    fn a_feed_without_symbols_takes_what_streams_receive_and_nothing_that_feeds_name() {
        let mut wants = wants();
        wants.lease("all".into(), None, trades(), at(30), at(0));
        began(&mut wants);
        let named = FeedFilter {
            channels: [Channel::Ticker].into(),
            symbols: [Symbol::parse("NOSUCH/USDT").expect("symbol")].into(),
            ..FeedFilter::default()
        };
        wants.lease("named".into(), None, named, at(30), at(0));
        assert_eq!(began(&mut wants), ["ticker.binance.NOSUCH-USDT"]);
        let plan = stream("DOGE/USDT");
        wants.add_stream(Arc::clone(&plan), at(0));
        assert_eq!(began(&mut wants), ["trades.binance.DOGE-USDT"]);
        wants.remove_stream(&plan.id, at(1));
        assert_eq!(wants.lingering.len(), 1);
        wants.add_stream(plan, at(2));
        assert_eq!((wants.lingering.len(), wants.take_changes().0.len()), (0, 0), "it ran on");
    }

    #[test]
    fn a_feed_that_comes_after_a_stream_takes_what_it_receives() {
        let mut wants = wants();
        wants.add_stream(stream("DOGE/USDT"), at(0));
        assert!(began(&mut wants).is_empty());
        wants.lease("all".into(), None, FeedFilter { raw: true, ..trades() }, at(30), at(0));
        let began: BTreeSet<String> = began(&mut wants).into_iter().collect();
        let both =
            ["raw", "trades"].map(|form| ["BTC", "DOGE"].map(|base| format!("{form}.binance.{base}-USDT")));
        assert_eq!(began, both.into_iter().flatten().collect());
        wants.release("all", at(1));
        assert_eq!(wants.lingering.len(), 4);
    }
}
