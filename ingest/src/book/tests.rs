use proptest::prelude::*;

use super::*;
use crate::venue::ContinuityRule;

fn level(price: u64, size: u64) -> Level {
    let price = Price::parse(&price.to_string()).expect("price");
    Level { price, size: Quantity::parse(&size.to_string()).expect("size") }
}

fn update(kind: BookUpdateKind, bids: &[(u64, u64)], asks: &[(u64, u64)], last_id: u64) -> BookUpdate {
    let levels = |side: &[(u64, u64)]| side.iter().map(|(price, size)| level(*price, *size)).collect();
    BookUpdate { kind, bids: levels(bids), asks: levels(asks), last_id, first_id: None, prev_id: None }
}

#[test]
fn levels_are_set_removed_and_cut_best_first() {
    let mut book = Book::default();
    book.apply(&update(BookUpdateKind::Snapshot, &[(99, 1), (98, 2), (97, 3)], &[(101, 1), (102, 2)], 7));
    book.apply(&update(BookUpdateKind::Delta, &[(98, 0), (100, 5), (50, 0)], &[(101, 9), (103, 1)], 8));
    assert_eq!(book.bids(2), [level(100, 5), level(99, 1)]);
    assert_eq!(book.asks(9), [level(101, 9), level(102, 2), level(103, 1)]);
    assert_eq!((book.best_bid(), book.best_ask()), (Some(level(100, 5)), Some(level(101, 9))));
    assert_eq!(book.last_id(), 8);
    book.apply(&update(BookUpdateKind::Snapshot, &[(10, 1)], &[], 1));
    assert_eq!((book.bids(9), book.asks(9)), (vec![level(10, 1)], vec![]));
}

#[test]
fn a_crossed_book_is_told() {
    let mut book = Book::default();
    book.apply(&update(BookUpdateKind::Snapshot, &[(99, 1)], &[(101, 1)], 1));
    assert!(!book.is_crossed());
    book.apply(&update(BookUpdateKind::Delta, &[(101, 1)], &[], 2));
    assert!(book.is_crossed());
}

#[test]
fn a_book_knows_how_far_its_seed_reaches() {
    let mut book = Book::default();
    let bids: Vec<_> = (0..1_000).map(|depth| (10_000 - depth, 1)).collect();
    book.apply(&update(BookUpdateKind::Snapshot, &bids, &[(10_001, 1)], 1));
    assert!(book.covers(1_000), "asks were not cut, bids reach that far");
    book.apply(&update(BookUpdateKind::Delta, &[(10_000, 0), (8_000, 1)], &[], 2));
    assert!(book.covers(999) && !book.covers(1_000));
    let all: Vec<_> = bids.iter().map(|(price, _)| (*price, 0)).collect();
    book.apply(&update(BookUpdateKind::Delta, &all, &[], 3));
    assert!(!book.covers(1), "the best bid is one that the snapshot did not reach");
}

#[test]
fn a_book_is_bounded() {
    let mut book = Book::default();
    for price in 1..=12_000 {
        book.apply(&update(BookUpdateKind::Delta, &[(price, 1)], &[(20_000 - price, 1)], price));
    }
    assert_eq!((book.bids(usize::MAX).len(), book.asks(usize::MAX).len()), (10_000, 10_000));
    assert_eq!(book.best_bid(), Some(level(12_000, 1)));
    assert!(book.covers(10_000), "what was dropped is beyond what is held");
}

proptest! {
    #[test]
    fn a_book_is_what_a_map_of_prices_would_hold(
        changes in prop::collection::vec((1_u64..40, 0_u64..4, any::<bool>()), 0..200),
    ) {
        let mut book = Book::default();
        let mut model = [std::collections::BTreeMap::new(), std::collections::BTreeMap::new()];
        for (id, (price, size, is_bid)) in (1_u64..).zip(changes) {
            let (bids, asks): (&[_], &[_]) = if is_bid { (&[(price, size)], &[]) } else { (&[], &[(price, size)]) };
            book.apply(&update(BookUpdateKind::Delta, bids, asks, id));
            let side = &mut model[usize::from(is_bid)];
            if size == 0 { side.remove(&price); } else { side.insert(price, size); }
        }
        let [asks, bids] = model.map(|side| side.into_iter().map(|(price, size)| level(price, size)).collect::<Vec<_>>());
        prop_assert_eq!(book.asks(100), asks);
        prop_assert_eq!(book.bids(100), bids.into_iter().rev().collect::<Vec<_>>());
    }
}

fn snapshot(last: u64) -> UpdateIds {
    UpdateIds { kind: BookUpdateKind::Snapshot, first: None, previous: None, last }
}

fn ranged(first: u64, last: u64) -> UpdateIds {
    UpdateIds { kind: BookUpdateKind::Delta, first: Some(first), previous: None, last }
}

fn linked(first: u64, last: u64, previous: u64) -> UpdateIds {
    UpdateIds { previous: Some(previous), ..ranged(first, last) }
}

/// Offers updates by name and notes what became of each.
fn offer(continuity: &mut Continuity<u64>, ids: UpdateIds) -> Verdict<u64> {
    continuity.offer(ids, ids.last)
}

#[test]
fn spot_deltas_wait_for_their_snapshot() {
    let mut book = Continuity::new(ContinuityRule::Range);
    for ids in [ranged(1, 4), ranged(5, 9), ranged(10, 12)] {
        assert_eq!(offer(&mut book, ids), Verdict::Buffered);
    }
    assert_eq!(offer(&mut book, snapshot(7)), Verdict::Apply(vec![7, 9, 12]), "1-4 is old, 5-9 straddles");
    assert_eq!(offer(&mut book, ranged(11, 12)), Verdict::Ignore);
    assert_eq!(offer(&mut book, ranged(5, 9)), Verdict::Old { stands: 12, got: 9 });
    assert_eq!(offer(&mut book, ranged(13, 13)), Verdict::Apply(vec![13]));
    assert_eq!(offer(&mut book, ranged(15, 16)), Verdict::Gap { expected: 14, got: 15 });
    assert!(!book.is_live());
    assert_eq!(offer(&mut book, ranged(17, 17)), Verdict::Buffered);
    assert_eq!(
        offer(&mut book, snapshot(14)),
        Verdict::Apply(vec![14, 16, 17]),
        "the delta after the gap was kept"
    );
}

#[test]
fn a_snapshot_older_than_the_first_delta_is_asked_for_again() {
    let mut book = Continuity::new(ContinuityRule::Range);
    offer(&mut book, ranged(10, 12));
    assert_eq!(offer(&mut book, snapshot(8)), Verdict::TooOld { snapshot: 8, first: 10 });
    assert_eq!(offer(&mut book, snapshot(9)), Verdict::Apply(vec![9, 12]));
}

#[test]
fn a_hole_among_waiting_deltas_needs_a_newer_snapshot() {
    let mut book = Continuity::new(ContinuityRule::Range);
    for ids in [ranged(1, 4), ranged(8, 9)] {
        offer(&mut book, ids);
    }
    assert_eq!(offer(&mut book, snapshot(3)), Verdict::TooOld { snapshot: 3, first: 8 });
    assert_eq!(offer(&mut book, snapshot(20)), Verdict::Apply(vec![20]));
    assert_eq!(offer(&mut book, ranged(22, 22)), Verdict::Gap { expected: 21, got: 22 });
}

#[test]
fn a_live_book_is_seeded_anew_without_a_pause() {
    let mut book = Continuity::new(ContinuityRule::Range);
    offer(&mut book, snapshot(10));
    book.reseed();
    assert_eq!(offer(&mut book, ranged(11, 13)), Verdict::Apply(vec![13]));
    assert_eq!(offer(&mut book, ranged(14, 15)), Verdict::Apply(vec![15]));
    assert_eq!(offer(&mut book, snapshot(9)), Verdict::TooOld { snapshot: 9, first: 11 });
    assert_eq!(offer(&mut book, snapshot(13)), Verdict::Apply(vec![13, 15]));
    assert_eq!(offer(&mut book, ranged(16, 16)), Verdict::Apply(vec![16]));
}

#[test]
fn a_snapshot_never_takes_a_live_book_back() {
    let mut book = Continuity::new(ContinuityRule::Range);
    offer(&mut book, snapshot(10));
    offer(&mut book, ranged(11, 13));
    assert_eq!(offer(&mut book, snapshot(12)), Verdict::TooOld { snapshot: 12, first: 13 });
    assert_eq!(offer(&mut book, ranged(14, 14)), Verdict::Apply(vec![14]));
}

#[test]
fn futures_deltas_join_by_range_and_go_on_by_link() {
    let rule = ContinuityRule::RangeThenPrevious;
    let mut book = Continuity::new(rule);
    offer(&mut book, linked(1, 4, 0));
    offer(&mut book, linked(6, 20, 4));
    assert_eq!(offer(&mut book, snapshot(8)), Verdict::Apply(vec![8, 20]));
    assert_eq!(
        offer(&mut book, linked(35, 40, 20)),
        Verdict::Apply(vec![40]),
        "ids between events are sparse"
    );
    assert_eq!(offer(&mut book, linked(35, 40, 20)), Verdict::Ignore);
    let back = Verdict::Old { stands: 40, got: 39 };
    assert_eq!(offer(&mut book, linked(39, 39, 40)), back, "never backwards, whatever it says it follows");
    assert_eq!(offer(&mut book, linked(50, 60, 45)), Verdict::Gap { expected: 40, got: 45 });

    let mut book = Continuity::new(rule);
    offer(&mut book, snapshot(8));
    assert_eq!(
        offer(&mut book, linked(11, 14, 8)),
        Verdict::Apply(vec![14]),
        "it follows the snapshot itself"
    );
    let mut book = Continuity::new(rule);
    offer(&mut book, snapshot(8));
    assert_eq!(offer(&mut book, linked(11, 14, 10)), Verdict::Gap { expected: 8, got: 11 });
}

#[test]
fn okx_deltas_name_the_id_before_whatever_theirs_is() {
    let mut book = Continuity::new(ContinuityRule::Previous);
    assert_eq!(offer(&mut book, linked(5, 5, 4)), Verdict::Ignore, "of an earlier subscription");
    assert_eq!(offer(&mut book, snapshot(10)), Verdict::Apply(vec![10]));
    assert_eq!(offer(&mut book, linked(15, 15, 10)), Verdict::Apply(vec![15]));
    assert_eq!(offer(&mut book, linked(15, 15, 15)), Verdict::Ignore, "an idle book's sign of life");
    assert_eq!(offer(&mut book, linked(3, 3, 15)), Verdict::Apply(vec![3]), "reset in a maintenance");
    assert_eq!(offer(&mut book, linked(5, 5, 3)), Verdict::Apply(vec![5]));
    assert_eq!(offer(&mut book, linked(8, 8, 7)), Verdict::Gap { expected: 5, got: 7 });
    assert_eq!(offer(&mut book, linked(9, 9, 8)), Verdict::Ignore);
    assert_eq!(offer(&mut book, snapshot(20)), Verdict::Apply(vec![20]));
}

#[test]
fn an_okx_delta_that_comes_twice_is_no_gap() {
    let mut okx = Continuity::new(ContinuityRule::Previous);
    offer(&mut okx, snapshot(10));
    assert_eq!(offer(&mut okx, linked(15, 15, 10)), Verdict::Apply(vec![15]));
    assert_eq!(offer(&mut okx, linked(15, 15, 10)), Verdict::Ignore);
    assert_eq!(offer(&mut okx, linked(17, 17, 15)), Verdict::Apply(vec![17]));
}

#[test]
fn a_sign_of_life_after_a_lost_update_is_a_gap() {
    let mut book = Continuity::new(ContinuityRule::Previous);
    offer(&mut book, snapshot(10));
    assert_eq!(offer(&mut book, linked(12, 12, 12)), Verdict::Gap { expected: 10, got: 12 });
}

#[test]
fn bybit_deltas_count_by_one() {
    let mut book = Continuity::new(ContinuityRule::PlusOne);
    offer(&mut book, snapshot(10));
    let delta = |id| UpdateIds { first: None, ..ranged(id, id) };
    assert_eq!(offer(&mut book, delta(11)), Verdict::Apply(vec![11]));
    assert_eq!(offer(&mut book, delta(11)), Verdict::Ignore);
    assert_eq!(offer(&mut book, delta(13)), Verdict::Gap { expected: 12, got: 13 });
    assert_eq!(offer(&mut book, snapshot(1)), Verdict::Apply(vec![1]), "the venue's service restarted");
    assert_eq!(offer(&mut book, delta(2)), Verdict::Apply(vec![2]));
}

#[test]
fn waiting_deltas_are_bounded() {
    let mut book = Continuity::new(ContinuityRule::Range);
    for id in 1..=1_500 {
        offer(&mut book, ranged(id, id));
    }
    assert_eq!(offer(&mut book, snapshot(400)), Verdict::TooOld { snapshot: 400, first: 501 });
    let Verdict::Apply(run) = offer(&mut book, snapshot(1_498)) else { unreachable!("joins") };
    assert_eq!(run, [1_498, 1_499, 1_500]);
}

const RULES: [ContinuityRule; 4] = [
    ContinuityRule::Range,
    ContinuityRule::RangeThenPrevious,
    ContinuityRule::Previous,
    ContinuityRule::PlusOne,
];

/// A venue's unbroken deltas after a snapshot that reaches `start`, one for each `(jump, width)`.
fn unbroken(rule: ContinuityRule, start: u64, shapes: &[(u64, u64)]) -> Vec<UpdateIds> {
    let mut last = start;
    let delta = |(jump, width): &(u64, u64)| {
        let previous = last;
        let first = last + 1 + if rule == ContinuityRule::Range { 0 } else { *jump };
        last = if rule == ContinuityRule::PlusOne { previous + 1 } else { first + *width };
        match rule {
            ContinuityRule::Range => ranged(first, last),
            ContinuityRule::RangeThenPrevious => linked(first, last, previous),
            ContinuityRule::Previous => UpdateIds { first: None, ..linked(last, last, previous) },
            ContinuityRule::PlusOne => UpdateIds { first: None, ..ranged(last, last) },
        }
    };
    shapes.iter().map(delta).collect()
}

proptest! {
    #[test]
    fn a_lost_delta_is_noticed_with_the_next_one(
        rule in prop::sample::select(RULES.to_vec()),
        start in 1_u64..1_000_000,
        shapes in prop::collection::vec((0_u64..50, 0_u64..50), 2..60),
        lost in any::<prop::sample::Index>(),
        waiting in any::<prop::sample::Index>(),
    ) {
        let deltas = unbroken(rule, start, &shapes);
        let lost = lost.index(deltas.len());
        let by_rest = matches!(rule, ContinuityRule::Range | ContinuityRule::RangeThenPrevious);
        let waiting = if by_rest { waiting.index(lost + 1) } else { 0 };
        let mut book = Continuity::new(rule);
        let mut applied = Vec::new();
        for ids in &deltas[..waiting] {
            prop_assert_eq!(offer(&mut book, *ids), Verdict::Buffered);
        }
        let Verdict::Apply(run) = offer(&mut book, snapshot(start)) else { unreachable!("joins") };
        applied.extend(run.into_iter().skip(1));
        for ids in &deltas[waiting..lost] {
            let Verdict::Apply(run) = offer(&mut book, *ids) else { unreachable!("follows") };
            applied.extend(run);
        }
        prop_assert_eq!(applied, deltas[..lost].iter().map(|ids| ids.last).collect::<Vec<_>>());
        if let Some(next) = deltas.get(lost + 1) {
            let gap = matches!(offer(&mut book, *next), Verdict::Gap { .. });
            prop_assert!(gap && !book.is_live());
        }
    }
}
