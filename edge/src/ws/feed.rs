//! The general path: connections that follow many topics, or take them thinned, ordered, as changes, or in batches.
//!
//! Such a connection picks items one by one, in the order of their arrival, into a buffer that all of them share.

mod order;
mod render;
mod turn;

use std::time::{Duration, Instant};

use bond_core::connection::{Batch, Wish};
use bond_core::event::Channel;
use bond_core::feed::FeedFilter;
use bond_core::message::Rate;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use smol_str::SmolStr;

use super::connection::{Follow, Place};
use super::ring::{Cursor, Pick};
use order::Order;

pub(crate) use render::Workbench;
pub(crate) use turn::deliver;

/// What a feed is about.
#[derive(Debug)]
pub(crate) enum Scope {
    /// One stream.
    Stream(StreamId),
    /// Everything that a filter takes, wanted under this name.
    Filter { name: SmolStr, filter: Option<FeedFilter> },
}

/// The topics of one connection, and how it takes them.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) scope: Scope,
    pub(crate) topics: Vec<FeedTopic>,
    /// When it asked for what it wants: nothing older is sent.
    pub(crate) since: UnixNanos,
    pub(crate) speed: Duration,
    pub(crate) is_background: bool,
    pub(crate) book_changes: bool,
    pub(crate) batch: Option<Batch>,
    /// Whether it is in line for a turn.
    pub(crate) queued: bool,
    /// When a timer will give it a turn.
    pub(crate) timer: Option<Instant>,
    order: Option<Order>,
    /// Since when a batch waits to fill.
    waiting_since: Option<Instant>,
}

/// One topic of a feed.
#[derive(Debug)]
pub(crate) struct FeedTopic {
    pub(crate) follow: Follow,
    /// What the client set for this topic alone.
    pub(crate) rate: Option<Rate>,
    /// Whether there may be items that were not looked at.
    fresh: bool,
    /// When the next thinned event may go.
    due: Instant,
    /// Whether a client that takes changes needs the whole book first.
    needs_whole: bool,
    /// Whether it has an event in the buffer.
    in_buffer: bool,
}

impl Feed {
    pub(crate) fn new(scope: Scope, batch: Option<Batch>) -> Self {
        Self {
            scope,
            topics: Vec::new(),
            since: UnixNanos::EPOCH,
            speed: Duration::ZERO,
            is_background: false,
            book_changes: false,
            batch,
            queued: false,
            timer: None,
            order: None,
            waiting_since: None,
        }
    }

    /// Wants what `filter` takes from here on, where it is about a filter.
    pub(crate) fn set_filter(&mut self, wanted: Option<FeedFilter>) {
        if let Scope::Filter { filter, .. } = &mut self.scope {
            *filter = wanted;
        }
    }

    /// Takes over how a client wants what it asked for.
    pub(crate) fn adjust(&mut self, wish: &Wish) {
        (self.speed, self.book_changes, self.since) = (wish.speed, wish.book_changes, wish.since);
        self.order = Order::adjusted(self.order.take(), wish.max_lag);
    }

    /// Follows one topic more.
    pub(crate) fn add(&mut self, follow: Follow, now: Instant) {
        let topic =
            FeedTopic { follow, fresh: true, rate: None, due: now, needs_whole: true, in_buffer: false };
        self.topics.push(topic);
    }

    /// Stops following what `filter` does not take, all of it where there is none. Returns the rings that are followed no more.
    pub(crate) fn keep_only(&mut self, filter: Option<&FeedFilter>) -> Vec<u64> {
        let is_wanted = |topic: &Topic| filter.is_some_and(|filter| filter.matches(topic));
        let dropped = self.topics.extract_if(.., |topic| !is_wanted(&topic.follow.ring.topic));
        dropped.map(|topic| topic.follow.ring.id).collect()
    }

    /// Its part of a topic, if it follows it.
    pub(crate) fn topic_mut(&mut self, name: &str) -> Option<&mut FeedTopic> {
        self.topics.iter_mut().find(|topic| topic.follow.ring.name == name)
    }

    /// Takes note of news in a ring.
    pub(crate) fn mark(&mut self, ring: u64) {
        for topic in self.topics.iter_mut().filter(|topic| topic.follow.ring.id == ring) {
            topic.fresh = true;
        }
    }

    /// Whether its filter takes `topic`, and it does not follow it yet.
    pub(crate) fn lacks(&self, topic: &Topic) -> bool {
        let Scope::Filter { filter: Some(filter), .. } = &self.scope else { return false };
        filter.matches(topic) && self.topics.iter().all(|known| known.follow.ring.topic != *topic)
    }

    /// Whether the client wants but the newest of a topic now and then.
    pub(crate) fn is_thinned(&self, index: usize) -> bool {
        !self.interval(&self.topics[index]).is_zero()
    }

    /// The time between two events of a topic; zero for every event.
    fn interval(&self, topic: &FeedTopic) -> Duration {
        if !is_thinnable(&topic.follow.ring.topic) {
            return Duration::ZERO;
        }
        let background = if self.is_background { Rate::Background.interval() } else { Duration::ZERO };
        self.speed.max(background).max(topic.rate.map_or(Duration::ZERO, Rate::interval))
    }
}

impl FeedTopic {
    /// Goes on elsewhere.
    fn move_to(&mut self, place: Place) {
        self.follow.place = place;
        (self.fresh, self.needs_whole) = (true, true);
    }

    /// Moves past an item. `interval` is the time until the next thinned event may go.
    fn pass(&mut self, to: Cursor, is_event: bool, now: Instant, interval: Duration) {
        self.follow.place = Place::At(to);
        if is_event {
            self.due = now + interval;
        }
    }
}

/// Trades and funding are never thinned.
fn is_thinnable(topic: &Topic) -> bool {
    matches!(topic, Topic::Market(market) if matches!(market.channel, Channel::Ticker | Channel::OrderBook))
}

/// An item that was picked, and the topic it belongs to, as an index into the feed's topics.
pub(crate) type Picked = (usize, Pick);
