//! A relay that dies, one that ends in order, and one whose lease runs out.

use std::time::Duration;

use bond_core::connection::{Carries, Connection};
use bond_core::deliver::CLOCK_SKEW;
use bond_core::position::{Epoch, Position, Start};
use bond_core::time::UnixNanos;
use tokio::time::{Instant, sleep};

use super::host::{Host, stream, until};

#[tokio::test(start_paused = true)]
async fn a_successor_of_a_relay_that_was_killed_leaves_nothing_out() {
    let mut host = Host::start().await;
    let names = host.connect_many(50).await;
    host.connect(host.batched("b", 50, Duration::from_millis(300))).await;
    for round in 1..=4 {
        for _ in 0..50 {
            host.publish(2).await;
            sleep(Duration::from_millis(37)).await;
        }
        host.relay.crash();
        host.publish(3).await;
        host.take_over().await;
        if round == 2 {
            // Long enough for the requests to count as heard of.
            sleep(Duration::from_secs(130)).await;
        }
    }
    for name in names.iter().map(String::as_str).chain(["b"]) {
        host.reaches(name, 412).await;
        assert_eq!(host.seqs(name), (1..=412).collect::<Vec<_>>(), "{name}");
        assert_eq!(host.gateway.of_type(name, "gap").len(), 0, "{name}");
        assert_eq!(host.gateway.of_type(name, "heartbeat").len(), 1, "no heartbeat for a takeover");
    }
    let posts = host.gateway.of_type("c0", "trade").len();
    assert!(posts < 412 + 4 * 70, "only what came since the last save is repeated: {posts}");
}

#[tokio::test(start_paused = true)]
async fn a_successor_of_a_relay_that_ended_in_order_repeats_nothing() {
    let mut host = Host::start().await;
    let names = host.connect_many(20).await;
    for _ in 0..30 {
        host.publish(1).await;
        sleep(Duration::from_millis(33)).await;
    }
    host.relay.stop().await;
    host.publish(10).await;
    host.take_over().await;
    for name in &names {
        host.reaches(name, 40).await;
        assert_eq!(host.gateway.of_type(name, "trade").len(), 40, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_came_after_the_save_wins_over_it() {
    let mut host = Host::start().await;
    let connection = host.to_stream("c");
    host.connect(connection.clone()).await;
    host.publish(20).await;
    host.reaches("c", 20).await;
    sleep(Duration::from_secs(2)).await;
    host.relay.crash();
    let epoch = Epoch::new(&host.epoch().await).expect("epoch");
    let start = Start::After(Position { epoch, seq: 5 });
    let carries = Carries::Stream { id: stream(), start };
    let now = host.clock.now();
    host.connect(Connection { asked_at: now, placed_at: now, carries, ..connection }).await;
    host.take_over().await;
    until(|| host.gateway.of_type("c", "trade").len() == 35).await;
    let messages = host.gateway.of_type("c", "trade");
    assert_eq!(messages[20]["seq"], 6);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_for_since_the_save_does_not_undo_it_where_it_names_no_place() {
    let mut host = Host::start().await;
    let connection = host.to_stream("c");
    host.connect(connection.clone()).await;
    host.publish(20).await;
    host.reaches("c", 20).await;
    sleep(Duration::from_secs(2)).await;
    host.relay.crash();
    // A refreshed token, say.
    let mut refreshed = connection;
    refreshed.renew(host.clock.now());
    host.connect(refreshed).await;
    host.publish(1).await;
    host.take_over().await;
    host.reaches("c", 21).await;
    assert_eq!(host.gateway.of_type("c", "trade").len(), 21, "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn where_the_positions_were_forgotten_the_old_lease_is_waited_out() {
    let mut host = Host::start().await;
    host.connect(host.to_stream("c")).await;
    host.publish(5).await;
    host.reaches("c", 5).await;
    host.relay.crash();
    host.cursors.forget();
    host.publish(1).await;
    host.config.wait = Duration::from_secs(10);
    let begun = Instant::now();
    host.take_over_at_once();
    host.reaches("c", 6).await;
    assert!(begun.elapsed() >= Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(host.seqs("c"), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_that_could_outlast_the_lease() {
    let host = Host::start().await;
    let lease = Instant::now() + Duration::from_secs(3);
    *host.until.lock() = lease;
    *host.gateway.until.lock() = Some(lease);
    host.connect(host.to_stream("c")).await;
    for _ in 0..50 {
        host.publish(40).await;
        sleep(Duration::from_millis(100)).await;
    }
    for (begun, deadline) in host.gateway.deadlines() {
        let left = host.clock.now().since(UnixNanos::from_millis(deadline));
        let deadline = Instant::now() - left;
        assert!(
            deadline > begun && deadline + 2 * CLOCK_SKEW < lease,
            "{:?} before the end",
            lease - deadline
        );
    }
    let begun = host.gateway.invocations().len();
    sleep(Duration::from_secs(20)).await;
    assert_eq!(host.gateway.invocations().len(), begun, "none without a lease");
    assert!(begun > 1 && host.seqs("c").len() < 2_000);
    assert!(host.gateway.frames("c").iter().all(|frame| frame.at < lease));
    *host.until.lock() = Instant::now() + Duration::from_secs(3_600);
    *host.gateway.until.lock() = None;
    host.reaches("c", 2_000).await;
    assert_eq!(host.seqs("c").len(), 2_000);
}
