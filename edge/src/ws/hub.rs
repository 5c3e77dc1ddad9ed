//! The rings of all followed topics, and the one task that fills them from the log's tail.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bond_core::log::{EventLog, LogError, News, Tail};
use bond_core::store::StreamStore;
use bond_core::time::Clock;
use bond_core::topic::{StreamId, Topic};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::mailbox::{Mailbox, Note};
use super::ring::{Retention, Ring};

/// How often old items are dropped, idle rings let go, and streams without history looked up in the registry.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// How long to wait after the log failed.
const RETRY: Duration = Duration::from_millis(200);

/// What the hub works with.
pub(crate) struct Sources {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<dyn StreamStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retention: Retention,
}

/// The rings of this process.
pub(crate) struct Hub {
    sources: Sources,
    mailboxes: Vec<Arc<Mailbox>>,
    rings: Mutex<HashMap<Topic, Arc<Ring>>>,
    next_id: AtomicU64,
    running: RwLock<BTreeSet<Topic>>,
    asked: Mutex<Vec<Arc<Ring>>>,
    has_asked: Notify,
}

impl Hub {
    pub(crate) fn new(sources: Sources, mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self {
            sources,
            mailboxes,
            rings: Mutex::default(),
            next_id: AtomicU64::new(1),
            running: RwLock::default(),
            asked: Mutex::default(),
            has_asked: Notify::new(),
        }
    }

    /// The ring of `topic`, with one follower more; filled from the log where it is new.
    pub(crate) fn follow(&self, topic: &Topic) -> Arc<Ring> {
        let mut rings = self.rings.lock();
        if let Some(ring) = rings.get(topic) {
            ring.add_follower();
            return Arc::clone(ring);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let ring = Arc::new(Ring::new(id, topic.clone(), self.sources.retention));
        ring.add_follower();
        rings.insert(topic.clone(), Arc::clone(&ring));
        self.asked.lock().push(Arc::clone(&ring));
        self.has_asked.notify_one();
        ring
    }

    /// The topics that run, as far as `wanted` takes them.
    pub(crate) fn running(&self, wanted: impl Fn(&Topic) -> bool) -> Vec<Topic> {
        self.running.read().iter().filter(|topic| wanted(topic)).cloned().collect()
    }

    /// Tells all workers that a stream is no more.
    pub(crate) fn end_stream(&self, id: &StreamId) {
        self.broadcast(|| Note::StreamEnded(id.clone()));
    }

    /// Closes the connections of a stream that the registry does not know any more.
    async fn check_stream(&self, topic: &Topic) {
        let Topic::Stream(id) = topic else { return };
        let Sources { store, clock, .. } = &self.sources;
        if let Ok(None) = store.get(id, clock.now()).await {
            self.end_stream(id);
        }
    }

    pub(crate) fn broadcast(&self, note: impl Fn() -> Note) {
        for mailbox in &self.mailboxes {
            mailbox.send(note());
        }
    }

    /// Tells the workers that follow `ring` of news; returns who must be woken.
    fn tell(&self, ring: &Ring) -> u64 {
        let workers = ring.tell();
        for (_, mailbox) in self.chosen(workers) {
            mailbox.advanced(ring.id);
        }
        workers
    }

    fn wake(&self, workers: u64) {
        for (_, mailbox) in self.chosen(workers) {
            mailbox.wake();
        }
    }

    fn chosen(&self, workers: u64) -> impl Iterator<Item = (usize, &Arc<Mailbox>)> {
        self.mailboxes.iter().enumerate().filter(move |(index, _)| workers & (1 << index) != 0)
    }
}

/// Fills the rings until `stop`.
pub(crate) async fn fill(hub: Arc<Hub>, stop: CancellationToken) {
    let mut filler = Filler { tail: hub.sources.log.tail(), hub, arrival: 0 };
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let hub = Arc::clone(&filler.hub);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = hub.has_asked.notified() => filler.begin_asked().await,
            news = filler.tail.next() => filler.take(news).await,
            _ = housekeeping.tick() => filler.keep_house().await,
        }
    }
}

struct Filler {
    hub: Arc<Hub>,
    tail: Box<dyn Tail>,
    /// Numbers all items in the order of their arrival.
    arrival: u64,
}

impl Filler {
    /// Begins what was asked for. What is asked for meanwhile has its own notice; only a failure is a reason to wait.
    async fn begin_asked(&mut self) {
        let asked = std::mem::take(&mut *self.hub.asked.lock());
        let mut has_failed = false;
        for ring in asked {
            if let Err(error) = self.begin(&ring).await {
                warn!(topic = %ring.name, %error, "cannot read the log yet");
                self.hub.asked.lock().push(ring);
                has_failed = true;
            }
        }
        if has_failed {
            tokio::time::sleep(RETRY).await;
            self.hub.has_asked.notify_one();
        }
    }

    async fn begin(&mut self, ring: &Arc<Ring>) -> Result<(), LogError> {
        if self.let_go(ring) {
            return Ok(());
        }
        let log = &self.hub.sources.log;
        let head = log.head(&ring.topic).await?;
        let kept = log.read(&ring.topic, None, 1).await?.is_some_and(|run| !run.items.is_empty());
        ring.begin(head, kept);
        self.tail.follow(ring.topic.clone(), None);
        self.hub.wake(self.hub.tell(ring));
        Ok(())
    }

    async fn take(&mut self, news: Result<News, LogError>) {
        match news {
            Ok(news) => self.spread(news).await,
            Err(error) => {
                warn!(%error, "the log's tail failed");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn spread(&mut self, news: News) {
        // Before the runs, which may be of the epoch that came after.
        for topic in &news.ended {
            if let Some(ring) = self.hub.rings.lock().get(topic) {
                ring.end();
            }
        }
        let mut workers = 0;
        let now = self.hub.sources.clock.now();
        for (topic, run) in &news.runs {
            let ring = self.hub.rings.lock().get(topic).cloned();
            if let Some(ring) = ring {
                ring.append(run, now, &mut self.arrival);
                workers |= self.hub.tell(&ring);
            }
        }
        self.hub.wake(workers);
        for topic in news.ended {
            self.hub.running.write().remove(&topic);
            self.hub.check_stream(&topic).await;
        }
        for topic in news.began {
            self.hub.running.write().insert(topic.clone());
            if !matches!(topic, Topic::Stream(_)) {
                self.hub.broadcast(|| Note::Began(topic.clone()));
            }
        }
    }

    async fn keep_house(&mut self) {
        let now = self.hub.sources.clock.now();
        let rings: Vec<Arc<Ring>> = self.hub.rings.lock().values().cloned().collect();
        for ring in rings {
            ring.trim(now);
            if !self.let_go(&ring) && !self.hub.running.read().contains(&ring.topic) {
                self.hub.check_stream(&ring.topic).await;
            }
        }
    }

    /// Stops following a topic that nobody follows any more. Returns whether that was so.
    fn let_go(&mut self, ring: &Ring) -> bool {
        let mut rings = self.hub.rings.lock();
        let is_idle = ring.is_idle();
        if is_idle {
            rings.remove(&ring.topic);
            self.tail.unfollow(&ring.topic);
        }
        is_idle
    }
}
