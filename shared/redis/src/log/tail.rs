//! A tail: the handle on a reader that runs in a separate task, so that a caller may stop waiting at any moment.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use async_trait::async_trait;
use bond_core::log::{LogError, News, Tail};
use bond_core::position::Position;
use bond_core::topic::Topic;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reader::Reader;
use crate::client::Redis;

/// A message from the reader. Each run comes with the number of the request that it answers.
pub(super) struct TailMessage {
    pub(super) news: News,
    pub(super) answers: Vec<u64>,
}

/// A request to read a topic, or to stop reading it.
pub(super) enum TailRequest {
    Follow { number: u64, after: Option<Position> },
    Unfollow,
}

/// Requests that wait for the reader: the latest for each topic.
#[derive(Default)]
pub(super) struct TailRequests {
    waiting: Mutex<HashMap<Topic, TailRequest>>,
    pub(super) news: Notify,
}

impl TailRequests {
    pub(super) fn take(&self) -> HashMap<Topic, TailRequest> {
        mem::take(&mut *self.waiting.lock())
    }

    fn put(&self, topic: Topic, wish: TailRequest) {
        self.waiting.lock().insert(topic, wish);
        self.news.notify_one();
    }
}

/// A [`Tail`] of a log in Redis.
pub(super) struct RedisTail {
    /// Tells the reader's supervisor that the end is intended. It is declared before `received`, and so dropped before it: otherwise the
    /// reader could end first.
    _stop: DropGuard,
    wishes: Arc<TailRequests>,
    received: mpsc::Receiver<Result<TailMessage, LogError>>,
    /// The number of the latest request for each followed topic.
    followed: HashMap<Topic, u64>,
    next: u64,
}

impl RedisTail {
    pub(super) fn new(redis: &Redis) -> Self {
        let wishes = Arc::new(TailRequests::default());
        let (sender, received) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let reader = Reader::new(redis.clone(), Arc::clone(&wishes), sender);
        redis.supervisor().spawn_on(redis.runtime(), "log-reader", &stop, reader.run());
        Self { _stop: stop.drop_guard(), wishes, received, followed: HashMap::new(), next: 0 }
    }

    /// Leaves out runs that answer an older request than the latest, and runs of topics that are no longer followed.
    fn sift(&self, received: TailMessage) -> News {
        let TailMessage { mut news, answers } = received;
        let mut answers = answers.into_iter();
        news.runs.retain(|(topic, _)| self.followed.get(topic).copied() == answers.next());
        news
    }
}

#[async_trait]
impl Tail for RedisTail {
    fn follow(&mut self, topic: Topic, after: Option<Position>) {
        self.next += 1;
        self.followed.insert(topic.clone(), self.next);
        self.wishes.put(topic, TailRequest::Follow { number: self.next, after });
    }

    fn unfollow(&mut self, topic: &Topic) {
        if self.followed.remove(topic).is_some() {
            self.wishes.put(topic.clone(), TailRequest::Unfollow);
        }
    }

    async fn next(&mut self) -> Result<News, LogError> {
        loop {
            let ended = || LogError::Unavailable("the reader of the log has ended".into());
            let received = self.received.recv().await.ok_or_else(ended)??;
            let news = self.sift(received);
            if news != News::default() {
                return Ok(news);
            }
        }
    }
}
