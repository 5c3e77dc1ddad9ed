//! Bounds the size of all topics together. The writer tracks the sizes; an append to one topic may trim the oldest items of the largest.

use std::collections::HashMap;

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
use super::{GET_SOME, RedisLog, codec, published, topics};
use crate::client::{Verb, unavailable};
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

/// How many topics are trimmed at once.
const AT_ONCE: usize = 32;

/// How many topics are asked at once what they have.
const ASKED_AT_ONCE: usize = 256;

/// How many topics there are before those of which nothing is left are looked for.
const SWEEP_FROM: usize = 1024;

const LENGTH: Verb = Verb::new("STRLEN", 0);

static TRIM: Script = Script::new(include_str!("trim.lua"));

/// How much memory Redis may use; nothing if it has no bound or does not say.
static MAXMEMORY: Script = Script::new(
    "local info = redis.pcall('INFO', 'memory')
    return tonumber(type(info) == 'string' and string.match(info, 'maxmemory:(%d+)') or 0)",
);

/// The size of the topics, and its bound.
pub(super) struct Budget {
    configured: usize,
    used: Mutex<Used>,
    /// Locked while topics are trimmed.
    turn: Turn<()>,
}

struct Used {
    most: usize,
    sum: usize,
    topics: HashMap<Topic, Held>,
    /// With how many topics those of which nothing is left are looked for again.
    sweep_at: usize,
}

/// What a topic takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Its items.
    pub(super) items: usize,
    /// The state of a published topic.
    pub(super) state: usize,
    /// When nothing is left of it unless it is appended to.
    pub(super) lapses: UnixNanos,
}

impl Held {
    const fn fixed(self) -> usize {
        TOPIC_BYTES + self.state
    }

    const fn bytes(self) -> usize {
        self.items + self.fixed()
    }
}

impl Used {
    fn new(most: usize) -> Self {
        Self { most, sum: 0, topics: HashMap::new(), sweep_at: SWEEP_FROM }
    }

    fn sweep(&mut self, now: UnixNanos) {
        self.topics.retain(|_, held| held.lapses >= now);
        self.sum = self.topics.values().map(|held| held.bytes()).sum();
        self.sweep_at = SWEEP_FROM.max(2 * self.topics.len());
    }
}

impl Budget {
    pub(super) fn new(configured: usize) -> Self {
        Self { configured, used: Mutex::new(Used::new(configured)), turn: Turn::default() }
    }

    /// Records what a topic takes at `now`.
    pub(super) fn note(&self, topic: &Topic, held: Held, now: UnixNanos) {
        let mut used = self.used.lock();
        let before = used.topics.insert(topic.clone(), held);
        used.sum = used.sum + held.bytes() - before.map_or(0, Held::bytes);
        if used.topics.len() >= used.sweep_at {
            used.sweep(now);
        }
    }

    /// Records that a topic was trimmed to `items` bytes of items.
    fn trimmed(&self, topic: &Topic, items: usize) {
        let mut used = self.used.lock();
        let Some(held) = used.topics.get_mut(topic) else { return };
        let before = std::mem::replace(&mut held.items, items);
        used.sum = used.sum + items - before;
    }

    pub(super) fn forget(&self, topic: &Topic) {
        let mut used = self.used.lock();
        used.sum -= used.topics.remove(topic).map_or(0, Held::bytes);
    }

    /// Replaces all sizes by those that a new writer finds.
    fn begin(&self, most: usize, found: Vec<(Topic, Held)>, now: UnixNanos) {
        let mut used = self.used.lock();
        *used = Used { topics: found.into_iter().collect(), ..Used::new(most) };
        used.sweep(now);
    }

    fn is_over(&self) -> bool {
        let used = self.used.lock();
        used.sum > used.most
    }

    /// The topics to trim so that the sum is a little less than `most`, with the bytes of items that each may keep.
    fn to_trim(&self, most: usize, now: UnixNanos) -> Vec<(Topic, usize)> {
        let mut used = self.used.lock();
        used.sweep(now);
        if used.sum <= most {
            return Vec::new();
        }
        let sizes: Vec<usize> = used.topics.values().map(|held| held.bytes()).collect();
        let Some(level) = share::level(&sizes, most - most / SLACK) else { return Vec::new() };
        let fullest = used.topics.iter().filter(|(_, held)| held.bytes() > level);
        fullest.map(|(topic, held)| (topic.clone(), level.saturating_sub(held.fixed()))).collect()
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
        let named = topics(&self.redis).await?.into_iter().map(|(topic, _)| topic);
        let published = published::all(&self.redis).await?;
        let found: Vec<_> = stream::iter(named.chain(published))
            .map(|topic| self.held(topic))
            .buffer_unordered(ASKED_AT_ONCE)
            .try_collect()
            .await?;
        let memory: usize =
            MAXMEMORY.run(&self.redis, "bond:fence", Vec::new()).await.map_err(unavailable)?;
        self.budget.begin(most(self.budget.configured, memory), found, self.clock.now());
        Ok(())
    }

    /// A topic has so many bytes of items, and of its state, from now on.
    pub(super) fn note(&self, topic: &Topic, items: usize, state: usize) {
        let now = self.clock.now();
        let lapses = now.plus(self.lapse(matches!(topic, Topic::Published(_))));
        self.budget.note(topic, Held { items, state, lapses }, now);
    }

    /// How many bytes a topic has, and until when.
    async fn held(&self, topic: Topic) -> Result<(Topic, Held), LogError> {
        let keys = Keys::of(&topic);
        let args = vec![keys.head.as_str().into(), "bytes".into(), "at".into()];
        let found: Vec<Option<String>> = self.redis.call(GET_SOME, args).await.map_err(unavailable)?;
        let state = match &keys.state {
            Some(state) => self.redis.call(LENGTH, vec![state.as_str().into()]).await.map_err(unavailable)?,
            None => 0,
        };
        let mut found = found.into_iter().map(Option::unwrap_or_default);
        let (bytes, at) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
        let at = codec::number(at.as_bytes()).unwrap_or(UnixNanos::from_secs(0));
        let lapses = at.plus(self.lapse(keys.is_published()));
        Ok((topic, Held { items: bytes.parse().unwrap_or(0), state, lapses }))
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

    const LAPSES: UnixNanos = UnixNanos::from_secs(110);

    const fn held(items: usize) -> Held {
        Held { items, state: 0, lapses: LAPSES }
    }

    #[test]
    fn the_fullest_give_way_when_all_have_too_much() {
        let (budget, now) = (Budget::new(100 << 10), UnixNanos::from_secs(100));
        for (name, kib) in [("A", 60), ("B", 10), ("C", 20)] {
            budget.note(&topic(name), held(kib << 10), now);
        }
        assert!(budget.is_over(), "what topics take by themselves counts");
        let trims = budget.to_trim(100 << 10, now);
        assert_eq!(trims.iter().map(|(topic, _)| topic).collect::<Vec<_>>(), [&topic("A")]);
        budget.trimmed(&topic("A"), trims[0].1);
        assert!(!budget.is_over());
        assert_eq!(budget.to_trim(100 << 10, now), []);
    }

    #[test]
    fn a_state_counts_and_is_not_trimmed() {
        let (budget, now) = (Budget::new(100 << 10), UnixNanos::from_secs(100));
        budget.note(&topic("A"), Held { state: 24 << 10, ..held(60 << 10) }, now);
        budget.note(&topic("B"), held(20 << 10), now);
        let trims = budget.to_trim(100 << 10, now);
        assert!(trims.len() == 1 && trims[0].1 < 60 << 10, "{trims:?}");
        budget.trimmed(&topic("A"), trims[0].1);
        assert!(!budget.is_over());
    }

    #[test]
    fn what_redis_has_dropped_by_itself_no_longer_counts() {
        let budget = Budget::new(50 << 10);
        budget.note(&topic("A"), held(40 << 10), UnixNanos::from_secs(100));
        let later = Held { lapses: UnixNanos::from_secs(121), ..held(40 << 10) };
        budget.note(&topic("B"), later, UnixNanos::from_secs(111));
        assert_eq!(budget.to_trim(50 << 10, UnixNanos::from_secs(111)), []);
        assert!(!budget.is_over());
        budget.forget(&topic("B"));
        assert_eq!(budget.used.lock().sum, 0);
    }

    #[test]
    fn a_full_redis_lowers_the_bound_but_not_to_nothing() {
        let budget = Budget::new(64 << 20);
        budget.note(&topic("A"), held(16 << 20), UnixNanos::from_secs(1));
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
