//! Bounds the size of all topics together. The writer tracks the sizes; an append to one topic may trim the oldest items of the largest.

use std::collections::HashMap;
use std::time::Duration;

use bond_core::log::{Fence, LogError};
use bond_core::share;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use fred::types::Value;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Mutex as Turn;
use tracing::warn;

use super::keys::Keys;
use super::{GET_SOME, RedisLog, codec, topics};
use crate::client::{Redis, unavailable};
use crate::script::Script;

/// The size of a topic without items: its head, and the first block of its stream.
const TOPIC_BYTES: usize = 5 << 10;

/// Trimming frees 1/32 of the bound more than is needed. Otherwise every append would trim other topics.
const SLACK: usize = 32;

/// If Redis is full, 1/8 of all bytes are dropped.
const GIVEN_UP: usize = 8;

/// The percentage of Redis's memory that the log may use. The rest is for the registry, commands, and buffers of Redis's clients.
const SHARE_PERCENT: usize = 60;

/// The log is not trimmed below this size, even if Redis is full of other data.
const LEAST_BYTES: usize = 1 << 20;

/// The most items that one script drops, so that it does not block Redis for long.
const ITEMS_AT_ONCE: usize = 1024;

/// How many topics are asked or trimmed at once.
const AT_ONCE: usize = 32;

static TRIM: Script = Script::new(include_str!("trim.lua"));

/// How much memory Redis may use; nothing if it has no bound or does not say.
static MAXMEMORY: Script = Script::new(
    "local info = redis.pcall('INFO', 'memory')
    return tonumber(type(info) == 'string' and string.match(info, 'maxmemory:(%d+)') or 0)",
);

/// The size of the topics, and its bound.
pub(super) struct Budget {
    configured: usize,
    /// After this time nothing is left of a silent topic.
    lapse: Duration,
    used: Mutex<Used>,
    /// Locked while topics are trimmed.
    turn: Turn<()>,
}

struct Used {
    most: usize,
    sum: usize,
    topics: HashMap<Topic, (usize, UnixNanos)>,
}

impl Budget {
    pub(super) fn new(configured: usize, lapse: Duration) -> Self {
        let used = Used { most: configured, sum: 0, topics: HashMap::new() };
        Self { configured, lapse, used: Mutex::new(used), turn: Turn::default() }
    }

    /// Records that a topic has `bytes` bytes of items since `at`.
    pub(super) fn note(&self, topic: &Topic, bytes: usize, at: UnixNanos) {
        let mut used = self.used.lock();
        let before = used.topics.insert(topic.clone(), (bytes + TOPIC_BYTES, at));
        used.sum = used.sum + bytes + TOPIC_BYTES - before.map_or(0, |(bytes, _)| bytes);
    }

    /// Records that a topic was trimmed to `bytes` bytes of items.
    fn trimmed(&self, topic: &Topic, bytes: usize) {
        let at = self.used.lock().topics.get(topic).map(|(_, at)| *at);
        if let Some(at) = at {
            self.note(topic, bytes, at);
        }
    }

    pub(super) fn forget(&self, topic: &Topic) {
        let mut used = self.used.lock();
        used.sum -= used.topics.remove(topic).map_or(0, |(bytes, _)| bytes);
    }

    /// Replaces all sizes by those that a new writer finds.
    fn begin(&self, most: usize, found: &[(Topic, usize, UnixNanos)]) {
        *self.used.lock() = Used { most, sum: 0, topics: HashMap::new() };
        found.iter().for_each(|(topic, bytes, at)| self.note(topic, *bytes, *at));
    }

    fn is_over(&self) -> bool {
        let used = self.used.lock();
        used.sum > used.most
    }

    /// The topics to trim so that the sum is a little less than `most`, with the bytes of items that each may keep.
    fn to_trim(&self, most: usize, now: UnixNanos) -> Vec<(Topic, usize)> {
        let mut used = self.used.lock();
        let silent = now.minus(self.lapse);
        used.topics.retain(|_, (_, at)| *at >= silent);
        used.sum = used.topics.values().map(|(bytes, _)| bytes).sum();
        if used.sum <= most {
            return Vec::new();
        }
        let sizes: Vec<usize> = used.topics.values().map(|(bytes, _)| *bytes).collect();
        let Some(level) = share::level(&sizes, most - most / SLACK) else { return Vec::new() };
        let fullest = used.topics.iter().filter(|(_, (bytes, _))| *bytes > level);
        fullest.map(|(topic, _)| (topic.clone(), level.saturating_sub(TOPIC_BYTES))).collect()
    }

    /// The bound to trim to if Redis is full: less than the present size.
    fn lower(&self) -> usize {
        let mut used = self.used.lock();
        used.most = used.most.min(used.sum - used.sum / GIVEN_UP).max(LEAST_BYTES.min(self.configured));
        used.most
    }
}

impl RedisLog {
    /// Determines the size of all topics and the bound.
    pub(super) async fn begin_budget(&self) -> Result<(), LogError> {
        let found: Vec<_> = stream::iter(topics(&self.redis).await?)
            .map(|(topic, _)| held(&self.redis, topic))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let memory: usize =
            MAXMEMORY.run(&self.redis, "bond:fence", Vec::new()).await.map_err(unavailable)?;
        self.budget.begin(most(self.budget.configured, memory), &found);
        Ok(())
    }

    /// Brings the sum of all topics within its bound.
    pub(super) async fn make_room(&self, fence: Fence) -> Result<(), LogError> {
        if !self.budget.is_over() {
            return Ok(());
        }
        let _turn = self.budget.turn.lock().await;
        let most = self.budget.used.lock().most;
        self.trim_to(fence, most).await
    }

    /// Drops items because Redis is full, whatever it is full of, so that appends succeed again.
    pub(super) async fn give_way(&self, fence: Fence) -> Result<(), LogError> {
        let _turn = self.budget.turn.lock().await;
        let most = self.budget.lower();
        warn!(bytes = most, "redis is full: the log is cut; give redis more memory, or the log less");
        self.trim_to(fence, most).await
    }

    async fn trim_to(&self, fence: Fence, most: usize) -> Result<(), LogError> {
        let trims = self.budget.to_trim(most, self.clock.now()).into_iter();
        let trims = trims.map(|(topic, bytes)| self.trim(fence, topic, bytes));
        stream::iter(trims).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn trim(&self, fence: Fence, topic: Topic, bytes: usize) -> Result<(), LogError> {
        let keys = Keys::of(&topic);
        loop {
            let args =
                [fence.0.to_string(), bytes.to_string(), ITEMS_AT_ONCE.to_string()].map(Value::from).to_vec();
            let keys = vec![keys.fence.as_str(), &keys.head, &keys.log];
            let reply: Option<(usize, bool)> =
                TRIM.run(&self.redis, keys, args).await.map_err(unavailable)?;
            let (left, has_more) = reply.ok_or(LogError::Fenced)?;
            if !has_more {
                self.budget.trimmed(&topic, left);
                return Ok(());
            }
        }
    }
}

/// How many bytes of items a topic has, and since when.
async fn held(redis: &Redis, topic: Topic) -> Result<(Topic, usize, UnixNanos), LogError> {
    let args = vec![Keys::of(&topic).head.into(), "bytes".into(), "at".into()];
    let found: Vec<Option<String>> = redis.call(GET_SOME, args).await.map_err(unavailable)?;
    let mut found = found.into_iter().map(Option::unwrap_or_default);
    let (bytes, at) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
    Ok((topic, bytes.parse().unwrap_or(0), codec::number(at.as_bytes()).unwrap_or(UnixNanos::from_secs(0))))
}

/// The bound of the log if Redis may use `memory` bytes (0: no bound). In a cluster it is the memory of one server, since a topic is on one.
fn most(configured: usize, memory: usize) -> usize {
    let share = memory / 100 * SHARE_PERCENT;
    if memory == 0 || configured <= share {
        return configured;
    }
    warn!(
        configured,
        bytes = share,
        maxmemory = memory,
        "the log is given less than is set, so that redis has room for the rest: lower BOND_RING_MIB or give redis more memory"
    );
    share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::topic;

    fn budget(most: usize) -> Budget {
        Budget::new(most, Duration::from_secs(10))
    }

    #[test]
    fn the_fullest_give_way_when_all_have_too_much() {
        let (budget, now) = (budget(100 << 10), UnixNanos::from_secs(100));
        for (name, kib) in [("A", 60), ("B", 10), ("C", 20)] {
            budget.note(&topic(name), kib << 10, now);
        }
        assert!(budget.is_over(), "what topics take by themselves counts");
        let trims = budget.to_trim(100 << 10, now);
        assert_eq!(trims.iter().map(|(topic, _)| topic).collect::<Vec<_>>(), [&topic("A")]);
        budget.note(&topic("A"), trims[0].1, now);
        assert!(!budget.is_over());
        assert_eq!(budget.to_trim(100 << 10, now), []);
    }

    #[test]
    fn what_redis_has_dropped_by_itself_no_longer_counts() {
        let budget = budget(50 << 10);
        budget.note(&topic("A"), 40 << 10, UnixNanos::from_secs(100));
        budget.note(&topic("B"), 40 << 10, UnixNanos::from_secs(111));
        assert_eq!(budget.to_trim(50 << 10, UnixNanos::from_secs(111)), []);
        assert!(!budget.is_over());
        budget.forget(&topic("B"));
        assert_eq!(budget.used.lock().sum, 0);
    }

    #[test]
    fn a_full_redis_lowers_the_bound_but_not_to_nothing() {
        let budget = budget(64 << 20);
        budget.note(&topic("A"), 16 << 20, UnixNanos::from_secs(1));
        assert!(budget.lower() < 15 << 20);
        budget.forget(&topic("A"));
        assert_eq!(budget.lower(), LEAST_BYTES);
    }

    #[test]
    fn the_log_leaves_room_for_the_rest() {
        assert_eq!(most(256, 0), 256);
        assert_eq!(most(256, 1_000), 256);
        assert_eq!(most(256 << 20, 120_000_000), 72_000_000);
    }
}
