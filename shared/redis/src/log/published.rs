//! Published topics: batches, the state that they make, and the names of them all.

use bond_core::log::{
    Appended, Fence, KEY_LIFE, LEAST_KEPT, LEAST_KEPT_FOR, LogError, Publication, PublishKey, PublishOutcome,
    PublishedHead, PublishedState,
};
use bond_core::position::{Epoch, Position};
use bond_core::time::UnixNanos;
use bond_core::topic::{PublishedTopic, Topic};
use bytes::Bytes;
use fred::types::Value;
use futures_util::future::try_join_all;
use smol_str::SmolStr;

use super::append::{self, Reply, millis, owned, text};
use super::keys::{self, Keys, PARTITIONS};
use super::{GET_SOME, RedisLog, codec, position};
use crate::client::{Redis, Verb, unavailable};
use crate::script::Script;

/// Gives a topic's head, and its state: read apart, they could belong to different numbers.
static STATE: Script = Script::reading(
    "local head = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'ts', 'entry')
    if not head[1] then return false end
    return {head[1], head[2], head[3] or '', head[4] or '', redis.call('GET', KEYS[2]) or ''}",
);

/// Takes a topic out of the index if it has lapsed.
static UNLIST: Script = Script::new(
    "if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
    return redis.call('ZREM', KEYS[1], ARGV[1])",
);

const NAMES: Verb = Verb::new("ZRANGEBYLEX", 0);

/// How many arguments a publication is to the append script.
const PUBLICATION_ARGS: usize = 7;

/// The most names that one command reads of an index.
const NAMES_AT_ONCE: usize = 1024;

/// What stands in the place of a publication where there is none.
pub(super) fn no_publication() -> impl Iterator<Item = Value> {
    std::iter::repeat_n(Value::from_static_str(""), PUBLICATION_ARGS)
}

impl RedisLog {
    /// What the append script is told of what outlives the ring.
    pub(super) fn kept_longer(&self, is_published: bool, now: UnixNanos) -> [Value; 3] {
        if !is_published {
            return ["", "", ""].map(Value::from_static_str);
        }
        let cutoff = now.minus(self.retention.ring.max(LEAST_KEPT_FOR));
        [text(LEAST_KEPT as u64), codec::stamp(cutoff).into(), text(millis(self.topic_ttl))]
    }

    pub(super) async fn publish_batch(
        &self,
        fence: Fence,
        topic: &Topic,
        publication: Publication,
    ) -> Result<PublishOutcome, LogError> {
        let standing = self.standing(fence, topic);
        let mut standing = standing.lock().await;
        // Always a mark of its own: what was appended after all is not there twice, since the head has moved by then.
        let mut args = self.arguments(fence, &standing, self.next());
        args.extend(publication_args(&publication, self.clock.now()));
        args.extend(publication.records.iter().flat_map(codec::event_args));
        let mut keys = owned(standing.keys.writing());
        keys.extend(publication.key.as_ref().map(|key| standing.keys.key(&key.name)));
        let reply = self.send(fence, &mut standing, keys, args).await?;
        if let Some(other) = not_appended(&reply) {
            return Ok(other);
        }
        let (first, bytes) = append::outcome(&reply)?;
        standing.state_bytes = publication.state.as_ref().map_or(0, Bytes::len);
        let count = publication.records.len() as u64;
        self.settle(topic, &mut standing, (first.as_ref(), count), bytes);
        drop(standing);
        self.tidy(fence).await;
        let Position { epoch, seq } =
            first.ok_or_else(|| LogError::Unavailable(format!("{topic} was given no events")))?;
        Ok(PublishOutcome::Appended(Appended { epoch, first_seq: seq }))
    }
}

fn publication_args(publication: &Publication, now: UnixNanos) -> [Value; PUBLICATION_ARGS] {
    let Publication { after, records, state, key, entry } = publication;
    let ts = records.last().map_or(now, |record| record.ts);
    [
        after.as_ref().map_or_else(|| "-".to_owned(), Position::to_string).into(),
        state.as_ref().map_or_else(Bytes::new, |state| [b"=", state.as_ref()].concat().into()).into(),
        ts.as_nanos().to_string().into(),
        entry.as_deref().unwrap_or_default().into(),
        key.as_ref().map_or("", |PublishKey { digest, .. }| digest.as_str()).into(),
        codec::stamp(now.minus(KEY_LIFE)).into(),
        text(millis(KEY_LIFE)),
    ]
}

/// What the script's answer says of a batch that it did not append.
fn not_appended(reply: &Reply) -> Option<PublishOutcome> {
    let word = reply.first().and_then(Value::as_str)?;
    match word.as_ref() {
        "moved" => Some(PublishOutcome::Moved),
        "reused" => Some(PublishOutcome::KeyReused),
        "repeated" => {
            let epoch = Epoch::new(&reply.get(1)?.as_str()?)?;
            let (first_seq, last) = (reply.get(2)?.as_u64()?, reply.get(3)?.as_u64()?);
            Some(PublishOutcome::Repeated(Appended { epoch, first_seq }, last))
        }
        _ => None,
    }
}

/// A topic's head, and the state there. A state of other numbers is none, nor is what it belonged to a history that goes on: the next
/// publication begins anew.
pub(super) async fn state(redis: &Redis, topic: &Topic) -> Result<Option<PublishedState>, LogError> {
    let keys = Keys::of(topic);
    let Some(state) = keys.state else { return Ok(None) };
    let found: Option<(String, String, String, String, Bytes)> =
        STATE.run(redis, vec![keys.head, state], Vec::new()).await.map_err(unavailable)?;
    let Some((epoch, seq, ts, entry, state)) = found else { return Ok(None) };
    let Some(position) = position(&epoch, &seq) else { return Ok(None) };
    let Some(state) = state_at(&position, &state) else { return Ok(None) };
    let ts = UnixNanos::from_nanos(ts.parse().unwrap_or(0));
    let entry = (!entry.is_empty()).then(|| SmolStr::new(entry));
    Ok(Some(PublishedState { position, ts, state, entry }))
}

/// The state in `kept` if it is the one at `position`.
fn state_at(position: &Position, kept: &Bytes) -> Option<Option<Bytes>> {
    let space = kept.iter().position(|byte| *byte == b' ')?;
    let is_there = kept[..space] == *position.to_string().as_bytes();
    is_there.then(|| kept[space + 1..].starts_with(b"=").then(|| kept.slice(space + 2..)))
}

/// The heads of topics by name: see [`bond_core::log::EventLog::published`].
pub(super) async fn heads(
    redis: &Redis,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<PublishedHead>, LogError> {
    let (mut heads, mut after) = (Vec::new(), after.to_owned());
    while heads.len() < limit {
        let wanted = (limit - heads.len()).min(NAMES_AT_ONCE);
        let names = names(redis, prefix, &after, wanted).await?;
        let Some((_, last)) = names.last() else { break };
        after.clone_from(last);
        let found = try_join_all(names.iter().map(|(partition, name)| head(redis, *partition, name)));
        heads.extend(found.await?.into_iter().flatten());
    }
    Ok(heads)
}

/// All published topics.
pub(super) async fn all(redis: &Redis) -> Result<Vec<Topic>, LogError> {
    let (mut topics, mut after) = (Vec::new(), String::new());
    loop {
        let names = names(redis, "", &after, NAMES_AT_ONCE).await?;
        let Some((_, last)) = names.last() else { return Ok(topics) };
        after.clone_from(last);
        topics.extend(names.iter().filter_map(|(_, name)| name.parse().ok()));
    }
}

/// The first `count` names of the index that begin with `prefix` and come after `after`, with their partitions.
async fn names(
    redis: &Redis,
    prefix: &str,
    after: &str,
    count: usize,
) -> Result<Vec<(u8, String)>, LogError> {
    let from = if after < prefix { format!("[{prefix}") } else { format!("({after}") };
    // No byte of a name is greater than `~`.
    let to = format!("[{prefix}~");
    let parts = (0..PARTITIONS).map(async |partition| {
        let key = keys::published(partition);
        let args = [key, from.clone(), to.clone(), "LIMIT".into(), "0".into(), count.to_string()];
        let names: Vec<String> = redis.call(NAMES, args.map(Value::from).to_vec()).await?;
        Ok(names.into_iter().map(move |name| (partition, name)))
    });
    let parts = try_join_all(parts).await.map_err(unavailable)?;
    let mut names: Vec<(u8, String)> = parts.into_iter().flatten().collect();
    names.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    names.truncate(count);
    Ok(names)
}

/// The head of the topic of this name. One that has lapsed is taken out of the index.
async fn head(redis: &Redis, partition: u8, name: &str) -> Result<Option<PublishedHead>, LogError> {
    let key = keys::published_head(partition, name);
    let args = vec![key.as_str().into(), "epoch".into(), "seq".into(), "ts".into()];
    let found: Vec<Option<String>> = redis.call(GET_SOME, args).await.map_err(unavailable)?;
    let [Some(epoch), Some(seq), ts] = found.as_slice() else {
        let unlisted = UNLIST.run::<()>(redis, vec![keys::published(partition), key], vec![name.into()]);
        // Who may only read leaves that to those who may.
        if let Err(error) = unlisted.await {
            tracing::debug!(%error, name, "a topic that has lapsed stays in the index");
        }
        return Ok(None);
    };
    let ts = UnixNanos::from_nanos(ts.as_ref().and_then(|ts| ts.parse().ok()).unwrap_or(0));
    let topic = PublishedTopic::parse(name);
    Ok(topic.and_then(|topic| Some(PublishedHead { topic, position: position(epoch, seq)?, ts })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_other_numbers_is_none() {
        let position = position("e1", "7").expect("a position");
        for (kept, state) in [
            ("e1:7 =", Some(Some(""))),
            (r#"e1:7 ={"a": 1}"#, Some(Some(r#"{"a": 1}"#))),
            ("e1:7 ", Some(None)),
            ("e1:8 ={}", None),
            ("e2:7 ={}", None),
            ("", None),
        ] {
            let state =
                state.map(|state: Option<&str>| state.map(|state| Bytes::from_static(state.as_bytes())));
            assert_eq!(state_at(&position, &Bytes::from_static(kept.as_bytes())), state, "{kept}");
        }
    }
}
