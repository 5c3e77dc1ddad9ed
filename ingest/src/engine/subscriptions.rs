//! Counts who wants each subscription to a venue. Up to a bound, wanted subscriptions are made; the others wait.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::venue::Subscription;

/// Whether a wanted subscription is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskState {
    /// The subscription is made at its venue.
    Asked,
    /// The subscription is beyond the bound, and waits until another one ends.
    Beyond,
}

/// Subscriptions, each with the number of those who want it. Subscriptions beyond the bound wait. A new one never displaces an older one.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    most: usize,
    wanted: HashMap<Subscription, usize>,
    beyond: BTreeSet<Subscription>,
    touched: HashSet<Subscription>,
}

impl Subscriptions {
    /// No subscriptions, with a bound of `most` at one time.
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// Counts one more who wants the subscription.
    pub(super) fn want(&mut self, subscription: Subscription) {
        let is_full = self.wanted.len() - self.beyond.len() >= self.most;
        let count = self.wanted.entry(subscription.clone()).or_default();
        *count += 1;
        if *count == 1 {
            if is_full {
                self.beyond.insert(subscription.clone());
            }
            self.touched.insert(subscription);
        }
    }

    /// Counts one less who wants the subscription. If that was the last, the subscription ends, and one that waits takes its place.
    pub(super) fn drop(&mut self, subscription: &Subscription) {
        let Some(count) = self.wanted.get_mut(subscription) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.wanted.remove(subscription);
        self.touched.insert(subscription.clone());
        if !self.beyond.remove(subscription) {
            self.touched.extend(self.beyond.pop_first());
        }
    }

    /// Whether a subscription is made or waits; `None` if nobody wants it.
    pub(super) fn standing(&self, subscription: &Subscription) -> Option<AskState> {
        let is_beyond = || self.beyond.contains(subscription);
        let standing = || if is_beyond() { AskState::Beyond } else { AskState::Asked };
        self.wanted.contains_key(subscription).then(standing)
    }

    /// The subscriptions whose standing may have changed since the last call.
    pub(super) fn take_touched(&mut self) -> HashSet<Subscription> {
        std::mem::take(&mut self.touched)
    }

    /// The number of subscriptions that are made.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.wanted.len() - self.beyond.len()
    }
}

#[cfg(test)]
mod tests {
    use bond_core::event::Channel;
    use bond_core::instrument::{Instrument, Symbol, Venue};

    use super::*;

    fn trades(symbol: &str) -> Subscription {
        let symbol = Symbol::parse(symbol).expect("symbol");
        Subscription { instrument: Instrument::shared(Venue::Okx, symbol), channel: Channel::Trades }
    }

    #[test]
    fn beyond_the_bound_new_ones_wait_and_old_ones_stay() {
        let [a, b, c] = ["A/USDT", "B/USDT", "C/USDT"].map(trades);
        let mut subscriptions = Subscriptions::new(2);
        [&a, &b, &c, &a].into_iter().for_each(|s| subscriptions.want(s.clone()));
        let standing = |subscriptions: &Subscriptions| [&a, &b, &c].map(|s| subscriptions.standing(s));
        let (asked, beyond) = (Some(AskState::Asked), Some(AskState::Beyond));
        assert_eq!(standing(&subscriptions), [asked, asked, beyond]);
        subscriptions.take_touched();
        subscriptions.drop(&a);
        assert_eq!(standing(&subscriptions), [asked, asked, beyond], "another one wants it still");
        assert!(subscriptions.take_touched().is_empty());
        subscriptions.drop(&a);
        assert_eq!(standing(&subscriptions), [None, asked, asked], "who waited takes the place");
        assert_eq!(subscriptions.take_touched(), [a.clone(), c.clone()].into());
    }
}
