//! Looking at the heads of many topics at little cost: which have moved on from where a reader stands.

use bond_core::log::LogError;
use bond_core::topic::Topic;
use fred::types::Value;
use futures_util::future::try_join_all;

use super::page::Place;
use crate::client::{Redis, unavailable};
use crate::script::Script;

/// How many heads one script reads, so that no other waits for long.
const HEADS_AT_ONCE: usize = 256;

/// Gives `{epoch}:{seq}-{kept}` of each head, or an empty text where there is none. KEYS: heads of one partition.
static HEADS: Script = Script::new(
    "local found = {}
    for i, key in ipairs(KEYS) do
        local head = redis.call('HMGET', key, 'epoch', 'seq', 'kept')
        found[i] = head[1] and head[1] .. ':' .. head[2] .. '-' .. head[3] or ''
    end
    return found",
);

/// A topic, the key of its head, and whether it is known to have history.
pub(super) struct Looked<'a> {
    pub(super) topic: &'a Topic,
    pub(super) head: &'a str,
    pub(super) place: &'a Place,
    /// Whether it is to be read where it has no history.
    pub(super) may_end: bool,
}

impl Looked<'_> {
    fn has_news(&self, head: &str) -> bool {
        if head.is_empty() { self.may_end } else { !self.place.is_at(head) }
    }
}

/// Which of these topics, all of one partition, may have news.
pub(super) async fn moved(redis: &Redis, topics: Vec<Looked<'_>>) -> Result<Vec<Topic>, LogError> {
    let parts: Vec<_> = topics.chunks(HEADS_AT_ONCE).map(|part| moved_of(redis, part)).collect();
    Ok(try_join_all(parts).await?.into_iter().flatten().collect())
}

async fn moved_of(redis: &Redis, topics: &[Looked<'_>]) -> Result<Vec<Topic>, LogError> {
    let keys: Vec<&str> = topics.iter().map(|looked| looked.head).collect();
    let heads: Vec<Value> = HEADS.run(redis, keys, Vec::new()).await.map_err(unavailable)?;
    let heads = heads.iter().map(|head| head.as_str().unwrap_or_default());
    let moved = topics.iter().zip(heads).filter(|(looked, head)| looked.has_news(head));
    Ok(moved.map(|(looked, _)| looked.topic.clone()).collect())
}
