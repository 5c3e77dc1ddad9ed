//! A log in memory with faults at will.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bond_core::log::{
    Appended, EventLog, Fence, LogError, Publication, PublishOutcome, PublishedHead, PublishedState, Record,
    Run, Tail,
};
use bond_core::memory::MemoryLog;
use bond_core::position::Position;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bytes::Bytes;
use parking_lot::Mutex;

/// What becomes of a `publish`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is not carried out.
    Away,
    /// It is never answered.
    Silent,
}

/// The faults of the next calls of `publish`, in order.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<VecDeque<Fault>>>);

impl Faults {
    pub(super) fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().extend(faults);
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}

pub(super) struct FaultyLog {
    pub(super) log: MemoryLog,
    pub(super) faults: Faults,
}

#[async_trait]
impl EventLog for FaultyLog {
    async fn acquire(&self) -> Result<Fence, LogError> {
        self.log.acquire().await
    }

    async fn append(&self, fence: Fence, topic: &Topic, records: Vec<Record>) -> Result<Appended, LogError> {
        self.log.append(fence, topic, records).await
    }

    async fn publish(
        &self,
        fence: Fence,
        topic: &Topic,
        publication: Publication,
    ) -> Result<PublishOutcome, LogError> {
        let fault = self.faults.0.lock().pop_front();
        match fault {
            None => return self.log.publish(fence, topic, publication).await,
            Some(Fault::AnswerLost) => drop(self.log.publish(fence, topic, publication).await?),
            Some(Fault::Away) => {}
            Some(Fault::Silent) => std::future::pending().await,
        }
        Err(LogError::Unavailable("away for a moment".to_owned()))
    }

    async fn state(&self, topic: &Topic) -> Result<Option<PublishedState>, LogError> {
        self.log.state(topic).await
    }

    async fn published(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<PublishedHead>, LogError> {
        self.log.published(prefix, after, limit).await
    }

    async fn keep(&self, fence: Fence, topic: &Topic, body: Bytes) -> Result<Option<Position>, LogError> {
        self.log.keep(fence, topic, body).await
    }

    async fn end(&self, fence: Fence, topic: &Topic) -> Result<(), LogError> {
        self.log.end(fence, topic).await
    }

    async fn head(&self, topic: &Topic) -> Result<Option<Position>, LogError> {
        self.log.head(topic).await
    }

    async fn read(
        &self,
        topic: &Topic,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Option<Run>, LogError> {
        self.log.read(topic, after, limit).await
    }

    async fn position_at(&self, topic: &Topic, time: UnixNanos) -> Result<Option<Position>, LogError> {
        self.log.position_at(topic, time).await
    }

    async fn topics(&self) -> Result<Vec<Topic>, LogError> {
        self.log.topics().await
    }

    fn tail(&self) -> Box<dyn Tail> {
        self.log.tail()
    }
}
