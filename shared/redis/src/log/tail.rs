//! A tail: the handle on a reader in a task of its own, so that a wait can be given up at any moment.

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

/// What a reader has to tell; each run comes with the number of the wish that it answers.
pub(super) struct TailMessage {
    pub(super) news: News,
    pub(super) answers: Vec<u64>,
}

/// That a topic be read, or no longer.
pub(super) enum TailRequest {
    Follow { number: u64, after: Option<Position> },
    Unfollow,
}

/// Wishes on their way to a reader: the latest for each topic.
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
    /// Tells the reader's watch that its end is asked for. Before `told`, so that it is dropped before the reader notices.
    _stop: DropGuard,
    wishes: Arc<TailRequests>,
    told: mpsc::Receiver<Result<TailMessage, LogError>>,
    /// The number of the wish that each followed topic was last followed by.
    followed: HashMap<Topic, u64>,
    next: u64,
}

impl RedisTail {
    pub(super) fn new(redis: &Redis) -> Self {
        let wishes = Arc::new(TailRequests::default());
        let (sender, told) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let reader = Reader::new(redis.clone(), Arc::clone(&wishes), sender);
        redis.supervisor().spawn_on(redis.runtime(), "log-reader", &stop, reader.run());
        Self { _stop: stop.drop_guard(), wishes, told, followed: HashMap::new(), next: 0 }
    }

    /// Leaves out runs of topics that are no longer followed, or were followed anew since.
    fn sift(&self, told: TailMessage) -> News {
        let TailMessage { mut news, answers } = told;
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
            let told = self.told.recv().await.ok_or_else(ended)??;
            let news = self.sift(told);
            if news != News::default() {
                return Ok(news);
            }
        }
    }
}
