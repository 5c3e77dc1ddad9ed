//! One of the tasks that write published topics: one batch after another.

use std::time::Duration;

use bond_core::log::{Appended, LogError, Publication, PublishOutcome};
use bond_core::position::{Epoch, Position};
use bond_core::publish::{PublishError, PublishRequest, PublishedAt};
use bond_core::time::UnixNanos;
use bond_core::topic::{PublishedTopic, Topic};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::states::TopicHeads;
use super::step::TopicHead;
use super::{WriterPorts, unavailable};

/// The most bytes of states that one task keeps.
const STATES: usize = 8 << 20;

/// How long to wait before a log that failed is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// How often a batch is computed anew because its topic's head was another than was thought.
const TRIES: usize = 4;

/// What a writer is asked for, and until when the answer is waited for.
pub(super) enum TopicJob {
    Publish {
        request: PublishRequest,
        until: Instant,
        reply: oneshot::Sender<Result<PublishedAt, PublishError>>,
    },
    End {
        topic: PublishedTopic,
        until: Instant,
        reply: oneshot::Sender<Result<bool, PublishError>>,
    },
}

/// A writer, and what it remembers.
pub(super) struct TopicWriter {
    ports: WriterPorts,
    heads: TopicHeads,
    is_fenced: bool,
}

/// What a log has answered.
struct Answered<T> {
    answer: T,
    /// Whether it was asked before, and did not say what became of that.
    is_repeated: bool,
}

impl TopicWriter {
    pub(super) fn new(ports: WriterPorts) -> Self {
        Self { ports, heads: TopicHeads::new(STATES), is_fenced: false }
    }

    /// Writes until `over`. Where another process has taken over the log, it cancels `over` itself.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<TopicJob>, over: CancellationToken) {
        while let Some(Some(job)) = over.run_until_cancelled(jobs.recv()).await {
            self.work(job).await;
            if self.is_fenced {
                over.cancel();
            }
        }
        // Where nobody can send any more, there is nothing to do.
        over.cancelled().await;
    }

    async fn work(&mut self, job: TopicJob) {
        // Whoever asked may have gone.
        match job {
            TopicJob::Publish { request, until, reply } => {
                let outcome = self.publish(&request, until).await;
                if matches!(outcome, Err(PublishError::Unavailable(_))) {
                    self.heads.forget(&request.topic);
                }
                drop(reply.send(outcome));
            }
            TopicJob::End { topic, until, reply } => drop(reply.send(self.end(&topic, until).await)),
        }
    }

    async fn publish(
        &mut self,
        request: &PublishRequest,
        until: Instant,
    ) -> Result<PublishedAt, PublishError> {
        for _ in 0..TRIES {
            let (head, is_kept) = self.head(&request.topic, until).await?;
            match head.prepare(request, self.ports.clock.now()) {
                Ok(publication) => {
                    if let Some(at) = self.append(&request.topic, head, publication, until).await? {
                        return Ok(at);
                    }
                }
                // A topic may have ended by itself: what is kept of it must not refuse anything.
                Err(_) if is_kept => self.heads.forget(&request.topic),
                Err(refusal) => return self.first_answer(request, refusal, until).await,
            }
        }
        Err(unavailable("the topic's head is another each time"))
    }

    /// Where a topic stands, and whether that was known here.
    async fn head(
        &mut self,
        topic: &PublishedTopic,
        until: Instant,
    ) -> Result<(TopicHead, bool), PublishError> {
        if let Some(head) = self.heads.get(topic) {
            return Ok((head, true));
        }
        let name = Topic::Published(topic.clone());
        let found = self.insist(until, || self.ports.log.state(&name)).await;
        Ok((self.heard(found)?.answer.into(), false))
    }

    /// Appends; `None` where the head is another, so that the batch is to be computed anew.
    async fn append(
        &mut self,
        topic: &PublishedTopic,
        head: TopicHead,
        publication: Publication,
        until: Instant,
    ) -> Result<Option<PublishedAt>, PublishError> {
        let Answered { answer, is_repeated } = self.ask(topic, &publication, until).await?;
        match answer {
            PublishOutcome::Appended(appended) => {
                let last_seq = appended.first_seq + publication.records.len() as u64 - 1;
                let at = published_at(appended, last_seq);
                self.heads.put(topic, head.after(publication, &at));
                Ok(Some(at))
            }
            PublishOutcome::Repeated(appended, last_seq) => {
                self.heads.forget(topic);
                Ok(Some(published_at(appended, last_seq)))
            }
            PublishOutcome::KeyReused => Err(PublishError::KeyReused),
            PublishOutcome::Moved => {
                self.heads.forget(topic);
                if !is_repeated {
                    return Ok(None);
                }
                let (head, _) = self.head(topic, until).await?;
                Ok(head.appended(&publication))
            }
        }
    }

    /// The answer to a batch that is refused as things stand, and that may have been appended before they stood so.
    async fn first_answer(
        &mut self,
        request: &PublishRequest,
        refusal: PublishError,
        until: Instant,
    ) -> Result<PublishedAt, PublishError> {
        if request.key.is_none() {
            return Err(refusal);
        }
        let question = Publication {
            after: Some(nowhere()),
            records: request.batch.records(self.ports.clock.now()),
            state: None,
            key: request.key.clone(),
            entry: None,
        };
        match self.ask(&request.topic, &question, until).await?.answer {
            PublishOutcome::Repeated(appended, last_seq) => Ok(published_at(appended, last_seq)),
            PublishOutcome::KeyReused => Err(PublishError::KeyReused),
            PublishOutcome::Appended(_) | PublishOutcome::Moved => Err(refusal),
        }
    }

    async fn ask(
        &mut self,
        topic: &PublishedTopic,
        publication: &Publication,
        until: Instant,
    ) -> Result<Answered<PublishOutcome>, PublishError> {
        let (topic, fence) = (Topic::Published(topic.clone()), self.ports.fence);
        let publish = || self.ports.log.publish(fence, &topic, publication.clone());
        let answered = self.insist(until, publish).await;
        self.heard(answered)
    }

    async fn end(&mut self, topic: &PublishedTopic, until: Instant) -> Result<bool, PublishError> {
        self.heads.forget(topic);
        let (head, _) = self.head(topic, until).await?;
        if head.position.is_none() {
            return Ok(false);
        }
        let (topic, fence) = (Topic::Published(topic.clone()), self.ports.fence);
        let ended = self.insist(until, || self.ports.log.end(fence, &topic)).await;
        self.heard(ended).map(|_| true)
    }

    /// Asks a log until it answers or the time is up.
    async fn insist<T, F>(&self, until: Instant, ask: impl Fn() -> F) -> Result<Answered<T>, LogError>
    where
        F: Future<Output = Result<T, LogError>>,
    {
        let mut is_repeated = false;
        if Instant::now() >= until {
            return Err(LogError::Unavailable("too many batches waited before this one".to_owned()));
        }
        loop {
            let error = match timeout_at(until, ask()).await {
                Ok(Ok(answer)) => return Ok(Answered { answer, is_repeated }),
                Ok(Err(LogError::Fenced)) => return Err(LogError::Fenced),
                Ok(Err(error)) => error,
                Err(_) => LogError::Unavailable("the event log did not answer in time".to_owned()),
            };
            if Instant::now() + RETRY >= until {
                return Err(error);
            }
            is_repeated = true;
            sleep(RETRY).await;
        }
    }

    fn heard<T>(&mut self, answered: Result<Answered<T>, LogError>) -> Result<Answered<T>, PublishError> {
        self.is_fenced |= matches!(answered, Err(LogError::Fenced));
        answered.map_err(|error| PublishError::Unavailable(error.to_string()))
    }
}

fn published_at(appended: Appended, last_seq: u64) -> PublishedAt {
    let Appended { epoch, first_seq } = appended;
    PublishedAt { epoch, first_seq, last_seq }
}

/// A head that no topic has.
fn nowhere() -> Position {
    Position { epoch: Epoch::begun(UnixNanos::EPOCH, 0), seq: 0 }
}
