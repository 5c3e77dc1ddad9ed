//! The event log: a Redis stream for each topic, and a head beside it. One script (`append.lua`) checks the head, appends, and updates it.
//!
//! **Fencing.** Topics are spread over 16 partitions by name. Each partition has a fence: the number of the writer that may append. The
//! script that appends also checks the fence, even for a topic that does not exist yet. `acquire` returns once all partitions have the new
//! number. From then on every partition refuses smaller numbers, also in a cluster. A writer whose number is greater than the fence
//! replaces the fence. That happens only if Redis has lost the fence, and this writer then begins new epochs. A failover to a replica that
//! lags may lose a fence that was just raised. The previous writer could then append until the new one does.
//!
//! **Epochs.** A topic begins a new epoch, instead of being continued, in three cases: its head is missing, or behind what Redis has
//! acknowledged to this writer; Redis is not the process (`run_id`) that the previous writer took over, and this writer has not written the
//! head yet; an append got no answer, and Redis was restarted since this writer took over.
//!
//! **Lost answers.** Every append has a mark, which the writer counts up and the head stores. If the append is repeated, the script finds
//! the mark and returns the first answer again. A mark that is smaller than the head's does nothing. So an append can be repeated until it
//! is answered, for up to five seconds.
//!
//! **Retention.** Each append drops items that are too old or too many, in bounded work. A topic that has fallen silent loses all items
//! after twice the ring; its numbers go on. The writer tracks the size of all topics together and trims the largest if it is too much. If
//! Redis is full, it refuses appends, and the log drops items until they are accepted. The scripts of lease, commands, vitals and cursors
//! are never refused.
//!
//! **Published topics.** The script that appends a batch also writes the new state, together with its position. It appends only to the head
//! that the state was computed from. If the head is behind what readers may have seen, or the state belongs to another position, the whole
//! history is dropped, and the next batch begins a new epoch. An index by name stands in the place of the list of topics. Head, state and
//! events expire together. Topics that have expired are removed from the index while others begin.

mod append;
mod budget;
mod codec;
mod dirty;
mod heads;
mod keys;
mod page;
mod published;
mod reader;
mod subscription;
mod tail;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bond_core::log::{
    Appended, EventLog, Fence, LEAST_KEPT_FOR, LogError, Publication, PublishOutcome, PublishedHead,
    PublishedState, Record, Run, Tail,
};
use bond_core::position::{Epoch, Position};
use bond_core::time::{Clock, UnixNanos};
use bond_core::topic::Topic;
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::Mutex as Turn;

use self::budget::Budget;
use self::keys::{Keys, PARTITIONS};
use self::page::Place;
use self::tail::RedisTail;
use self::writer::{Standings, WriterState};
use crate::client::{Redis, Verb, unavailable};
use crate::script::Script;

const GET_SOME: Verb = Verb::new("HMGET", 0);
const GET_ALL: Verb = Verb::new("HGETALL", 0);

static TIME: Script = Script::reading(include_str!("time.lua"));

/// The most items that one command reads.
const PAGE_ITEMS: usize = 1024;

/// How long a published topic is kept after it was published to, unless it is said.
const TOPIC_TTL: Duration = Duration::from_secs(86_400);

/// How much history a log in Redis keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long items are kept.
    pub ring: Duration,
    /// The most bytes of one topic. Its oldest items go first; the newest one stays, however large.
    pub topic_bytes: usize,
    /// The most bytes of all topics. Above it, the fullest give up their oldest items. Lowered where Redis may not use much more than that.
    pub total_bytes: usize,
}

/// An [`EventLog`] in Redis. Several processes may read and write one log, the writers by turns.
pub struct RedisLog {
    redis: Redis,
    retention: Retention,
    clock: Arc<dyn Clock>,
    /// Distinguishes this handle's marks and epochs from those of others.
    nonce: u32,
    /// How long a published topic is kept after it was published to.
    topic_ttl: Duration,
    next: AtomicU64,
    standings: Standings,
    budget: Budget,
}

impl RedisLog {
    /// A handle on the log in `redis`. `nonce` distinguishes it from other handles: draw it at random. `clock` gives the times of appends.
    pub fn new(redis: Redis, retention: Retention, clock: Arc<dyn Clock>, nonce: u32) -> Self {
        let next = AtomicU64::new(1);
        let budget = Budget::new(retention.total_bytes);
        let standings = Standings::default();
        Self { redis, retention, clock, nonce, topic_ttl: TOPIC_TTL, next, standings, budget }
    }

    /// It, with published topics that end `topic_ttl` after they were last published to.
    #[must_use]
    pub const fn with_topic_ttl(mut self, topic_ttl: Duration) -> Self {
        self.topic_ttl = topic_ttl;
        self
    }
}

#[async_trait]
impl EventLog for RedisLog {
    async fn acquire(&self) -> Result<Fence, LogError> {
        let fence = append::acquire(&self.redis, self.clock.now()).await?;
        self.standings.begin(fence);
        self.begin_budget().await?;
        Ok(fence)
    }

    async fn append(&self, fence: Fence, topic: &Topic, records: Vec<Record>) -> Result<Appended, LogError> {
        let items = records.iter().flat_map(codec::event_args).collect();
        let count = records.len() as u64;
        match self.write(fence, topic, items, count).await? {
            Some(Position { epoch, seq }) => Ok(Appended { epoch, first_seq: seq }),
            None => Err(LogError::Unavailable(format!("{topic} was given no records"))),
        }
    }

    async fn publish(
        &self,
        fence: Fence,
        topic: &Topic,
        publication: Publication,
    ) -> Result<PublishOutcome, LogError> {
        self.publish_batch(fence, topic, publication).await
    }

    async fn state(&self, topic: &Topic) -> Result<Option<PublishedState>, LogError> {
        published::state(&self.redis, topic).await
    }

    async fn published(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<PublishedHead>, LogError> {
        published::heads(&self.redis, prefix, after, limit).await
    }

    async fn keep(&self, fence: Fence, topic: &Topic, body: Bytes) -> Result<Option<Position>, LogError> {
        self.write(fence, topic, codec::status_args(body).to_vec(), 0).await
    }

    async fn end(&self, fence: Fence, topic: &Topic) -> Result<(), LogError> {
        self.end_topic(fence, topic).await
    }

    async fn head(&self, topic: &Topic) -> Result<Option<Position>, LogError> {
        let args = vec![Keys::of(topic).head.into(), "epoch".into(), "seq".into()];
        let found: Vec<Option<String>> = self.redis.call(GET_SOME, args).await.map_err(unavailable)?;
        let [Some(epoch), Some(seq)] = found.as_slice() else { return Ok(None) };
        Ok(position(epoch, seq))
    }

    async fn read(
        &self,
        topic: &Topic,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Option<Run>, LogError> {
        page::read_run(&self.redis, &Keys::of(topic), Place::after(after), limit).await
    }

    async fn position_at(&self, topic: &Topic, time: UnixNanos) -> Result<Option<Position>, LogError> {
        let keys = Keys::of(topic);
        let found: Option<(String, String)> = TIME
            .run(&self.redis, keys.reading().to_vec(), vec![codec::stamp(time).into()])
            .await
            .map_err(unavailable)?;
        Ok(found.and_then(|(epoch, seq)| position(&epoch, &seq)))
    }

    async fn topics(&self) -> Result<Vec<Topic>, LogError> {
        Ok(topics(&self.redis).await?.into_iter().map(|(topic, _)| topic).collect())
    }

    fn tail(&self) -> Box<dyn Tail> {
        Box::new(RedisTail::new(&self.redis))
    }
}

impl RedisLog {
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn standing(&self, fence: Fence, topic: &Topic) -> Arc<Turn<WriterState>> {
        let now = self.clock.now();
        // Of a market's topic the head is kept for good, and so is how far it was acknowledged.
        let lapses = match topic {
            Topic::Published(_) => now.plus(self.topic_ttl),
            _ => UnixNanos::from_nanos(i64::MAX),
        };
        self.standings.of(fence, topic, now, lapses)
    }

    /// How long after the last append anything is left of a topic's items, or of its state.
    fn lapse(&self, is_published: bool) -> Duration {
        if is_published { self.topic_ttl } else { self.items_lapse(false) }
    }

    /// How long after the last append items are left.
    fn items_lapse(&self, is_published: bool) -> Duration {
        let ring = 2 * self.retention.ring;
        if is_published { ring.max(LEAST_KEPT_FOR).min(self.topic_ttl) } else { ring }
    }

    fn new_epoch(&self, now: UnixNanos, mark: u64) -> Epoch {
        Epoch::begun(now, u64::from(self.nonce) << 24 | mark & 0xff_ffff)
    }
}

/// The topics that have history, with their epochs.
async fn topics(redis: &Redis) -> Result<Vec<(Topic, String)>, LogError> {
    let parts = (0..PARTITIONS).map(|partition| redis.call(GET_ALL, vec![keys::topics(partition).into()]));
    let mut found = Vec::new();
    let parts: Vec<BTreeMap<String, String>> = try_join_all(parts).await.map_err(unavailable)?;
    for part in parts {
        found.extend(part.into_iter().filter_map(|(topic, epoch)| Some((topic.parse().ok()?, epoch))));
    }
    Ok(found)
}

fn position(epoch: &str, seq: &str) -> Option<Position> {
    Some(Position { epoch: Epoch::new(epoch)?, seq: seq.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use bond_core::event::Channel;
    use bond_core::instrument::{Instrument, Symbol, Venue};
    use bond_core::topic::Topic;

    pub(super) fn topic(base: &str) -> Topic {
        let symbol = Symbol::parse(&format!("{base}/USDT")).expect("symbol");
        Topic::market(Channel::Trades, Instrument { venue: Venue::Okx, symbol }, None)
    }
}
