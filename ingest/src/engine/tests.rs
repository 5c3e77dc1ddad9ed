//! What reports and commands cost, and what becomes of published topics as one engine follows another.

use std::sync::Arc;
use std::time::Duration;

use bond_core::log::LogError;
use bond_core::publish::{PublishBatch, PublishError, PublishRequest, PublishedAt};
use bond_core::source::SourceState;
use bond_core::time::{ManualClock, UnixNanos};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::probe::{self, Probe, RING};
use super::{EngineHandle, Ports, start};
use crate::session::Network;

async fn alone(most: usize) -> Probe {
    Probe::alone(most).await.expect("an engine")
}

#[tokio::test]
async fn a_report_costs_the_topics_that_it_concerns_however_many_run() {
    let mut probe = alone(20_000).await;
    probe.want(5_000);
    let before = probe.tellings();
    probe.report(1_000, SourceState::Unavailable);
    assert_eq!(probe.tellings() - before, 1_000);
    assert_eq!(probe.told(), 1_000, "each topic is told");
    (0..100).for_each(|_| probe.wake());
    assert_eq!(probe.tellings() - before, 1_000, "who sleeps is not looked at");
}

#[tokio::test]
async fn the_board_names_a_bounded_number_of_what_cannot_be_had() {
    let mut probe = alone(20_000).await;
    probe.want(500);
    probe.report(500, SourceState::Unavailable);
    let named =
        |probe: &Probe| probe.ports().board.snapshot().keys().filter(|name| name.contains(':')).count();
    assert_eq!(named(&probe), 64);
    probe.report(490, SourceState::Connected);
    assert_eq!(named(&probe), 10, "those that found no room before are named once there is some");
}

#[tokio::test]
async fn beyond_the_bound_topics_are_told_that_there_is_a_limit() {
    let mut probe = alone(300).await;
    probe.want(500);
    assert_eq!(probe.told(), 200, "those beyond, and no other");
    assert_eq!(probe.ports().board.snapshot()["okx"].state, SourceState::Unavailable);
    probe.report(300, SourceState::Connected);
    assert_eq!(probe.ports().board.snapshot()["okx"].state, SourceState::Connected);
}

async fn engine(ports: &Ports, cancel: &CancellationToken) -> EngineHandle {
    let network = Network::new().expect("a network");
    start(probe::config(16), ports.clone(), network, cancel.clone()).await.expect("an engine")
}

async fn publish(engine: &EngineHandle) -> Result<PublishedAt, PublishError> {
    let batch = PublishBatch::parse(r#"{"events":[{"payload":{"bid":1}}]}"#).expect("a batch");
    let topic = "prices.IN1234567890".parse().expect("a topic");
    engine.publisher().publish(PublishRequest { topic, batch, key: None, entry: None }).await
}

#[tokio::test(start_paused = true)]
async fn published_topics_pass_from_engine_to_engine_and_who_is_fenced_off_there_ends() {
    let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(100)));
    let (ports, cancel) = (probe::ports(Arc::clone(&clock)), CancellationToken::new());
    let first = engine(&ports, &cancel).await;
    let before = publish(&first).await.expect("published");
    let second = engine(&ports, &cancel).await;
    // Time enough for it to end what nobody wants.
    for _ in 0..4 {
        clock.advance(RING);
        sleep(Duration::from_secs(3)).await;
    }
    let after = publish(&second).await.expect("published");
    assert_eq!((after.epoch, after.first_seq), (before.epoch, 2));
    assert!(matches!(publish(&first).await, Err(PublishError::Unavailable(_))));
    assert_eq!(first.stopped().await, Err(LogError::Fenced), "it had nothing else to append");
    cancel.cancel();
    let publisher = second.publisher();
    assert_eq!(second.stopped().await, Ok(()));
    let topic = "prices.IN1234567890".parse().expect("a topic");
    assert!(matches!(publisher.end(&topic).await, Err(PublishError::Unavailable(_))), "it has stopped");
    assert_eq!(ports.supervisor.death(), None);
}
