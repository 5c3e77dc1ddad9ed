//! Sorts the events of a feed by venue time across its topics.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::event_clock::trusted;
use crate::instrument::Venue;
use crate::time::UnixNanos;

/// Holds the items of a feed for a while, and releases them sorted by venue time, then venue name, then arrival.
///
/// - An item is released after it was held for the configured time. All held items that sort before it are released first.
/// - An item that sorts before one that was already released is released at once. Such items keep the order of arrival.
/// - At most `capacity` items are held. One more item releases the item that arrived first.
/// - A venue time more than 5 s ahead of our clock is not trusted; the time of arrival is used instead.
#[derive(Debug)]
pub struct Reorder<T> {
    hold: Duration,
    capacity: usize,
    held: BinaryHeap<Reverse<Held<T>>>,
    /// When each item arrived, and its sort key, in the order of arrival. Some may have been released already, before a later item.
    holding: VecDeque<(UnixNanos, OrderKey)>,
    /// Items up to this key are to be released.
    due: Option<OrderKey>,
    /// The key of the last item that was released in order.
    released: Option<OrderKey>,
    /// Items that arrived after a later one had been released.
    late: VecDeque<T>,
    arrivals: u64,
}

/// The sort key of an item.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct OrderKey {
    ts: UnixNanos,
    venue: Venue,
    arrival: u64,
}

#[derive(Debug)]
struct Held<T> {
    place: OrderKey,
    item: T,
}

impl<T> PartialEq for Held<T> {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl<T> Eq for Held<T> {}

impl<T> PartialOrd for Held<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Held<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.cmp(&other.place)
    }
}

impl<T> Reorder<T> {
    /// Holds each item for `hold` (1 to 1000 ms), and at most `capacity` of them.
    pub const fn new(hold: Duration, capacity: usize) -> Self {
        Self {
            hold,
            capacity,
            held: BinaryHeap::new(),
            holding: VecDeque::new(),
            due: None,
            released: None,
            late: VecDeque::new(),
            arrivals: 0,
        }
    }

    /// Adds an item with venue time `ts` that arrived at `now`. Call [`Reorder::pop`] afterwards.
    pub fn push(&mut self, ts: UnixNanos, venue: Venue, item: T, now: UnixNanos) {
        let ts = trusted(Some(ts), now).unwrap_or(now);
        let place = OrderKey { ts, venue, arrival: self.arrivals };
        self.arrivals += 1;
        if Some(place) < self.released {
            self.late.push_back(item);
            return;
        }
        self.held.push(Reverse(Held { place, item }));
        self.holding.push_back((now, place));
        if self.holding.len() > self.capacity {
            self.end_first_hold();
        }
    }

    /// All items that are not released yet, in no order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.held.iter().map(|Reverse(held)| &held.item).chain(&self.late)
    }

    /// Releases the next item that is due at `now`. Call it until it returns `None`.
    pub fn pop(&mut self, now: UnixNanos) -> Option<T> {
        if let Some(item) = self.late.pop_front() {
            return Some(item);
        }
        while self.holding.front().is_some_and(|(since, _)| self.is_over(*since, now)) {
            self.end_first_hold();
        }
        let Reverse(next) = self.held.peek()?;
        if Some(next.place) > self.due {
            return None;
        }
        self.released = Some(next.place);
        self.held.pop().map(|Reverse(held)| held.item)
    }

    /// When the next item will be due, by our clock, if no other arrives before. `None` if nothing is held.
    pub fn next_deadline(&self) -> Option<UnixNanos> {
        self.holding.front().map(|(since, _)| since.plus(self.hold))
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.late.is_empty()
    }

    /// Whether an item has been held long enough. A hold also ends if our clock was set back, or it might last for hours.
    fn is_over(&self, since: UnixNanos, now: UnixNanos) -> bool {
        now < since || now.since(since) >= self.hold
    }

    fn end_first_hold(&mut self) {
        let ended = self.holding.pop_front().map(|(_, place)| place);
        self.due = self.due.max(ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_millis(100);

    fn ms(millis: i64) -> UnixNanos {
        UnixNanos::from_millis(millis)
    }

    fn drain(order: &mut Reorder<&'static str>, now: i64) -> Vec<&'static str> {
        std::iter::from_fn(|| order.pop(ms(now))).collect()
    }

    #[test]
    fn items_are_held_and_released_in_order() {
        let mut order = Reorder::new(HOLD, 10);
        order.push(ms(1_020), Venue::Okx, "second", ms(1_030));
        order.push(ms(1_010), Venue::Binance, "first", ms(1_060));
        order.push(ms(1_050), Venue::Okx, "third", ms(1_070));
        assert_eq!(drain(&mut order, 1_129), [""; 0]);
        assert_eq!(order.next_deadline(), Some(ms(1_130)));
        assert_eq!(drain(&mut order, 1_130), ["first", "second"], "what comes before is not held longer");
        assert_eq!(drain(&mut order, 1_170), ["third"]);
        assert!(order.is_empty());
        assert_eq!(order.next_deadline(), None);
    }

    #[test]
    fn ties_fall_by_venue_then_arrival() {
        let mut order = Reorder::new(HOLD, 10);
        for (venue, item) in
            [(Venue::Okx, "c"), (Venue::Bybit, "b"), (Venue::Okx, "d"), (Venue::Binance, "a")]
        {
            order.push(ms(1_000), venue, item, ms(1_000));
        }
        assert_eq!(drain(&mut order, 1_100), ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_comes_later_than_the_hold_is_released_at_once_as_it_came() {
        let mut order = Reorder::new(HOLD, 10);
        order.push(ms(1_000), Venue::Okx, "a", ms(1_000));
        assert_eq!(drain(&mut order, 1_100), ["a"]);
        order.push(ms(1_050), Venue::Okx, "b", ms(1_110));
        order.push(ms(999), Venue::Okx, "late", ms(1_120));
        order.push(ms(990), Venue::Okx, "later", ms(1_120));
        assert_eq!(drain(&mut order, 1_120), ["late", "later"]);
        assert_eq!(drain(&mut order, 1_210), ["b"]);
    }

    #[test]
    fn no_more_than_its_capacity_is_held() {
        let mut order = Reorder::new(HOLD, 2);
        order.push(ms(1_002), Venue::Okx, "b", ms(1_010));
        order.push(ms(1_001), Venue::Okx, "a", ms(1_010));
        order.push(ms(1_003), Venue::Okx, "c", ms(1_010));
        assert_eq!(drain(&mut order, 1_010), ["a", "b"], "the hold of the first to come has ended");
        for at in 2_000..3_000 {
            order.push(ms(at), Venue::Okx, "", ms(1_020));
            drain(&mut order, 1_020);
            assert!(order.held.len() <= 2 && order.holding.len() <= 2);
        }
    }

    #[test]
    fn a_time_far_ahead_does_not_upset_the_order() {
        let mut order = Reorder::new(HOLD, 10);
        order.push(ms(99_000), Venue::Okx, "a", ms(1_000));
        order.push(ms(1_002), Venue::Okx, "b", ms(1_003));
        order.push(ms(1_001), Venue::Okx, "c", ms(1_004));
        assert_eq!(drain(&mut order, 1_200), ["a", "c", "b"]);
    }

    #[test]
    fn a_clock_set_back_holds_nothing_for_long() {
        let mut order = Reorder::new(HOLD, 10);
        order.push(ms(5_000), Venue::Okx, "a", ms(5_000));
        assert_eq!(drain(&mut order, 1_000), ["a"]);
    }
}
