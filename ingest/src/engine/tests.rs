//! What reports and commands cost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::log::EventLog;
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::{SourceBoard, SourceState};
use bond_core::store::{Claim, DesiredStream, StoreError, StreamStore};
use bond_core::time::{ManualClock, UnixNanos};
use bond_core::topic::StreamId;
use bond_supervise::Supervisor;

use super::Ports;
use super::probe::Probe;

/// Nobody wants a stream.
struct NoStreams;

#[async_trait]
impl StreamStore for NoStreams {
    async fn claim(
        &self,
        _: DesiredStream,
        _: Claim,
        quota: usize,
        _: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError> {
        Err(StoreError::Quota { limit: quota })
    }

    async fn release(&self, _: &StreamId, _: &str, _: UnixNanos) -> Result<Option<bool>, StoreError> {
        Ok(None)
    }

    async fn get(
        &self,
        _: &StreamId,
        _: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        Ok(None)
    }

    async fn list(
        &self,
        _: &str,
        _: Option<&StreamId>,
        _: usize,
        _: UnixNanos,
    ) -> Result<Vec<(DesiredStream, Claim)>, StoreError> {
        Ok(Vec::new())
    }

    async fn desired(&self, _: UnixNanos) -> Result<Vec<DesiredStream>, StoreError> {
        Ok(Vec::new())
    }
}

async fn probe(most: usize) -> Probe {
    let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(100)));
    let retention = Retention { ring: Duration::from_secs(60), topic_bytes: 1 << 20, total_bytes: 1 << 20 };
    let log = MemoryLog::new(retention, Arc::clone(&clock) as _, 1);
    let fence = log.acquire().await.expect("fence");
    let ports = Ports {
        log: Arc::new(log),
        store: Arc::new(NoStreams),
        board: SourceBoard::default(),
        meters: Meters::default(),
        clock,
        supervisor: Supervisor::default(),
    };
    Probe::new(ports, most, fence).expect("an engine")
}

#[tokio::test]
async fn a_report_costs_the_topics_that_it_concerns_however_many_run() {
    let mut probe = probe(20_000).await;
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
    let mut probe = probe(20_000).await;
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
    let mut probe = probe(300).await;
    probe.want(500);
    assert_eq!(probe.told(), 200, "those beyond, and no other");
    assert_eq!(probe.ports().board.snapshot()["okx"].state, SourceState::Unavailable);
    probe.report(300, SourceState::Connected);
    assert_eq!(probe.ports().board.snapshot()["okx"].state, SourceState::Connected);
}
