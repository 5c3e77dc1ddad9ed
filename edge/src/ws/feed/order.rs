//! Feeds that are held for a while and ordered by venue time across topics.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bond_core::instrument::Venue;
use bond_core::order::Reorder;
use bond_core::time::UnixNanos;

use super::{Feed, Picked};
use crate::ws::ring::Pick;

/// The most items that one connection holds.
const CAPACITY: usize = 4_096;

/// The most items that are sent in one turn.
const TURN_ITEMS: usize = 1_024;

/// The items of one connection that wait for others before them. They are known by their rings, since topics come and go.
#[derive(Debug)]
pub(super) struct Order {
    held: Reorder<(u64, Pick)>,
    /// Items whose turn has come, in order.
    due: VecDeque<(u64, Pick)>,
}

impl Order {
    pub(super) fn new(max_lag: Duration) -> Self {
        Self { held: Reorder::new(max_lag, CAPACITY), due: VecDeque::new() }
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
        let mut order = self.order.take()?;
        for (index, pick) in picks.drain(..) {
            let interval = self.interval(&self.topics[index]);
            let topic = &mut self.topics[index];
            topic.pass(pick.to, pick.kind.is_some(), now, interval);
            let venue = topic.follow.ring.topic.instrument().map_or(Venue::Binance, |i| i.venue);
            order.held.push(pick.order, venue, (topic.follow.ring.id, pick), clock);
        }
        while let Some(item) = order.held.pop(clock) {
            order.due.push_back(item);
        }
        let count = order.due.len().min(TURN_ITEMS);
        picks.extend(order.due.drain(..count).filter_map(|(ring, pick)| Some((self.index_of(ring)?, pick))));
        let deadline = order.held.next_deadline();
        self.order = Some(order);
        deadline.map(|at| now + at.since(clock))
    }

    /// Takes back what was picked and did not go.
    pub(super) fn put_back(&mut self, picks: &mut Vec<Picked>) {
        let Some(order) = &mut self.order else {
            for (index, _) in picks.iter() {
                self.topics[*index].fresh = true;
            }
            return;
        };
        for (index, pick) in picks.drain(..).rev() {
            order.due.push_front((self.topics[index].follow.ring.id, pick));
        }
    }

    fn index_of(&self, ring: u64) -> Option<usize> {
        self.topics.iter().position(|topic| topic.follow.ring.id == ring)
    }
}
