//! The single writer of published topics, beside the engine and under the same fence.
//!
//! Topics are spread over a few tasks by their names, so that one topic is in order and a slow one holds up an eighth of the others. A batch that
//! finds its task's queue full is refused: it is never dropped, and never waits where nobody sees it.

mod states;
mod step;
#[cfg(test)]
mod tests;
mod writer;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::log::{EventLog, Fence};
use bond_core::publish::{PublishError, PublishRequest, PublishedAt, Publisher};
use bond_core::time::Clock;
use bond_core::topic::PublishedTopic;
use bond_supervise::Supervisor;
use metrics::counter;
use smol_str::format_smolstr;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::writer::{TopicJob, TopicWriter};

/// The tasks that write.
const WRITERS: usize = 8;

/// The batches that may wait for one of them.
const WAITING: usize = 64;

/// How long a batch may take, from when it is handed over. Afterwards whoever sent it is told that the writer cannot be reached.
const WITHIN: Duration = Duration::from_secs(2);

/// What the writers share.
#[derive(Clone)]
pub struct WriterPorts {
    /// Where events and states go.
    pub log: Arc<dyn EventLog>,
    /// The right to write.
    pub fence: Fence,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// The way to the writers within one process.
pub struct TopicPublisher {
    writers: Vec<mpsc::Sender<TopicJob>>,
}

impl TopicPublisher {
    /// Starts the writers. They run until `over`, and cancel it themselves where another process has taken over the log.
    pub fn start(
        ports: &WriterPorts,
        supervisor: &Supervisor,
        over: &CancellationToken,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let start_one = |index: usize| {
            let (sender, jobs) = mpsc::channel(WAITING);
            let writer = TopicWriter::new(ports.clone());
            let name = format_smolstr!("publisher-{index}");
            (sender, supervisor.spawn(name, over, writer.run(jobs, over.clone())))
        };
        let (writers, tasks) = (0..WRITERS).map(start_one).unzip();
        (Self { writers }, tasks)
    }

    fn hand_over(&self, topic: &PublishedTopic, job: TopicJob) -> Result<(), PublishError> {
        let mut hasher = DefaultHasher::new();
        topic.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % WRITERS as u64).unwrap_or_default();
        self.writers[index].try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => unavailable("too many batches wait for it"),
            mpsc::error::TrySendError::Closed(_) => unavailable("it has stopped"),
        })
    }
}

fn unavailable(why: &str) -> PublishError {
    PublishError::Unavailable(why.to_owned())
}

async fn answer<T>(reply: oneshot::Receiver<Result<T, PublishError>>) -> Result<T, PublishError> {
    reply.await.unwrap_or_else(|_| Err(unavailable("it has stopped")))
}

#[async_trait]
impl Publisher for TopicPublisher {
    async fn publish(&self, request: PublishRequest) -> Result<PublishedAt, PublishError> {
        let (reply, answered) = oneshot::channel();
        let (topic, events) = (request.topic.clone(), request.batch.events.len());
        let job = TopicJob::Publish { request, until: Instant::now() + WITHIN, reply };
        let outcome = match self.hand_over(&topic, job) {
            Ok(()) => answer(answered).await,
            Err(error) => Err(error),
        };
        counter!("bond_published_events_total", "outcome" => name(&outcome)).increment(events as u64);
        outcome
    }

    async fn end(&self, topic: &PublishedTopic) -> Result<bool, PublishError> {
        let (reply, answered) = oneshot::channel();
        let job = TopicJob::End { topic: topic.clone(), until: Instant::now() + WITHIN, reply };
        self.hand_over(topic, job)?;
        answer(answered).await
    }
}

const fn name(outcome: &Result<PublishedAt, PublishError>) -> &'static str {
    match outcome {
        Ok(_) => "appended",
        Err(PublishError::Conflict(_)) => "conflict",
        Err(PublishError::KeyReused) => "key_reused",
        Err(PublishError::Taken(_)) => "taken",
        Err(PublishError::StateTooLarge) => "too_large",
        Err(PublishError::Unavailable(_)) => "unavailable",
    }
}
