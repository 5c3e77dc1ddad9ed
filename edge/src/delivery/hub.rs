//! The rings of all followed topics, and the one task that fills them from the log's tail.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bond_core::log::{EventLog, LogError, News, PublishedState, Tail};
use bond_core::position::Position;
use bond_core::store::StreamStore;
use bond_core::time::Clock;
use bond_core::topic::{StreamId, Topic};
use bond_supervise::owned;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::cursor::Retention;
use super::figures::Figures;
use super::mailbox::{Mailbox, Notice};
use super::pool::Pool;
use super::ring::Ring;

/// How often old items are dropped, idle rings let go, and streams without history looked up in the registry.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// How many topics' most all rings together may hold.
const POOL_TOPICS: u64 = 2;

/// How long to wait after the log failed.
const RETRY: Duration = Duration::from_millis(200);

/// How long one look at where a topic's log stands may take; it is taken again.
const LOOK: Duration = Duration::from_secs(5);

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
    /// What is counted about those who follow topics by name.
    pub(crate) figures: Arc<Figures>,
    pool: Arc<Pool>,
    mailboxes: Vec<Arc<Mailbox>>,
    rings: Mutex<HashMap<Topic, Arc<Ring>>>,
    next_id: AtomicU64,
    running: RwLock<BTreeSet<Topic>>,
    asked: Mutex<Vec<Arc<Ring>>>,
    has_asked: Notify,
}

impl Hub {
    pub(crate) fn new(sources: Sources, mailboxes: Vec<Arc<Mailbox>>) -> Self {
        // What one topic may hold at most, twice: under pressure the fullest gives way.
        let pool = Pool::new(sources.retention.bytes.saturating_mul(POOL_TOPICS));
        Self {
            sources,
            figures: Arc::default(),
            pool,
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
        let ring = Arc::new(Ring::new(id, topic.clone(), self.sources.retention, Arc::clone(&self.pool)));
        ring.add_follower();
        rings.insert(topic.clone(), Arc::clone(&ring));
        self.asked.lock().push(Arc::clone(&ring));
        self.has_asked.notify_one();
        ring
    }

    /// The rings that clients have subscribed to by name.
    pub(crate) fn subscribed(&self) -> Vec<Arc<Ring>> {
        self.rings.lock().values().filter(|ring| ring.subscribers() > 0).cloned().collect()
    }

    /// How many rings have news that their workers have not looked at yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.mailboxes.iter().map(|mailbox| mailbox.waiting()).sum()
    }

    /// Keeps what all rings hold below its bound.
    fn relieve(&self) {
        if self.pool.is_over() {
            let rings: Vec<Arc<Ring>> = self.rings.lock().values().cloned().collect();
            self.pool.relieve(&rings);
        }
    }

    /// The topics that run, as far as `wanted` takes them.
    pub(crate) fn running(&self, wanted: impl Fn(&Topic) -> bool) -> Vec<Topic> {
        self.running.read().iter().filter(|topic| wanted(topic)).cloned().collect()
    }

    /// Tells every listener that a stream has ended. Events that are appended between the deletion and ingest's noticing it are dropped: a
    /// new stream may have the same id by then.
    pub(crate) fn end_stream(&self, id: &StreamId) {
        if let Some(ring) = self.rings.lock().get(&Topic::Stream(id.clone())) {
            // A stream's followers are told by a notice.
            ring.end(self.sources.clock.now(), &mut 0);
        }
        self.broadcast(&Notice::StreamEnded(id.clone()));
    }

    /// Closes the connections of a stream that the registry does not know any more.
    async fn check_stream(&self, topic: &Topic) {
        let Topic::Stream(id) = topic else { return };
        let Sources { store, clock, .. } = &self.sources;
        if let Ok(None) = store.get(id, clock.now()).await {
            self.end_stream(id);
        }
    }

    fn broadcast(&self, notice: &Notice) {
        for mailbox in &self.mailboxes {
            mailbox.send(notice.clone());
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
    let tail = hub.sources.log.tail();
    let mut filler =
        Filler { tail, hub, arrival: 0, looks: JoinSet::new(), checks: JoinSet::new(), rests_until: None };
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let hub = Arc::clone(&filler.hub);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = hub.has_asked.notified() => filler.look_at_asked(),
            Some(looked) = filler.looks.join_next() => filler.begin(looked),
            Some(checked) = filler.checks.join_next() => checked.unwrap_or_else(fail),
            news = next(&mut *filler.tail, filler.rests_until) => filler.take(news),
            _ = housekeeping.tick() => filler.keep_house(),
        }
    }
}

/// Goes the way of a task that has panicked: who waits for it would wait for ever.
fn fail<T>(error: JoinError) -> T {
    std::panic::resume_unwind(error.into_panic())
}

async fn next(tail: &mut dyn Tail, not_before: Option<Instant>) -> Result<News, LogError> {
    if let Some(time) = not_before {
        sleep_until(time).await;
    }
    tail.next().await
}

/// Where a topic's log stood when it was looked at.
struct Look {
    ring: Arc<Ring>,
    head: Option<Position>,
    /// Whether there is anything before the head.
    kept: bool,
    /// The state there, of a published topic.
    state: Option<PublishedState>,
}

/// Looks until the log answers, or nobody follows the topic any more.
async fn look(log: Arc<dyn EventLog>, ring: Arc<Ring>) -> Look {
    loop {
        if ring.is_idle() {
            return Look { ring, head: None, kept: false, state: None };
        }
        match timeout(LOOK, look_once(&*log, &ring.topic)).await {
            Ok(Ok((head, kept, state))) => return Look { ring, head, kept, state },
            Ok(Err(error)) => warn!(topic = %ring.name, %error, "cannot read the log yet"),
            Err(_) => warn!(topic = %ring.name, "the log does not answer yet"),
        }
        sleep(RETRY).await;
    }
}

async fn look_once(
    log: &dyn EventLog,
    topic: &Topic,
) -> Result<(Option<Position>, bool, Option<PublishedState>), LogError> {
    let state = if matches!(topic, Topic::Published(_)) { log.state(topic).await? } else { None };
    let head = match &state {
        Some(state) => Some(state.position.clone()),
        None => log.head(topic).await?,
    };
    let run = log.read(topic, None, 1).await?;
    Ok((head, run.is_some_and(|run| !run.items.is_empty()), state))
}

struct Filler {
    hub: Arc<Hub>,
    tail: Box<dyn Tail>,
    /// Numbers all items in the order of their arrival.
    arrival: u64,
    /// Looks at topics that were asked for: beside the tail, so that one that takes long holds up no other topic.
    looks: JoinSet<Look>,
    /// Checks of the registry under way.
    checks: JoinSet<()>,
    /// When the tail is read again after it failed.
    rests_until: Option<Instant>,
}

impl Filler {
    fn look_at_asked(&mut self) {
        for ring in std::mem::take(&mut *self.hub.asked.lock()) {
            self.looks.spawn(owned("look", look(Arc::clone(&self.hub.sources.log), ring)));
        }
    }

    fn begin(&mut self, looked: Result<Look, JoinError>) {
        let Look { ring, head, kept, state } = looked.unwrap_or_else(fail);
        if self.let_go(&ring) {
            return;
        }
        if ring.has_begun() {
            ring.restate(state);
        } else {
            ring.begin(head, kept, state);
            self.tail.follow(ring.topic.clone(), None);
        }
        self.hub.wake(self.hub.tell(&ring));
    }

    fn take(&mut self, news: Result<News, LogError>) {
        self.rests_until = None;
        match news {
            Ok(news) => self.spread(news),
            Err(error) => {
                warn!(%error, "the log's tail failed");
                self.rests_until = Some(Instant::now() + RETRY);
            }
        }
    }

    fn spread(&mut self, news: News) {
        let mut workers = 0;
        let now = self.hub.sources.clock.now();
        // Before the runs, which may be of the epoch that came after.
        for topic in &news.ended {
            if let Some(ring) = self.hub.rings.lock().get(topic) {
                ring.end(now, &mut self.arrival);
                workers |= self.hub.tell(ring);
            }
        }
        for (topic, run) in &news.runs {
            let ring = self.hub.rings.lock().get(topic).cloned();
            if let Some(ring) = ring {
                ring.append(run, now, &mut self.arrival);
                workers |= self.hub.tell(&ring);
                self.ask_for_state(ring);
            }
        }
        self.hub.relieve();
        self.hub.wake(workers);
        for topic in &news.ended {
            self.hub.running.write().remove(topic);
        }
        self.check_streams(news.ended);
        for topic in news.began {
            self.hub.running.write().insert(topic.clone());
            if !matches!(topic, Topic::Stream(_)) {
                self.hub.broadcast(&Notice::Began(topic.clone()));
            }
        }
    }

    /// Has the state of a published topic read again whose events were missed.
    fn ask_for_state(&mut self, ring: Arc<Ring>) {
        if ring.needs_state() {
            self.looks.spawn(owned("look", look(Arc::clone(&self.hub.sources.log), ring)));
        }
    }

    fn keep_house(&mut self) {
        let now = self.hub.sources.clock.now();
        let mut rings: Vec<Arc<Ring>> = self.hub.rings.lock().values().cloned().collect();
        rings.iter().for_each(|ring| ring.trim(now));
        rings.retain(|ring| !self.let_go(ring));
        rings.iter().for_each(|ring| self.ask_for_state(Arc::clone(ring)));
        // Checks of a registry that does not answer must not pile up.
        if self.checks.is_empty() {
            let running = self.hub.running.read().clone();
            rings.retain(|ring| !running.contains(&ring.topic));
            self.check_streams(rings.iter().map(|ring| ring.topic.clone()).collect());
        }
    }

    /// Has it checked which streams the registry knows no more, beside the tail.
    fn check_streams(&mut self, topics: Vec<Topic>) {
        if topics.is_empty() {
            return;
        }
        let hub = Arc::clone(&self.hub);
        let check = async move {
            for topic in &topics {
                hub.check_stream(topic).await;
            }
        };
        self.checks.spawn(owned("check", check));
    }

    /// Stops following a topic that nobody follows any more. Returns whether that was so.
    fn let_go(&mut self, ring: &Ring) -> bool {
        let mut rings = self.hub.rings.lock();
        let is_idle = ring.is_idle();
        // A ring that was let go before may have a successor of the same topic.
        if is_idle && rings.get(&ring.topic).is_some_and(|current| current.id == ring.id) {
            rings.remove(&ring.topic);
            self.tail.unfollow(&ring.topic);
        }
        is_idle
    }
}
