//! Order books, over a venue in memory and under paused time.

use std::sync::Arc;
use std::time::Duration;

use bond_core::event::BookUpdateKind::{Delta, Snapshot};
use bond_core::event::{BookUpdateKind, Channel, MarketData, MarketEvent};
use bond_core::source::SourceState;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::report::Report;
use crate::rest::RestError;
use crate::session::BookResync;
use crate::session::testing::{BUDGET, Bench, subscription};
use crate::venue::ContinuityRule;

const BTC: &str = "BTC/USDT";
const BOOK: Channel = Channel::OrderBook;

/// The kinds and ids of the next `count` book updates, in whichever reports.
async fn updates(bench: &mut Bench, count: usize) -> Vec<(BookUpdateKind, u64)> {
    let ids = |event: MarketEvent| match event.data {
        MarketData::Book(update) => Some((update.kind, update.last_id)),
        _ => None,
    };
    let mut updates = Vec::new();
    while updates.len() < count {
        updates.extend(bench.events().await.into_iter().filter_map(ids));
    }
    updates
}

#[tokio::test(start_paused = true)]
async fn a_book_is_joined_proven_doubted_and_rebuilt_over_rest() {
    let mut snapshots = ["12", "25"].into_iter();
    let mut bench = Bench::new(ContinuityRule::Range, move || {
        Ok(Bytes::from_static(snapshots.next().unwrap().as_bytes()))
    });
    let book = subscription(BTC, BOOK);
    bench.want(std::slice::from_ref(&book));
    let peer = bench.accept().await;
    for frame in ["delta BTC/USDT 8 10", "delta BTC/USDT 11 13", "delta BTC/USDT 14 14"] {
        peer.say(frame).await;
    }
    // The snapshot at 12 lies within 11..13: what ends before it is dropped.
    let joined = updates(&mut bench, 3).await;
    assert_eq!(joined, [(Snapshot, 12), (Delta, 13), (Delta, 14)]);
    assert_eq!(bench.until(&book, SourceState::Connected).await, "the book is live");
    peer.say("delta BTC/USDT 15 15").await;
    assert_eq!(updates(&mut bench, 1).await, [(Delta, 15)]);
    peer.say("delta BTC/USDT 20 20").await;
    let reason = bench.until(&book, SourceState::Suspect).await;
    assert_eq!(reason, "updates are missing: 16 should have followed, 20 came");
    bench.until(&book, SourceState::Connected).await;
    peer.say("delta BTC/USDT 21 26").await;
    assert_eq!(updates(&mut bench, 1).await, [(Delta, 26)]);
}

#[tokio::test(start_paused = true)]
async fn whoever_keeps_a_book_may_have_it_rebuilt_or_reseeded() {
    let mut snapshots = ["10", "12", "13"].into_iter();
    let snapshot = move || Ok(Bytes::from_static(snapshots.next().unwrap().as_bytes()));
    let mut bench = Bench::new(ContinuityRule::Range, snapshot);
    let book = subscription(BTC, BOOK);
    bench.want(std::slice::from_ref(&book));
    let peer = bench.accept().await;
    peer.say("delta BTC/USDT 10 11").await;
    assert_eq!(updates(&mut bench, 2).await, [(Snapshot, 10), (Delta, 11)]);
    bench.until(&book, SourceState::Connected).await;
    let reason = "best bid differs".to_owned();
    bench.market.order(BookResync::Rebuild { subscription: book.clone(), reason });
    assert_eq!(bench.until(&book, SourceState::Suspect).await, "best bid differs");
    assert_eq!(updates(&mut bench, 1).await, [(Snapshot, 12)]);
    bench.until(&book, SourceState::Connected).await;
    peer.say("delta BTC/USDT 12 13").await;
    assert_eq!(updates(&mut bench, 1).await, [(Delta, 13)]);
    bench.market.order(BookResync::Reseed { subscription: book.clone() });
    assert_eq!(updates(&mut bench, 1).await, [(Snapshot, 13)]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_snapshot_is_asked_for_when_the_venue_allows() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&asked);
    let mut bench = Bench::new(ContinuityRule::Range, move || {
        times.lock().push(Instant::now());
        match times.lock().len() {
            1 => Err(RestError::Status { status: 429, retry_after: Some(Duration::from_secs(15)) }),
            _ => Ok(Bytes::from_static(b"1000")),
        }
    });
    let book = subscription(BTC, BOOK);
    bench.want(std::slice::from_ref(&book));
    let peer = bench.accept().await;
    let chatter = peer.mouth.clone();
    let story = async {
        assert_eq!(bench.until(&book, SourceState::Suspect).await, "no snapshot: http status 429");
        bench.until(&book, SourceState::Connected).await;
    };
    tokio::select! {
        () = story => {}
        () = chatter.repeat("delta BTC/USDT 999 1000") => unreachable!(),
    }
    let asked = asked.lock();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] - asked[0] >= Duration::from_secs(15), "{:?}", asked[1] - asked[0]);
}

#[tokio::test(start_paused = true)]
async fn a_book_with_snapshots_on_the_socket_is_subscribed_to_anew_after_a_gap() {
    let mut bench = Bench::trades_only();
    let book = subscription(BTC, BOOK);
    bench.want(std::slice::from_ref(&book));
    let mut peer = bench.accept().await;
    assert_eq!(peer.heard().await.as_deref(), Some("sub orderbook BTC/USDT"));
    peer.say("whole BTC/USDT 5").await;
    assert_eq!(updates(&mut bench, 1).await, [(Snapshot, 5)]);
    peer.say("delta BTC/USDT 9 9").await;
    bench.until(&book, SourceState::Suspect).await;
    assert_eq!(peer.heard().await.as_deref(), Some("unsub orderbook BTC/USDT"));
    assert_eq!(peer.heard().await.as_deref(), Some("sub orderbook BTC/USDT"));
    peer.say("delta BTC/USDT 10 10").await;
    peer.say("whole BTC/USDT 20").await;
    peer.say("delta BTC/USDT 21 21").await;
    assert_eq!(updates(&mut bench, 1).await, [(Snapshot, 20)], "nothing between the break and the snapshot");
    bench.until(&book, SourceState::Connected).await;
}

#[tokio::test(start_paused = true)]
async fn a_book_whose_snapshot_never_comes_costs_the_connection_in_the_end() {
    let mut bench = Bench::trades_only();
    bench.want(&[subscription(BTC, BOOK)]);
    let mut peer = bench.accept().await;
    let chatter = peer.mouth.clone();
    let venue = async {
        let mut asked = 0;
        while let Some(text) = peer.heard().await {
            asked += usize::from(text.starts_with("sub"));
        }
        asked
    };
    let asked = tokio::select! {
        asked = venue => asked,
        () = chatter.repeat("delta BTC/USDT 1 2") => unreachable!(),
    };
    assert_eq!(asked, 6);
    bench.accept().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_book_stays_unavailable_whatever_rest_would_answer() {
    let mut bench = Bench::new(ContinuityRule::Range, || Ok(Bytes::from_static(b"10")));
    let book = subscription(BTC, BOOK);
    bench.want(std::slice::from_ref(&book));
    let mut peer = bench.accept().await;
    peer.heard().await;
    peer.say("no orderbook BTC/USDT").await;
    bench.until(&book, SourceState::Refused).await;
    let mouth = peer.mouth.clone();
    tokio::select! {
        text = peer.heard() => assert_eq!(text.as_deref(), Some("sub orderbook BTC/USDT")),
        () = mouth.repeat("pong") => unreachable!(),
    }
    while let Ok(report) = bench.reports.try_recv() {
        assert!(!matches!(report, Report::Subscriptions(_)), "nothing is said of it meanwhile: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_book_that_gets_only_what_is_older_than_itself_is_suspect_after_its_budget() {
    let mut snapshots = ["100", "9"].into_iter();
    let mut bench = Bench::new(ContinuityRule::Range, move || {
        Ok(Bytes::from_static(snapshots.next().unwrap().as_bytes()))
    });
    let book = subscription(BTC, BOOK);
    bench.want(std::slice::from_ref(&book));
    let peer = bench.accept().await;
    peer.say("delta BTC/USDT 99 101").await;
    assert_eq!(updates(&mut bench, 2).await, [(Snapshot, 100), (Delta, 101)]);
    let begun = Instant::now();
    let neighbour = peer.mouth.clone();
    let story = async {
        let reason = bench.until(&book, SourceState::Suspect).await;
        assert_eq!(reason, "ids began anew: the book stands at 101, 9 came");
        assert!(begun.elapsed() >= BUDGET, "until then they are ignored, as the venue says");
        assert_eq!(updates(&mut bench, 1).await, [(Snapshot, 9)]);
        bench.until(&book, SourceState::Connected).await;
    };
    tokio::select! {
        () = story => {}
        () = neighbour.repeat("delta BTC/USDT 8 9") => unreachable!(),
    }
    peer.say("delta BTC/USDT 10 11").await;
    assert_eq!(updates(&mut bench, 1).await, [(Delta, 11)]);
}
