//! Order books: what is forwarded is contiguous, whatever the venue loses.

use std::time::{Duration, Instant};

use bond_core::event::{BookUpdate, BookUpdateKind, Channel};
use bond_core::instrument::Venue;
use bond_core::source::SourceState;
use bond_sim::Entry;

use crate::rig::{Rig, VENUES, hasty};

/// The venue's rule, written down once more: a snapshot first, and after it nothing but what follows.
fn assert_contiguous(venue: Venue, updates: &[BookUpdate]) {
    assert!(!updates.is_empty(), "{venue}: no updates");
    let mut last = None;
    for update in updates {
        let follows = match (update.kind, last, venue) {
            (BookUpdateKind::Snapshot, ..) => true,
            (_, None, _) => false,
            (_, Some(last), Venue::Binance) => update.first_id.unwrap() <= last + 1 && last < update.last_id,
            (_, Some(last), Venue::Okx) => update.prev_id == Some(last),
            (_, Some(last), _) => update.last_id == last + 1,
        };
        assert!(
            follows,
            "{venue}: {:?} after {last:?}",
            (update.kind, update.first_id, update.prev_id, update.last_id)
        );
        last = Some(update.last_id);
    }
}

fn snapshots(updates: &[BookUpdate]) -> usize {
    updates.iter().filter(|update| update.kind == BookUpdateKind::Snapshot).count()
}

async fn live_book(venue: Venue) -> Rig {
    let mut rig = Rig::new(venue, hasty()).await;
    rig.want(&[Channel::OrderBook]);
    rig.until(Channel::OrderBook, SourceState::Connected).await;
    rig.flow(Channel::OrderBook, 5).await;
    rig
}

async fn a_break_is_told_and_mended(fault: &str) {
    for venue in VENUES {
        let mut rig = live_book(venue).await;
        rig.inject(fault);
        let reason = rig.until(Channel::OrderBook, SourceState::Suspect).await;
        assert!(reason.starts_with("updates are missing"), "{venue}: {reason}");
        rig.until(Channel::OrderBook, SourceState::Connected).await;
        rig.flow(Channel::OrderBook, 5).await;
        assert_contiguous(venue, &rig.updates);
        assert!(snapshots(&rig.updates) >= 2, "{venue}: rebuilt on a new snapshot");
    }
}

#[tokio::test]
async fn a_dropped_update_is_found_and_the_book_rebuilt() {
    a_break_is_told_and_mended("drop:book:1").await;
}

#[tokio::test]
async fn a_jump_of_ids_is_found_and_the_book_rebuilt() {
    a_break_is_told_and_mended("jump=5").await;
}

/// By OKX's rule each update names the one before, so that a repetition is a break like any other.
#[tokio::test]
async fn a_repeated_update_is_no_break() {
    for venue in [Venue::Binance, Venue::Bybit] {
        let mut rig = live_book(venue).await;
        rig.inject("repeat:book:3");
        rig.flow(Channel::OrderBook, 20).await;
        assert_contiguous(venue, &rig.updates);
        assert_eq!(snapshots(&rig.updates), 1, "{venue}");
    }
}

#[tokio::test]
async fn a_snapshot_refused_for_too_many_requests_comes_when_the_venue_allows() {
    let mut rig = Rig::new(Venue::Binance, hasty()).await;
    rig.inject("rest-429=1s");
    rig.want(&[Channel::OrderBook]);
    assert_eq!(rig.until(Channel::OrderBook, SourceState::Suspect).await, "no snapshot: http status 429");
    let refused = Instant::now();
    rig.until(Channel::OrderBook, SourceState::Connected).await;
    assert!(refused.elapsed() >= Duration::from_millis(900), "after {:?}", refused.elapsed());
    rig.flow(Channel::OrderBook, 5).await;
    assert_contiguous(Venue::Binance, &rig.updates);
}

#[tokio::test]
async fn a_late_snapshot_finds_the_updates_that_came_meanwhile() {
    let mut rig = Rig::new(Venue::Binance, hasty()).await;
    rig.inject("slow-rest=1s");
    rig.want(&[Channel::OrderBook]);
    rig.until(Channel::OrderBook, SourceState::Connected).await;
    rig.flow(Channel::OrderBook, 5).await;
    assert_contiguous(Venue::Binance, &rig.updates);
    let requests = |entry: &Entry| matches!(entry, Entry::Served { path, .. } if path.contains("depth"));
    assert_eq!(rig.simulator.journal().entries().iter().filter(|entry| requests(entry)).count(), 1);
}
