//! The task behind a tail. Messages of a subscription name the topics that were appended to. The reader then reads these topics, many at
//! once over the shared connection. Messages may be lost when a connection breaks. Therefore the heads of all followed topics are checked
//! after each reconnection. They are also checked once a second, one partition after another, many heads with one command.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bond_core::log::{LogError, News, Run};
use bond_core::position::{Epoch, Position};
use bond_core::topic::Topic;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::dirty::Dirty;
use super::heads::{self, Looked};
use super::keys::{self, Keys, PARTITIONS};
use super::page::{self, Page, Place};
use super::subscription::{Hint, Subscription};
use super::tail::{TailMessage, TailRequest, TailRequests};
use super::{PAGE_ITEMS, topics};
use crate::client::{Redis, Verb, unavailable};

/// How often all topics are checked without a message.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often one partition's heads are.
const LOOK_AT_ONE_EVERY: Duration = Duration::from_nanos(LOOK_EVERY.as_nanos() as u64 / PARTITIONS as u64);

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
    /// For published topics, which are in no list of all: the history that the reader knows of.
    epoch: Option<Epoch>,
}

impl Followed {
    fn new(topic: &Topic, number: u64, after: Option<Position>) -> Self {
        let (keys, place) = (Keys::of(topic), Place::after(after.as_ref()));
        let epoch = after.filter(|_| keys.is_published()).map(|position| position.epoch);
        Self { number, keys, place, epoch }
    }

    /// Notes the epoch that a published topic has; whether the previous one has ended.
    fn note_epoch(&mut self, epoch: Option<&Epoch>) -> bool {
        if self.epoch.as_ref() == epoch {
            return false;
        }
        mem::replace(&mut self.epoch, epoch.cloned()).is_some()
    }

    fn looked<'a>(&'a self, topic: &'a Topic) -> Looked<'a> {
        Looked { topic, head: &self.keys.head, place: &self.place, may_end: self.epoch.is_some() }
    }
}

pub(super) struct Reader {
    redis: Redis,
    wishes: Arc<TailRequests>,
    sender: mpsc::Sender<Result<TailMessage, LogError>>,
    subscription: Option<Subscription>,
    followed: HashMap<Topic, Followed>,
    /// The followed topics of each partition.
    by_partition: [HashSet<Topic>; PARTITIONS as usize],
    /// Which partition is looked at next, and when.
    next_look: (usize, Instant),
    /// Followed topics that may have new items.
    dirty: Dirty,
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
            by_partition: Default::default(),
            next_look: (0, Instant::now()),
            dirty: Dirty::default(),
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
            () = sleep_until(self.next_look.1) => return,
        };
        self.mark(hint);
    }

    fn mark(&mut self, hint: Hint) {
        match hint {
            Hint::All => self.all = true,
            Hint::Appended(topic) => self.dirty.mark(&topic),
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
            self.look_at(0..self.by_partition.len()).await?;
            self.all = false;
        } else if Instant::now() >= self.next_look.1 {
            self.look_at_next().await?;
        }
        self.compare_changed().await?;
        let answers = self.read_dirty().await?;
        Ok(TailMessage { news: mem::take(&mut self.unsent), answers })
    }

    /// Checks the heads of the next partition. Once in a round it also compares the list of topics.
    async fn look_at_next(&mut self) -> Result<(), LogError> {
        let (partition, _) = self.next_look;
        if partition == 0 {
            if let Some(subscription) = &self.subscription {
                subscription.check().await?;
            }
            self.compare_all().await?;
        }
        self.look_at(partition..partition + 1).await?;
        let next = (partition + 1) % self.by_partition.len();
        self.next_look = (next, Instant::now() + LOOK_AT_ONE_EVERY);
        Ok(())
    }

    /// Marks the followed topics of these partitions that have new items.
    async fn look_at(&mut self, partitions: Range<usize>) -> Result<(), LogError> {
        let looks = self.by_partition[partitions].iter().map(|topics| {
            let looked = topics.iter().filter_map(|topic| Some(self.followed.get(topic)?.looked(topic)));
            heads::moved(&self.redis, looked.collect())
        });
        let moved = try_join_all(looks).await?;
        moved.iter().flatten().for_each(|topic| self.dirty.mark(topic));
        Ok(())
    }

    /// Subscribes to the channels of all followed topics.
    async fn subscribe(&mut self) -> Result<(), LogError> {
        let (added, dropped) = self.take_wishes();
        let subscription = match &mut self.subscription {
            Some(subscription) => subscription,
            none => none.insert(Subscription::open(&self.redis).await?),
        };
        if !subscription.is_whole() {
            return subscription.begin(self.followed.keys().map(keys::channel).collect()).await;
        }
        subscription.leave(dropped).await?;
        subscription.listen(added).await?;
        if self.all { subscription.check().await } else { Ok(()) }
    }

    /// Follows and leaves topics; gives the channels of those that are followed from now on, and of those that are no longer.
    fn take_wishes(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut added, mut dropped) = (Vec::new(), Vec::new());
        for (topic, wish) in self.wishes.take() {
            match wish {
                TailRequest::Follow { number, after } => {
                    let followed = Followed::new(&topic, number, after);
                    self.dirty.mark(&topic);
                    self.by_partition[usize::from(followed.keys.partition)].insert(topic.clone());
                    added.push(keys::channel(&topic));
                    self.followed.insert(topic, followed);
                }
                TailRequest::Unfollow => {
                    if let Some(followed) = self.followed.remove(&topic) {
                        self.by_partition[usize::from(followed.keys.partition)].remove(&topic);
                        dropped.push(keys::channel(&topic));
                    }
                }
            }
        }
        (added, dropped)
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
        let batch = self.dirty.first(TOPICS_AT_ONCE);
        let reads = batch.iter().filter_map(|topic| Some((topic, self.followed.get(topic)?)));
        let reads = reads.map(async |(topic, followed)| {
            let page = page::read(&self.redis, &followed.keys, &followed.place, PAGE_ITEMS).await?;
            Ok::<_, LogError>((topic.clone(), page))
        });
        let pages = try_join_all(reads).await?;
        self.dirty.drop_first(batch.len());
        Ok(pages.into_iter().filter_map(|(topic, page)| self.settle(topic, page)).collect())
    }

    /// Takes note of what was read of a topic; gives the number of the wish that it answers where there is a run to tell.
    fn settle(&mut self, topic: Topic, page: Option<Page>) -> Option<u64> {
        self.note_epoch(&topic, page.as_ref().map(|page| &page.run.epoch));
        let (page, followed) = (page?, self.followed.get_mut(&topic)?);
        followed.place = page.end;
        if page.run.items.len() == PAGE_ITEMS {
            self.dirty.mark(&topic);
        }
        let number = is_news(&page.run).then_some(followed.number)?;
        self.unsent.runs.push((topic, page.run));
        Some(number)
    }

    /// Compares the epoch that was read with the known one. It may have begun since the topics were compared. The end of the previous one
    /// must be reported before its events.
    fn note_epoch(&mut self, topic: &Topic, epoch: Option<&Epoch>) {
        let Some(followed) = self.followed.get_mut(topic) else { return };
        if !followed.keys.is_published() {
            epoch.into_iter().for_each(|epoch| self.compare(topic, Some(epoch.as_str())));
        } else if followed.note_epoch(epoch) {
            self.unsent.ended.push(topic.clone());
        }
    }
}

fn is_news(run: &Run) -> bool {
    run.gap.is_some() || !run.items.is_empty()
}
