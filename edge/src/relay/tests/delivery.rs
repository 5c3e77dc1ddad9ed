//! What arrives, in which order and form.

use std::time::Duration;

use bond_core::connection::{Carries, Connection};
use bond_core::log::EventKind;
use bond_core::position::{Epoch, Position, Start};
use tokio::time::Instant;

use super::host::{Host, stream, stream_topic, until};

fn after(host: &Host, name: &str, epoch: &str, seq: u64) -> Connection {
    let position = Position { epoch: Epoch::new(epoch).expect("epoch"), seq };
    Connection {
        carries: Carries::Stream { id: stream(), start: Start::After(position) },
        ..host.to_stream(name)
    }
}

#[tokio::test(start_paused = true)]
async fn everyone_gets_every_event_in_order_and_the_counters_know() {
    let host = Host::start().await;
    let names = host.connect_many(40).await;
    for _ in 0..10 {
        host.publish(30).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for name in &names {
        host.reaches(name, 300).await;
        assert_eq!(host.seqs(name), (1..=300).collect::<Vec<_>>());
    }
    assert_eq!(host.relay.stats().delivered, 300 * 40);
    assert_eq!(host.meters().of(&stream()).msgs_out(), 300 * 40);
    assert!(host.meters().of(&stream()).latency().p50 > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_goes_on_from_where_it_asked_for() {
    let host = Host::start().await;
    host.publish(500).await;
    let epoch = host.epoch().await;
    host.connect(after(&host, "resumed", &epoch, 123)).await;
    host.connect(after(&host, "stranger", "another", 3)).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    host.connect(host.to_stream("live")).await;
    host.reaches("resumed", 500).await;
    assert_eq!(host.seqs("resumed"), (124..=500).collect::<Vec<_>>());
    host.reaches("stranger", 500).await;
    let gap = &host.gateway.of_type("stranger", "gap")[0];
    assert_eq!((gap["reason"].as_str(), gap["to_seq"].as_u64()), (Some("epoch_changed"), Some(0)));
    assert!(gap["from_seq"].is_null());
    tokio::time::sleep(Duration::from_millis(1)).await;
    host.publish(1).await;
    host.reaches("live", 501).await;
    assert_eq!(host.seqs("live"), [501]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_client_gets_events_and_nothing_else() {
    let host = Host::start().await;
    let quiet = Connection { control: false, ..host.to_stream("quiet") };
    host.connect(quiet).await;
    host.connect(host.to_stream("told")).await;
    host.publish(1).await;
    host.keep(&stream_topic(), "\"state\":\"stale\"").await;
    host.publish(1).await;
    host.reaches("told", 2).await;
    host.reaches("quiet", 2).await;
    let types = |name| {
        let messages = host.gateway.messages(name);
        messages.iter().map(|m| m["type"].as_str().expect("type").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(types("quiet"), ["trade", "trade"]);
    assert_eq!(types("told"), ["heartbeat", "trade", "status", "trade"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_to_fill_and_no_longer() {
    let host = Host::start().await;
    let wait = Duration::from_secs(1);
    let quiet = Connection { control: false, ..host.batched("b", 100, wait) };
    host.connect(quiet).await;
    let begun = Instant::now();
    for _ in 0..200 {
        host.publish(1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    host.reaches("b", 200).await;
    let frames = host.gateway.frames("b");
    assert!(frames.len() <= 20, "{} frames for 200 events at 10 a second", frames.len());
    let first = frames[0].at - begun;
    assert!(first >= wait && first <= wait + Duration::from_millis(200), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_catches_up_does_not_hold_up_the_others() {
    let host = Host::start().await;
    let body = format!("\"pad\":\"{}\"", "x".repeat(2_000));
    host.append(&stream_topic(), EventKind::Trade, vec![body; 2_000]).await;
    let epoch = host.epoch().await;
    for n in 0..40 {
        host.connect(after(&host, &format!("late{n}"), &epoch, 0)).await;
    }
    host.connect(after(&host, "prompt", &epoch, 1_999)).await;
    let begun = Instant::now();
    host.reaches("prompt", 2_000).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    for n in 0..40 {
        host.reaches(&format!("late{n}"), 2_000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_fell_behind_the_ring_is_told_what_it_missed() {
    let host = Host::with(|config| config.stall = Duration::from_secs(3_600)).await;
    host.connect(host.to_stream("slow")).await;
    host.publish(10).await;
    host.reaches("slow", 10).await;
    host.gateway.fail_posts(|_, _| Some(bond_core::deliver::Stop::Slow));
    for _ in 0..100 {
        host.publish(1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    host.gateway.heal();
    host.reaches("slow", 110).await;
    let gaps = host.gateway.of_type("slow", "gap");
    assert_eq!((gaps[0]["from_seq"].as_u64(), gaps[0]["reason"].as_str()), (Some(11), Some("slow_consumer")));
    assert_eq!(host.seqs("slow")[..10], (1..=10).collect::<Vec<_>>());
    assert!(host.meters().of(&stream()).dropped() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_anew_is_announced() {
    let host = Host::start().await;
    host.connect(host.to_stream("c")).await;
    host.publish(3).await;
    host.reaches("c", 3).await;
    host.end(&stream_topic()).await;
    host.publish(2).await;
    until(|| host.gateway.of_type("c", "trade").len() == 5).await;
    assert_eq!(host.seqs("c"), [1, 2, 3, 1, 2]);
}
