//! What one connection has asked of its venue, and what became of it.

use std::collections::{BTreeMap, HashMap};

use smol_str::SmolStr;

use super::{Decoded, Subscription};

/// Subscriptions and the venue's topics that serve them. One subscription may need several topics (best price and last price),
/// and one topic may serve several subscriptions (a ticker that carries the funding), so topics are asked for once and given up
/// with their last subscription.
#[derive(Default)]
pub(super) struct Ledger {
    wanted: HashMap<Subscription, Vec<SmolStr>>,
    topics: BTreeMap<SmolStr, Topic>,
    requests: HashMap<u64, Vec<SmolStr>>,
    last_request: u64,
    settled: Vec<Subscription>,
}

#[derive(Default)]
struct Topic {
    holders: Vec<Subscription>,
    accepted: bool,
}

impl Ledger {
    /// Notes that `subscription` needs `topics`, and gives those that have to be asked for. Without topics there is nothing that
    /// the venue could accept.
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

    /// Notes that `subscription` ends, and gives the topics that nothing needs any more.
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

    /// The id of a message that asks for `topics`.
    pub(super) fn request(&mut self, topics: &[SmolStr]) -> u64 {
        self.last_request += 1;
        if !topics.is_empty() {
            self.requests.insert(self.last_request, topics.to_vec());
        }
        self.last_request
    }

    /// The venue accepted everything that message `id` asked for: the subscriptions that are complete with it.
    pub(super) fn accept_request(&mut self, id: u64) -> Vec<Subscription> {
        let topics = self.requests.remove(&id).unwrap_or_default();
        let mut complete: Vec<_> = topics.iter().flat_map(|topic| self.accept(topic)).collect();
        complete.sort();
        complete.dedup();
        complete
    }

    /// The venue accepted `topic`: the subscriptions that are complete with it.
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

    /// The venue refused everything that message `id` asked for: the subscriptions that lack something now.
    pub(super) fn refuse_request(&mut self, id: u64) -> Vec<Subscription> {
        let topics = self.requests.remove(&id).unwrap_or_default();
        let mut lacking: Vec<_> = topics.iter().flat_map(|topic| self.refuse(topic)).collect();
        lacking.sort();
        lacking.dedup();
        lacking
    }

    /// The venue refused `topic`: the subscriptions that lack it now.
    pub(super) fn refuse(&mut self, topic: &str) -> Vec<Subscription> {
        self.topics.remove(topic).map(|entry| entry.holders).unwrap_or_default()
    }

    /// The topics that were asked for and neither accepted nor refused.
    pub(super) fn open(&self) -> impl Iterator<Item = &SmolStr> {
        self.topics.iter().filter(|(_, entry)| !entry.accepted).map(|(topic, _)| topic)
    }

    /// Tells of subscriptions that needed nothing new: what serves them was accepted before.
    pub(super) fn settle(&mut self, out: &mut Vec<Decoded>) {
        if !self.settled.is_empty() {
            out.push(Decoded::Acknowledged(std::mem::take(&mut self.settled)));
        }
    }
}
