//! What a feed follows: what its client asks for, of the topics that run, and of those that begin. Workers and lanes do alike.

use std::collections::BTreeMap;
use std::time::Instant;

use bond_core::api_key::Holder;
use bond_core::connection::{FeedRequest, FeedState, TopicStart};
use bond_core::feed::FeedFilter;
use bond_core::position::{Position, Start};
use bond_core::time::Clock;
use bond_core::topic::Topic;

use super::order::Order;
use super::{Feed, FeedTopic, Scope};
use crate::delivery::follow::{Follow, FollowState};
use crate::delivery::followers::Followers;
use crate::delivery::hub::Hub;
use crate::delivery::leases::Leases;

/// A connection of a worker or a lane, and what it follows topics with.
pub(crate) struct Subscriber<'a> {
    pub(crate) id: usize,
    /// With whose key it came.
    pub(crate) holder: Option<&'a Holder>,
    /// Where a predecessor had brought it.
    pub(crate) restored: Option<&'a BTreeMap<Topic, Position>>,
    pub(crate) followers: &'a mut Followers,
    pub(crate) hub: &'a Hub,
    pub(crate) leases: &'a Leases,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) now: Instant,
}

impl Subscriber<'_> {
    /// Follows a topic from where a predecessor had brought it, else from where the client asked to begin.
    fn follow(&mut self, topic: &Topic, asked: Start) -> Follow {
        let restored = self.restored.and_then(|positions| positions.get(topic));
        let start = restored.map_or(asked, |position| Start::After(position.clone()));
        let ring = self.hub.follow(topic);
        self.followers.attend(self.id, &ring);
        Follow::new(ring, start, self.clock.now())
    }

    /// Where a predecessor had brought it in a topic that is asked for by name.
    pub(super) fn restored_start(&self, topic: &Topic) -> Option<TopicStart> {
        let position = self.restored?.get(topic)?;
        Some(TopicStart::After(Some(position.epoch.clone()), position.seq))
    }
}

impl Feed {
    /// Serves its client as it asks now. Where it wants other topics than before, ingest is told, and it follows those that run already.
    pub(crate) fn serve(&mut self, asked: &FeedState, mut subscriber: Subscriber<'_>) {
        let Some(dropped) = self.apply(asked) else { return };
        for ring in dropped {
            subscriber.followers.leave(subscriber.id, ring);
        }
        if let Some(name) = self.name() {
            subscriber.leases.set(name, subscriber.holder, self.filter().cloned());
        }
        let Some(filter) = asked.filter() else { return };
        for topic in subscriber.hub.running(|topic| filter.matches(topic)) {
            self.follow_more(&topic, &mut subscriber);
        }
    }

    /// Follows a topic that runs, unless it does already.
    pub(crate) fn follow_more(&mut self, topic: &Topic, subscriber: &mut Subscriber<'_>) {
        if self.lacks(topic) {
            self.follow(topic, self.start(topic), subscriber);
        }
    }

    /// Follows one topic more, from where its client `asked` to begin.
    pub(crate) fn follow(&mut self, topic: &Topic, asked: Start, subscriber: &mut Subscriber<'_>) {
        self.add(subscriber.follow(topic, asked), subscriber.now);
    }

    /// Has ingest told that its client is gone, who came with `holder`'s key, if it wanted something.
    pub(crate) fn give_up(&self, leases: &Leases, holder: Option<&Holder>) {
        if let Some(name) = self.name().filter(|_| self.filter().is_some()) {
            leases.set(name, holder, None);
        }
        self.wanted_names().iter().for_each(|name| leases.set(name, holder, None));
    }

    /// Wants what its client asks for now. What it follows already and still wants goes on where it is, unless the client says from where.
    /// Where it wants other topics than before, it returns the rings that it follows no more.
    fn apply(&mut self, new: &FeedState) -> Option<Vec<u64>> {
        let Scope::Filter { asked, .. } = &mut self.scope else { return None };
        let old = std::mem::replace(&mut **asked, new.clone());
        self.is_background = new.is_background;
        if let Some(wish) = new.wish.as_ref().filter(|wish| old.wish.as_ref() != Some(wish)) {
            self.adjust(wish);
        }
        let wants_others = old.filter() != new.filter();
        let dropped = wants_others.then(|| self.keep_only(new.filter()));
        for topic in &mut self.topics {
            topic.rate = new.rates.get(&topic.follow.ring.name).copied();
        }
        // A topic that does not run yet begins there.
        for (name, resume) in
            new.resumes.iter().filter(|(name, resume)| old.resumes.get(*name) != Some(resume))
        {
            self.move_topic(name, FollowState::Waiting(Box::new(Start::After(resume.position.clone()))));
        }
        dropped
    }

    /// Takes over how a client wants what it asked for.
    fn adjust(&mut self, wish: &FeedRequest) {
        (self.speed, self.book_changes, self.since) = (wish.speed, wish.book_changes, wish.since);
        self.order = Order::adjusted(self.order.take(), wish.max_lag);
    }

    /// From where it takes a topic that it does not follow yet.
    fn start(&self, topic: &Topic) -> Start {
        let resume = self.asked().and_then(|asked| asked.resumes.get(&topic.to_string()));
        resume.map_or(Start::At(self.since), |resume| Start::After(resume.position.clone()))
    }

    /// Takes what is followed already as one topic more.
    pub(crate) fn add(&mut self, follow: Follow, now: Instant) {
        let rate = self.asked().and_then(|asked| asked.rates.get(&follow.ring.name).copied());
        self.topics.push(FeedTopic {
            follow,
            fresh: true,
            rate,
            due: now,
            needs_whole: true,
            in_buffer: false,
            named: None,
        });
    }

    /// Stops following anything.
    pub(crate) fn drop_all(&mut self) -> Vec<u64> {
        self.keep_only(None)
    }

    /// Stops following what `filter` does not take, all of it where there is none. Returns the rings that are followed no more.
    fn keep_only(&mut self, filter: Option<&FeedFilter>) -> Vec<u64> {
        let is_wanted = |topic: &Topic| filter.is_some_and(|filter| filter.matches(topic));
        let dropped = self.topics.extract_if(.., |topic| !is_wanted(&topic.follow.ring.topic));
        dropped.map(|topic| topic.follow.ring.id).collect()
    }

    /// Whether its filter takes `topic`, and it does not follow it yet.
    pub(crate) fn lacks(&self, topic: &Topic) -> bool {
        let Some(filter) = self.filter() else { return false };
        filter.matches(topic) && self.topics.iter().all(|known| known.follow.ring.topic != *topic)
    }
}
