//! The order in which a feed is released.

use std::time::Duration;

use bond_core::instrument::Venue;
use bond_core::order::Reorder;
use bond_core::time::UnixNanos;
use proptest::prelude::*;

const HOLD_MS: i64 = 100;

/// Venue time, venue, and arrival, all times in ms.
type Item = (i64, Venue, i64);

fn items(longest_delay: i64) -> impl Strategy<Value = Vec<Item>> {
    let venue = prop::sample::select(vec![Venue::Binance, Venue::Bybit, Venue::Okx]);
    let item = (0..2_000_i64, venue, 0..longest_delay).prop_map(|(ts, venue, delay)| (ts, venue, ts + delay));
    prop::collection::vec(item, 0..200).prop_map(|mut items| {
        items.sort_by_key(|item| item.2);
        items
    })
}

/// What is released, with the time of release: asked for after each item and at each deadline.
fn release(items: &[Item]) -> Vec<(usize, i64)> {
    let mut order = Reorder::new(Duration::from_millis(HOLD_MS as u64), 1_000);
    let mut released = Vec::new();
    let mut ask = |order: &mut Reorder<usize>, now: i64| {
        released
            .extend(std::iter::from_fn(|| order.pop(UnixNanos::from_millis(now))).map(|item| (item, now)));
    };
    for (number, (ts, venue, arrived)) in items.iter().enumerate() {
        while let Some(due) = order.next_deadline().filter(|due| due.as_millis() < *arrived) {
            ask(&mut order, due.as_millis());
        }
        let now = UnixNanos::from_millis(*arrived);
        order.push(UnixNanos::from_millis(*ts), *venue, number, now);
        ask(&mut order, *arrived);
    }
    while let Some(due) = order.next_deadline() {
        ask(&mut order, due.as_millis());
    }
    assert!(order.is_empty());
    released
}

proptest! {
    #[test]
    fn what_comes_within_the_hold_is_in_order(items in items(HOLD_MS)) {
        let released: Vec<usize> = release(&items).into_iter().map(|(item, _)| item).collect();
        let mut sorted: Vec<usize> = (0..items.len()).collect();
        sorted.sort_by_key(|item| (items[*item].0, items[*item].1.name(), *item));
        prop_assert_eq!(released, sorted);
    }

    #[test]
    fn everything_is_released_once_and_in_time(items in items(5 * HOLD_MS)) {
        let released = release(&items);
        for (item, at) in &released {
            prop_assert!((0..=HOLD_MS).contains(&(at - items[*item].2)));
        }
        let mut numbers: Vec<usize> = released.into_iter().map(|(item, _)| item).collect();
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..items.len()).collect::<Vec<_>>());
    }
}
