//! Writing: taking over, appending and ending.

use std::time::Duration;

use bond_core::log::{Fence, LogError};
use bond_core::position::{Epoch, Position};
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::Value;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::keys::{self, PARTITIONS};
use super::writer::WriterState;
use super::{RedisLog, codec, published};
use crate::client::{Redis, unavailable};
use crate::script::Script;

/// How long an append that gets no answer is repeated.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before it is repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// The index of the argument `unsure` of the append script.
const UNSURE: usize = 10;

/// Takes the next fencing number. The first write needs no memory, because a full Redis then lets the script write the others too.
static NUMBER: Script = Script::new(
    "redis.call('PERSIST', KEYS[1])
    local number = math.max(tonumber(redis.call('GET', KEYS[1]) or 0) + 1, tonumber(ARGV[1]))
    redis.call('SET', KEYS[1], string.format('%.0f', number))
    return number",
);
static RAISE: Script = Script::new(include_str!("raise.lua"));
static APPEND: Script = Script::new(include_str!("append.lua"));
static END: Script = Script::new(include_str!("end.lua"));

/// Takes the next number, and raises every partition's fence to it.
pub(super) async fn acquire(redis: &Redis, now: UnixNanos) -> Result<Fence, LogError> {
    let mut least = u64::try_from(now.as_millis()).unwrap_or(0);
    loop {
        let number: u64 = NUMBER.run(redis, "bond:fence", vec![text(least)]).await.map_err(unavailable)?;
        let highest = try_join_all((0..PARTITIONS).map(|partition| raise(redis, partition, number))).await;
        match highest.map_err(unavailable)?.into_iter().max() {
            // Another writer takes over at this moment, or Redis has lost the last number but not the fences. Try a greater number.
            Some(highest) if highest > number => least = highest + 1,
            _ => return Ok(Fence(number)),
        }
    }
}

async fn raise(redis: &Redis, partition: u8, number: u64) -> Result<u64, Error> {
    RAISE.run(redis, keys::fence(partition), vec![text(number)]).await
}

pub(super) fn text(number: u64) -> Value {
    number.to_string().into()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn owned(keys: Vec<&str>) -> Vec<String> {
    keys.into_iter().map(str::to_owned).collect()
}

impl RedisLog {
    /// Appends items, of which `count` are events. Returns the position of the first event; for a status, of the event before it.
    pub(super) async fn write(
        &self,
        fence: Fence,
        topic: &Topic,
        items: Vec<Value>,
        count: u64,
    ) -> Result<Option<Position>, LogError> {
        let standing = self.standing(fence, topic);
        let mut standing = standing.lock().await;
        let mark = match standing.failed.take() {
            Some((mark, failed)) if failed == items => mark,
            _ => self.next(),
        };
        let mut args = self.arguments(fence, &standing, mark);
        args.extend(published::no_publication());
        args.extend(items.iter().cloned());
        let keys = owned(standing.keys.writing());
        let sent = self.send(fence, &mut standing, keys, args).await.and_then(|reply| outcome(&reply));
        let (position, bytes) = sent.inspect_err(|_| standing.failed = Some((mark, items)))?;
        self.settle(topic, &mut standing, (position.as_ref(), count), bytes);
        drop(standing);
        self.tidy(fence).await;
        Ok(position)
    }

    /// Records that `count` events from `first` on were appended, and that the topic now has `bytes` bytes of items.
    pub(super) fn settle(
        &self,
        topic: &Topic,
        standing: &mut WriterState,
        (first, count): (Option<&Position>, u64),
        bytes: Option<usize>,
    ) {
        if let Some(bytes) = bytes {
            self.note(topic, bytes, standing.state_bytes);
        }
        if let Some(Position { epoch, seq }) = first {
            standing.acknowledged = Some(Position { epoch: epoch.clone(), seq: seq + count.max(1) - 1 });
        }
    }

    /// Makes room after an append.
    pub(super) async fn tidy(&self, fence: Fence) {
        // The items are appended even if this fails.
        if let Err(error) = self.make_room(fence).await {
            tracing::debug!(%error, "the log is above its bound until the next append");
        }
    }

    /// What the append script is given before a publication and the items.
    pub(super) fn arguments(&self, fence: Fence, standing: &WriterState, mark: u64) -> Vec<Value> {
        let (now, ring) = (self.clock.now(), self.retention.ring);
        let acknowledged = standing.acknowledged.as_ref();
        let mut args = vec![
            text(fence.0),
            text(self.nonce.into()),
            text(mark),
            codec::stamp(now).into(),
            codec::stamp(now.minus(ring)).into(),
            text(self.retention.topic_bytes as u64),
            text(millis(self.items_lapse(standing.keys.is_published()))),
            self.new_epoch(now, mark).as_str().into(),
            acknowledged.map_or("", |position| position.epoch.as_str()).into(),
            text(acknowledged.map_or(0, |position| position.seq)),
            text(0),
            standing.keys.topic.as_str().into(),
        ];
        args.extend(self.kept_longer(standing.keys.is_published(), now));
        args
    }

    /// Repeats the append until there is an answer.
    pub(super) async fn send(
        &self,
        fence: Fence,
        standing: &mut WriterState,
        keys: Vec<String>,
        mut args: Vec<Value>,
    ) -> Result<Reply, LogError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            args[UNSURE] = text(standing.unsure.into());
            let error = match self.ask(standing, keys.clone(), args.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if error.details().contains("OOM ") {
                self.give_way(fence).await?;
            }
            if Instant::now() + PAUSE > deadline {
                return Err(unavailable(error));
            }
            sleep(PAUSE).await;
        }
    }

    async fn ask(
        &self,
        standing: &mut WriterState,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Reply, Error> {
        // Without a connection nothing is sent, so the outcome is certain. The flag is set before the call, so that it stays set if the
        // caller gives up waiting.
        standing.unsure |= self.redis.strict().is_connected();
        let reply = APPEND.run_once(&self.redis, keys, args).await?;
        standing.unsure = false;
        Ok(reply)
    }

    pub(super) async fn end_topic(&self, fence: Fence, topic: &Topic) -> Result<(), LogError> {
        let turn = self.standing(fence, topic);
        let standing = turn.lock().await;
        let args = vec![text(fence.0), standing.keys.topic.as_str().into()];
        let ended: bool =
            END.run_once(&self.redis, standing.keys.writing(), args).await.map_err(unavailable)?;
        self.standings.forget(fence, topic);
        self.budget.forget(topic);
        if ended { Ok(()) } else { Err(LogError::Fenced) }
    }
}

/// What the append script answers: a word, and after `done` an epoch, a number and the topic's bytes.
pub(super) type Reply = Vec<Value>;

/// Where the first item is, and how many bytes the topic then has.
type Appended = (Option<Position>, Option<usize>);

pub(super) fn outcome(reply: &Reply) -> Result<Appended, LogError> {
    let word = reply.first().and_then(Value::as_str).unwrap_or_default();
    match word.as_ref() {
        "done" => match (reply.get(1).and_then(Value::as_str), reply.get(2).and_then(Value::as_u64)) {
            (Some(epoch), Some(seq)) => {
                let position = Epoch::new(&epoch).map(|epoch| Position { epoch, seq });
                Ok((position, reply.get(3).and_then(Value::as_usize)))
            }
            _ => Err(LogError::Unavailable("the append was answered without a position".into())),
        },
        "none" => Ok((None, None)),
        "fenced" => Err(LogError::Fenced),
        _ => Err(LogError::Unavailable(format!("the append was refused: {word}"))),
    }
}
