//! Feeds that are held for a while and ordered by venue time across topics.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bond_core::instrument::Venue;
use bond_core::order::Reorder;
use bond_core::time::UnixNanos;

use super::{Feed, Picked};
use crate::delivery::cursor::{Cursor, Pick};
use crate::delivery::follow::FollowState;

/// The most items that one connection holds.
const CAPACITY: usize = 4_096;

/// When every hold is over.
const END_OF_TIME: UnixNanos = UnixNanos::from_nanos(i64::MAX);

/// The most items that are sent in one turn.
const TURN_ITEMS: usize = 1_024;

/// The items of one connection that wait for others before them. They are known by their rings, since topics come and go.
#[derive(Debug)]
pub(super) struct Order {
    /// `None` where the client asked for the order of arrival again: what is due goes first.
    held: Option<Reorder<(u64, Pick)>>,
    /// Items whose turn has come, in order.
    due: VecDeque<(u64, Pick)>,
}

impl Order {
    /// The order that a client asks for, after what waits already; none where it asks for none and nothing waits.
    pub(super) fn adjusted(before: Option<Self>, max_lag: Duration) -> Option<Self> {
        let held = (!max_lag.is_zero()).then(|| Reorder::new(max_lag, CAPACITY));
        let due = before.map(Self::into_due).unwrap_or_default();
        (held.is_some() || !due.is_empty()).then_some(Self { held, due })
    }

    fn into_due(mut self) -> VecDeque<(u64, Pick)> {
        self.release(END_OF_TIME);
        self.due
    }

    /// Drops what waits of one ring.
    fn forget(&mut self, ring: u64) {
        self.release(END_OF_TIME);
        self.due.retain(|(of, _)| *of != ring);
    }

    fn release(&mut self, clock: UnixNanos) {
        if let Some(held) = &mut self.held {
            self.due.extend(std::iter::from_fn(|| held.pop(clock)));
        }
    }

    fn take(&mut self, venue: Venue, item: (u64, Pick), clock: UnixNanos) {
        match &mut self.held {
            Some(held) => held.push(item.1.order, venue, item, clock),
            None => self.due.push_back(item),
        }
    }

    /// The place before the first item of one ring that waits.
    fn first(&self, ring: u64) -> Option<Cursor> {
        let held = self.held.iter().flat_map(Reorder::items);
        let places = held.chain(&self.due).filter(|(of, _)| *of == ring).map(|(_, pick)| pick.from());
        places.min_by_key(|place| (place.generation, place.seq))
    }

    fn is_spent(&self) -> bool {
        self.held.is_none() && self.due.is_empty()
    }

    /// Whether there is more to send than went.
    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }
}

impl Feed {
    /// Exchanges what was picked for what is due. Returns when more will be due.
    pub(super) fn reorder(
        &mut self,
        picks: &mut Vec<Picked>,
        clock: UnixNanos,
        now: Instant,
    ) -> Option<Instant> {
        let mut order = self.order.take().filter(|order| !order.is_spent())?;
        for (index, pick) in picks.drain(..) {
            let interval = self.interval(&self.topics[index]);
            let topic = &mut self.topics[index];
            topic.pass(&pick, now, interval);
            let ring = &topic.follow.ring;
            let venue = ring.topic.instrument().map_or(Venue::Binance, |instrument| instrument.venue);
            order.take(venue, (ring.id, pick), clock);
        }
        order.release(clock);
        let count = order.due.len().min(TURN_ITEMS);
        picks.extend(order.due.drain(..count).filter_map(|(ring, pick)| Some((self.index_of(ring)?, pick))));
        let deadline = order.held.as_ref().and_then(Reorder::next_deadline);
        self.order = Some(order);
        deadline.map(|at| now + at.since(clock))
    }

    /// Has a topic go on elsewhere, if it is followed; what waits of it is dropped.
    pub(crate) fn move_topic(&mut self, name: &str, place: FollowState) {
        let Some(topic) = self.topics.iter_mut().find(|topic| topic.follow.ring.name == name) else {
            return;
        };
        topic.move_to(place);
        if let Some(order) = &mut self.order {
            order.forget(topic.follow.ring.id);
        }
    }

    /// Takes back what was picked and did not go.
    pub(crate) fn put_back(&mut self, picks: &mut Vec<Picked>) {
        let Some(order) = &mut self.order else {
            for (index, _) in picks.iter() {
                self.topics[*index].fresh = true;
            }
            return picks.clear();
        };
        for (index, pick) in picks.drain(..).rev() {
            order.due.push_front((self.topics[index].follow.ring.id, pick));
        }
    }

    /// The place that the client of a topic has passed. `under_way` is what was picked and has not been put back or passed.
    pub(crate) fn passed(&self, index: usize, under_way: &[Picked]) -> Option<Cursor> {
        let follow = &self.topics[index].follow;
        let FollowState::At(cursor) = follow.place else { return None };
        let Some(order) = &self.order else { return Some(cursor) };
        // A feed that is ordered moves on with what it picks.
        let picked = under_way.iter().filter(|(of, _)| *of == index).map(|(_, pick)| pick.from());
        let waiting = picked.chain(order.first(follow.ring.id));
        Some(waiting.min_by_key(|place| (place.generation, place.seq)).unwrap_or(cursor))
    }

    fn index_of(&self, ring: u64) -> Option<usize> {
        self.topics.iter().position(|topic| topic.follow.ring.id == ring)
    }
}
