//! The general path: connections that follow many topics, or take them thinned, ordered, as changes, or in batches.
//!
//! Such a connection picks items one by one, in the order of their arrival, into a buffer that all of them share.

mod choose;
mod enveloped;
mod order;
mod relayed;
mod render;
mod subscribed;
mod subscription;
mod topics;

use std::time::{Duration, Instant};

use bond_core::connection::{Batch, FeedState};
use bond_core::event::Channel;
use bond_core::feed::FeedFilter;
use bond_core::log::EventKind;
use bond_core::message::Rate;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use smol_str::SmolStr;

use super::cursor::Pick;
use super::follow::{Follow, FollowState};
use order::Order;

pub(crate) use render::Scratch;
pub(crate) use subscription::Subscriber;
use topics::NamedTopic;
pub(crate) use topics::{NamedTopics, TakenMessage};

/// What a feed is about.
#[derive(Debug)]
pub(crate) enum Scope {
    /// One stream.
    Stream(StreamId),
    /// What a client asked for, wanted under this name.
    Filter { name: SmolStr, asked: Box<FeedState> },
    /// The topics that a client named.
    Topics(Box<NamedTopics>),
}

impl Scope {
    /// A feed of this name, before its client has said anything.
    pub(crate) fn unasked(name: SmolStr) -> Self {
        Self::Filter { name, asked: Box::default() }
    }
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
    /// Whether its connection has agreed on permessage-deflate.
    pub(crate) has_deflate: bool,
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
    /// What it has besides where the client asked for it by name.
    named: Option<Box<NamedTopic>>,
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
            has_deflate: false,
            queued: false,
            timer: None,
            order: None,
            waiting_since: None,
        }
    }

    /// What its client asked for, where it may ask.
    pub(crate) fn asked(&self) -> Option<&FeedState> {
        match &self.scope {
            Scope::Filter { asked, .. } => Some(asked),
            Scope::Stream(_) | Scope::Topics(_) => None,
        }
    }

    /// What its client wants, if it has said so.
    pub(crate) fn filter(&self) -> Option<&FeedFilter> {
        self.asked()?.filter()
    }

    /// By which name it is wanted, where a client may ask.
    pub(crate) fn name(&self) -> Option<&SmolStr> {
        match &self.scope {
            Scope::Filter { name, .. } => Some(name),
            Scope::Stream(_) | Scope::Topics(_) => None,
        }
    }

    /// Whether its frames are compressed: where that was agreed on, which it never is for the relay, and where a client that names its topics
    /// has asked for it.
    pub(crate) fn is_compressed(&self) -> bool {
        self.has_deflate && self.named().is_none_or(|named| named.asked.compression)
    }

    /// Takes note of news in a ring.
    pub(crate) fn mark(&mut self, ring: u64) {
        for topic in self.topics.iter_mut().filter(|topic| topic.follow.ring.id == ring) {
            topic.fresh = true;
        }
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
        if let Some(interval) = self.named_interval(topic) {
            return interval;
        }
        let background = if self.is_background { Rate::Background.interval() } else { Duration::ZERO };
        self.speed.max(background).max(topic.rate.map_or(Duration::ZERO, Rate::interval))
    }
}

impl FeedTopic {
    /// Goes on elsewhere.
    fn move_to(&mut self, place: FollowState) {
        self.follow.place = place;
        (self.fresh, self.needs_whole) = (true, true);
    }

    /// Moves past an item. `interval` is the time until the next thinned event may go.
    fn pass(&mut self, pick: &Pick, now: Instant, interval: Duration) {
        self.follow.place = FollowState::At(pick.to);
        if pick.is_delivered() && pick.kind != Some(EventKind::Alert) {
            self.due = now + interval;
        }
    }
}

/// Trades and funding are never thinned. Of published topics alerts are not, and the rest is made whole by a snapshot.
fn is_thinnable(topic: &Topic) -> bool {
    match topic {
        Topic::Market(market) => matches!(market.channel, Channel::Ticker | Channel::OrderBook),
        Topic::Published(_) => true,
        Topic::Stream(_) | Topic::Raw(_) => false,
    }
}

/// An item that was picked, and the topic it belongs to, as an index into the feed's topics.
pub(crate) type Picked = (usize, Pick);
