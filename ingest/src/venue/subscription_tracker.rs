//! Tracks what one connection has requested from its venue, and what the venue has answered.

use std::collections::{BTreeMap, HashMap};

use smol_str::SmolStr;

use super::{Decoded, Subscription};

/// The most unanswered messages that are remembered. Beyond it the oldest is forgotten, and its subscriptions run into their deadlines.
const MAX_REQUESTS: usize = 256;

/// How many times per connection a refused message is split in halves to find the refused topic. Beyond it, everything that a message
/// requested counts as refused, and is requested again one by one later.
const MAX_SPLITS: u32 = 128;

/// The consequences of a refused message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The subscriptions that are refused, since one of their topics is.
    pub(super) lacking: Vec<Subscription>,
    /// Topics to request again, one message for each list.
    pub(super) apart: Vec<Vec<SmolStr>>,
}

/// Subscriptions and the venue's topics that serve them. One subscription may need several topics (best price and last price), and one
/// topic may serve several subscriptions (a ticker that carries the funding). So a topic is requested once, and given up with its last
/// subscription.
#[derive(Default)]
pub(super) struct SubscriptionTracker {
    wanted: HashMap<Subscription, Vec<SmolStr>>,
    topics: BTreeMap<SmolStr, Topic>,
    requests: BTreeMap<u64, Vec<SmolStr>>,
    last_request: u64,
    splits: u32,
    settled: Vec<Subscription>,
}

#[derive(Default)]
struct Topic {
    holders: Vec<Subscription>,
    accepted: bool,
}

impl SubscriptionTracker {
    /// Records that `subscription` needs `topics`, and returns those that have to be requested. A subscription without topics is never
    /// accepted.
    pub(super) fn want(&mut self, subscription: &Subscription, topics: Vec<SmolStr>) -> Vec<SmolStr> {
        if topics.is_empty() {
            return topics;
        }
        let fresh = topics.iter().filter(|topic| self.hold(topic, subscription)).cloned().collect();
        self.wanted.insert(subscription.clone(), topics);
        if self.is_accepted(subscription) {
            self.settled.push(subscription.clone());
        }
        fresh
    }

    fn hold(&mut self, topic: &SmolStr, subscription: &Subscription) -> bool {
        let fresh = !self.topics.contains_key(topic);
        let holders = &mut self.topics.entry(topic.clone()).or_default().holders;
        if !holders.contains(subscription) {
            holders.push(subscription.clone());
        }
        fresh
    }

    /// Records that these subscriptions are requested once more, and returns their topics, also those that others need.
    pub(super) fn want_again(&mut self, subscriptions: &[Subscription]) -> Vec<SmolStr> {
        let mut again = Vec::new();
        for subscription in subscriptions {
            for topic in self.wanted.get(subscription).cloned().unwrap_or_default() {
                self.hold(&topic, subscription);
                if let Some(entry) = self.topics.get_mut(&topic) {
                    entry.accepted = false;
                }
                again.push(topic);
            }
        }
        again.sort_unstable();
        again.dedup();
        again
    }

    /// Records that `subscription` ends, and returns the topics that no other subscription needs.
    pub(super) fn give_up(&mut self, subscription: &Subscription) -> Vec<SmolStr> {
        let topics = self.wanted.remove(subscription).unwrap_or_default();
        self.settled.retain(|settled| settled != subscription);
        topics.into_iter().filter(|topic| self.release(topic, subscription)).collect()
    }

    fn release(&mut self, topic: &SmolStr, subscription: &Subscription) -> bool {
        let Some(entry) = self.topics.get_mut(topic) else { return false };
        entry.holders.retain(|holder| holder != subscription);
        let unused = entry.holders.is_empty();
        if unused {
            self.topics.remove(topic);
        }
        unused
    }

    /// Records a message that requests `topics`, and returns its id.
    pub(super) fn request(&mut self, topics: &[SmolStr]) -> u64 {
        self.last_request += 1;
        if !topics.is_empty() {
            self.requests.insert(self.last_request, topics.to_vec());
            if self.requests.len() > MAX_REQUESTS {
                self.requests.pop_first();
            }
        }
        self.last_request
    }

    /// Records that the venue accepted everything that message `id` requested. Returns the subscriptions that are complete now.
    pub(super) fn accept_request(&mut self, id: u64) -> Vec<Subscription> {
        let topics = self.requests.remove(&id).unwrap_or_default();
        let mut complete: Vec<_> = topics.iter().flat_map(|topic| self.accept(topic)).collect();
        complete.sort();
        complete.dedup();
        complete
    }

    /// Records that the venue accepted `topic`. Returns the subscriptions that are complete now.
    pub(super) fn accept(&mut self, topic: &str) -> Vec<Subscription> {
        let Some(entry) = self.topics.get_mut(topic) else { return Vec::new() };
        entry.accepted = true;
        let holders = entry.holders.clone();
        holders.into_iter().filter(|holder| self.is_accepted(holder)).collect()
    }

    fn is_accepted(&self, subscription: &Subscription) -> bool {
        let accepted = |topic: &SmolStr| self.topics.get(topic).is_some_and(|entry| entry.accepted);
        self.wanted.get(subscription).is_some_and(|topics| topics.iter().all(accepted))
    }

    /// Records that the venue refused message `id` as a whole. Topics that the venue's text names are refused, and the others are requested
    /// again. If the text names none, each half of the topics is requested again, until a refused message contains a single topic.
    pub(super) fn refuse_request(&mut self, id: u64, named: impl Fn(&str) -> bool) -> Refusal {
        let asked = self.requests.remove(&id).unwrap_or_default();
        let open: Vec<_> = asked.into_iter().filter(|topic| self.is_open(topic)).collect();
        let (refused, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|topic| named(topic));
        if !refused.is_empty() {
            let apart = if rest.is_empty() { Vec::new() } else { vec![rest] };
            return Refusal { lacking: self.refuse_all(&refused), apart };
        }
        if rest.len() < 2 || self.splits == MAX_SPLITS {
            return Refusal { lacking: self.refuse_all(&rest), apart: Vec::new() };
        }
        self.splits += 1;
        let halves = rest.chunks(rest.len().div_ceil(2)).map(<[SmolStr]>::to_vec).collect();
        Refusal { lacking: Vec::new(), apart: halves }
    }

    fn is_open(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|entry| !entry.accepted)
    }

    fn refuse_all(&mut self, topics: &[SmolStr]) -> Vec<Subscription> {
        let mut lacking: Vec<_> = topics.iter().flat_map(|topic| self.refuse(topic)).collect();
        lacking.sort();
        lacking.dedup();
        lacking
    }

    /// Records that the venue refused `topic`. Returns the subscriptions that need it.
    pub(super) fn refuse(&mut self, topic: &str) -> Vec<Subscription> {
        self.topics.remove(topic).map(|entry| entry.holders).unwrap_or_default()
    }

    /// Whether message `id` is not completely answered yet.
    pub(super) fn awaits(&self, id: u64) -> bool {
        self.requests.contains_key(&id)
    }

    /// The topics that were requested and neither accepted nor refused.
    pub(super) fn open(&self) -> impl Iterator<Item = &SmolStr> {
        self.topics.iter().filter(|(_, entry)| !entry.accepted).map(|(topic, _)| topic)
    }

    /// Reports subscriptions that are complete because all their topics had been accepted before.
    pub(super) fn settle(&mut self, out: &mut Vec<Decoded>) {
        if !self.settled.is_empty() {
            out.push(Decoded::Acknowledged(std::mem::take(&mut self.settled)));
        }
    }
}

impl Refusal {
    /// Reports the refusal. `texts` are the messages that request the lists in `apart`.
    pub(super) fn report(self, texts: Vec<String>, reason: String, out: &mut impl FnMut(Decoded)) {
        let names_nothing = self.lacking.is_empty() && texts.is_empty();
        if !self.lacking.is_empty() || names_nothing {
            out(Decoded::Refused { subscriptions: self.lacking, reason: reason.clone() });
        }
        if !texts.is_empty() {
            out(Decoded::AskApart { texts, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use bond_core::event::Channel;
    use bond_core::instrument::{Instrument, Symbol, Venue};

    use super::*;

    fn trades(name: &str) -> Subscription {
        let symbol = Symbol::parse(&format!("{name}/USDT")).expect("symbol");
        Subscription { instrument: Instrument::shared(Venue::Bybit, symbol), channel: Channel::Trades }
    }

    /// A ledger that has asked for the trades of so many in one message.
    fn asked(count: usize) -> (SubscriptionTracker, u64, Vec<SmolStr>) {
        let mut ledger = SubscriptionTracker::default();
        let topics: Vec<SmolStr> = (0..count).map(|n| format!("T{n:03}").into()).collect();
        for topic in &topics {
            ledger.want(&trades(topic), vec![topic.clone()]);
        }
        let id = ledger.request(&topics);
        (ledger, id, topics)
    }

    /// Asks until all is answered by a venue that refuses a whole message for one of `dead`, and names none; how many messages that
    /// took, and what was refused.
    fn search(dead: &[&str], count: usize) -> (usize, Vec<Subscription>, SubscriptionTracker) {
        let (mut ledger, id, topics) = asked(count);
        let (mut messages, mut refused) = (vec![(id, topics)], Vec::new());
        let mut sent = 0;
        while let Some((id, topics)) = messages.pop() {
            sent += 1;
            if !topics.iter().any(|topic| dead.contains(&topic.as_str())) {
                ledger.accept_request(id);
                continue;
            }
            let refusal = ledger.refuse_request(id, |_| false);
            refused.extend(refusal.lacking);
            messages.extend(refusal.apart.into_iter().map(|apart| (ledger.request(&apart), apart)));
        }
        (sent, refused, ledger)
    }

    #[test]
    fn one_refused_topic_costs_itself() {
        let (mut ledger, id, topics) = asked(4);
        let refusal = ledger.refuse_request(id, |topic| topic == "T001");
        assert_eq!(refusal.lacking, [trades("T001")]);
        assert_eq!(refusal.apart, [[topics[0].clone(), topics[2].clone(), topics[3].clone()]]);
        let (sent, refused, ledger) = search(&["T077"], 200);
        assert_eq!(refused, [trades("T077")]);
        assert!(sent <= 17, "{sent} messages");
        assert_eq!(ledger.open().count(), 0);
    }

    #[test]
    fn a_venue_that_refuses_everything_is_not_asked_for_ever() {
        let (_, _, topics) = asked(600);
        let all: Vec<&str> = topics.iter().map(SmolStr::as_str).collect();
        let (sent, refused, ledger) = search(&all, 600);
        assert!(sent <= 1 + 2 * MAX_SPLITS as usize, "{sent} messages");
        assert_eq!((refused.len(), ledger.open().count()), (600, 0));
    }

    #[test]
    fn messages_that_are_never_answered_are_forgotten() {
        let (mut ledger, first, topics) = asked(1);
        for _ in 0..MAX_REQUESTS {
            ledger.request(&topics);
        }
        assert!(!ledger.awaits(first) && ledger.awaits(first + 1));
    }

    #[test]
    fn a_topic_that_is_shared_is_asked_for_again() {
        let mut ledger = SubscriptionTracker::default();
        let (ticker, other) = (trades("AAA"), trades("BBB"));
        ledger.want(&ticker, vec!["tickers.A".into()]);
        ledger.want(&other, vec!["tickers.A".into()]);
        ledger.accept("tickers.A");
        assert_eq!(ledger.want_again(std::slice::from_ref(&ticker)), ["tickers.A"]);
        assert_eq!(ledger.accept("tickers.A"), [ticker, other]);
    }
}
