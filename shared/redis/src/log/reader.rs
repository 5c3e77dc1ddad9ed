//! The task behind a tail. Messages of a subscription name the topics that were appended to. The reader then reads these topics, many at
//! once over the shared connection. Messages may be lost when a connection breaks. Therefore all topics are checked after each
//! reconnection, and once a second.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bond_core::log::{LogError, News, Run};
use bond_core::topic::Topic;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::keys::{self, Keys};
use super::page::{self, Place};
use super::subscription::{Hint, Subscription};
use super::tail::{TailMessage, TailRequest, TailRequests};
use super::{PAGE_ITEMS, topics};
use crate::client::{Redis, Verb, unavailable};

/// How often all topics are checked without a message.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// The most topics that are read at once. Together with [`PAGE_ITEMS`] this bounds the size of one [`TailMessage`].
const TOPICS_AT_ONCE: usize = 32;

const GET: Verb = Verb::new("HGET", 0);

/// A followed topic, and how far it was read.
struct Followed {
    number: u64,
    keys: Keys,
    place: Place,
}

pub(super) struct Reader {
    redis: Redis,
    wishes: Arc<TailRequests>,
    sender: mpsc::Sender<Result<TailMessage, LogError>>,
    subscription: Option<Subscription>,
    followed: HashMap<Topic, Followed>,
    /// Followed topics that may have new items.
    dirty: HashSet<Topic>,
    /// Topics that may have begun or ended.
    changed: HashSet<Topic>,
    /// The topics that are known to have history, with their epochs.
    known: HashMap<Topic, String>,
    /// What was found and not yet sent: a later read of the same round may fail.
    unsent: News,
    /// Whether all topics may have new items.
    all: bool,
}

impl Reader {
    pub(super) fn new(
        redis: Redis,
        wishes: Arc<TailRequests>,
        sender: mpsc::Sender<Result<TailMessage, LogError>>,
    ) -> Self {
        Self {
            redis,
            wishes,
            sender,
            subscription: None,
            followed: HashMap::new(),
            dirty: HashSet::new(),
            changed: HashSet::new(),
            known: HashMap::new(),
            unsent: News::default(),
            all: true,
        }
    }

    pub(super) async fn run(mut self) {
        while !self.sender.is_closed() {
            let message = self.look().await;
            let (failed, silent) =
                (message.is_err(), message.as_ref().is_ok_and(|message| message.news == News::default()));
            if silent {
                self.wait().await;
                continue;
            }
            if self.sender.send(message).await.is_err() {
                return;
            }
            if failed {
                self.all = true;
                sleep(PAUSE).await;
            }
        }
    }

    /// Waits until there may be new items.
    async fn wait(&mut self) {
        let Some(subscription) = &mut self.subscription else { return };
        if self.all || !self.dirty.is_empty() || !self.changed.is_empty() {
            return;
        }
        let hint = tokio::select! {
            hint = subscription.next() => hint,
            () = self.wishes.news.notified() => return,
            () = self.sender.closed() => return,
            () = sleep(LOOK_EVERY) => Hint::All,
        };
        self.mark(hint);
    }

    fn mark(&mut self, hint: Hint) {
        match hint {
            Hint::All => self.all = true,
            Hint::Appended(topic) => self.dirty.extend([topic]),
            Hint::Changed(topic) => self.changed.extend([topic]),
        }
    }

    /// Reads all topics that may have new items.
    async fn look(&mut self) -> Result<TailMessage, LogError> {
        while let Some(hint) = self.subscription.as_mut().and_then(Subscription::waiting) {
            self.mark(hint);
        }
        self.subscribe().await?;
        if self.all {
            self.compare_all().await?;
            self.dirty.extend(self.followed.keys().cloned());
            self.all = false;
        }
        self.compare_changed().await?;
        let answers = self.read_dirty().await?;
        Ok(TailMessage { news: mem::take(&mut self.unsent), answers })
    }

    /// Subscribes to the channels of all followed topics.
    async fn subscribe(&mut self) -> Result<(), LogError> {
        if self.subscription.is_none() {
            self.subscription = Some(Subscription::open(&self.redis).await?);
        }
        let Some(subscription) = &mut self.subscription else { return Ok(()) };
        for (topic, wish) in self.wishes.take() {
            match wish {
                TailRequest::Follow { number, after } => {
                    let followed =
                        Followed { number, keys: Keys::of(&topic), place: Place::after(after.as_ref()) };
                    self.dirty.insert(topic.clone());
                    self.followed.insert(topic, followed);
                }
                TailRequest::Unfollow => {
                    self.followed.remove(&topic);
                }
            }
        }
        subscription.set(self.followed.keys().map(keys::channel).collect()).await?;
        if self.all { subscription.check().await } else { Ok(()) }
    }

    /// Finds the topics that began or ended since the last message.
    async fn compare_all(&mut self) -> Result<(), LogError> {
        let found: HashMap<Topic, String> = topics(&self.redis).await?.into_iter().collect();
        let gone: Vec<Topic> =
            self.known.keys().filter(|topic| !found.contains_key(*topic)).cloned().collect();
        gone.into_iter().for_each(|topic| self.compare(&topic, None));
        found.iter().for_each(|(topic, epoch)| self.compare(topic, Some(epoch)));
        self.changed.clear();
        Ok(())
    }

    async fn compare_changed(&mut self) -> Result<(), LogError> {
        let changed: Vec<(Topic, Keys)> =
            self.changed.iter().map(|topic| (topic.clone(), Keys::of(topic))).collect();
        let epochs = changed.iter().map(|(_, keys)| {
            self.redis.call(GET, vec![keys.topics.as_str().into(), keys.topic.as_str().into()])
        });
        let epochs: Vec<Option<String>> = try_join_all(epochs).await.map_err(unavailable)?;
        for ((topic, _), epoch) in changed.into_iter().zip(epochs) {
            self.changed.remove(&topic);
            self.compare(&topic, epoch.as_deref());
        }
        Ok(())
    }

    /// Records a topic's epoch. This is called for every page that is read, so it copies nothing that is known already.
    fn compare(&mut self, topic: &Topic, epoch: Option<&str>) {
        if self.known.get(topic).map(String::as_str) == epoch {
            return;
        }
        if self.known.remove(topic).is_some() {
            self.unsent.ended.push(topic.clone());
        }
        if let Some(epoch) = epoch {
            self.known.insert(topic.clone(), epoch.to_owned());
            self.unsent.began.push(topic.clone());
        }
    }

    /// Reads the topics that may have new items. Returns, for each run, the number of the request that it answers.
    async fn read_dirty(&mut self) -> Result<Vec<u64>, LogError> {
        let batch: Vec<Topic> = self.dirty.iter().take(TOPICS_AT_ONCE).cloned().collect();
        let reads = batch.iter().filter_map(|topic| Some((topic, self.followed.get(topic)?)));
        let reads = reads.map(async |(topic, followed)| {
            let page = page::read(&self.redis, &followed.keys, &followed.place, PAGE_ITEMS).await?;
            Ok::<_, LogError>((topic.clone(), page))
        });
        let pages = try_join_all(reads).await?;
        self.dirty.retain(|topic| !batch.contains(topic));
        let mut answers = Vec::new();
        for (topic, page) in pages {
            let (Some(page), Some(followed)) = (page, self.followed.get_mut(&topic)) else { continue };
            followed.place = page.end;
            if page.run.items.len() == PAGE_ITEMS {
                self.dirty.insert(topic.clone());
            }
            if is_news(&page.run) {
                answers.push(followed.number);
                // An epoch may have begun since the topics were compared. The end of the previous one must be reported before its events.
                self.compare(&topic, Some(page.run.epoch.as_str()));
                self.unsent.runs.push((topic, page.run));
            }
        }
        Ok(answers)
    }
}

fn is_news(run: &Run) -> bool {
    run.gap.is_some() || !run.items.is_empty()
}
