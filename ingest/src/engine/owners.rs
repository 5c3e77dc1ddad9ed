//! Counts how many topics the feeds of each owner want together, up to a bound.

use std::collections::{BTreeMap, HashMap};

use bond_core::topic::Topic;
use smol_str::SmolStr;

use super::desired::count_down;

/// The most topics that the feeds of one owner make run together. This is more than one feed can name, and a fraction of what one process
/// can subscribe to, so that one owner cannot use up what others need. A topic beyond it does not run for this owner, and is tried again
/// when the feed's lease is renewed.
pub(super) const MOST_TOPICS_OF_OWNER: usize = 5_000;

/// What the feeds of one owner want.
#[derive(Debug, Default)]
struct Owned {
    /// Each topic with the number of feeds that want it.
    topics: BTreeMap<Topic, usize>,
    /// Whether a warning was logged that the bound is reached. It is logged once, until the owner wants nothing any more.
    is_told: bool,
}

/// The topics of each owner whose feeds want some. Feeds without an owner, as on a server without keys, are not counted here; the bounds of
/// the whole process apply to them.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<SmolStr, Owned>);

impl Owners {
    /// Counts one more feed of `owner` that wants `topic`, unless that would be beyond the bound.
    pub(super) fn take(&mut self, owner: Option<&SmolStr>, topic: &Topic) -> bool {
        let Some(owner) = owner else { return true };
        let owned = self.0.entry(owner.clone()).or_default();
        if owned.topics.len() >= MOST_TOPICS_OF_OWNER && !owned.topics.contains_key(topic) {
            if !std::mem::replace(&mut owned.is_told, true) {
                tracing::warn!(%owner, most = MOST_TOPICS_OF_OWNER, "an owner's feeds want more topics than run for one");
            }
            return false;
        }
        *owned.topics.entry(topic.clone()).or_default() += 1;
        true
    }

    /// Counts one feed off.
    pub(super) fn give_back(&mut self, owner: Option<&SmolStr>, topic: &Topic) {
        let Some(owner) = owner else { return };
        let Some(owned) = self.0.get_mut(owner) else { return };
        count_down(&mut owned.topics, topic);
        if owned.topics.is_empty() {
            self.0.remove(owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use bond_core::topic::StreamId;

    use super::*;

    fn topic(number: usize) -> Topic {
        Topic::Stream(StreamId::parse(&format!("{number:016x}")).expect("an id"))
    }

    #[test]
    fn an_owner_has_so_many_topics_however_many_feeds_want_them_and_nobody_else_notices() {
        let (mut owners, ann, bob) = (Owners::default(), SmolStr::new("ann"), SmolStr::new("bob"));
        assert!((0..MOST_TOPICS_OF_OWNER).all(|number| owners.take(Some(&ann), &topic(number))));
        let beyond = topic(MOST_TOPICS_OF_OWNER);
        assert!(!owners.take(Some(&ann), &beyond));
        assert!(owners.take(Some(&ann), &topic(0)), "another feed of hers wants what runs for her");
        assert!(owners.take(Some(&bob), &beyond) && owners.take(None, &beyond));
        owners.give_back(Some(&ann), &topic(0));
        assert!(!owners.take(Some(&ann), &beyond), "one of her feeds wants it still");
        owners.give_back(Some(&ann), &topic(0));
        assert!(owners.take(Some(&ann), &beyond));
    }

    #[test]
    fn an_owner_who_wants_nothing_is_forgotten() {
        let (mut owners, ann) = (Owners::default(), SmolStr::new("ann"));
        owners.take(Some(&ann), &topic(1));
        owners.give_back(Some(&ann), &topic(1));
        assert!(owners.0.is_empty());
    }
}
