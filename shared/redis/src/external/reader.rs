//! Waiting for what comes in many streams.

use std::collections::BTreeMap;

use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::Value;
use fred::types::config::Options;
use futures_util::{StreamExt, stream};
use tokio::time::{Duration, Instant, sleep};

use super::page::{Page, list};
use super::{EntryId, EntryMark, ForeignError, News, PREFIX, What, unexpected};
use crate::client::{COMMAND_TIMEOUT, Redis, Verb, call, close};

/// How long Redis waits for news before it answers without, in milliseconds. Well within what a command may take.
const BLOCK_MS: u32 = 1_000;

const READ: Verb = Verb::waiting("XREAD", 5);

/// How often every stream is looked at, whatever Redis says has news: one whose ids went back, as after a loss, has none.
const LOOK_EVERY: Duration = Duration::from_millis(BLOCK_MS as u64);

/// How often every stream is looked at on a cluster, where no read waits for streams of several slots.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// The pause before streams are looked at one by one because all together could not be waited for.
const PAUSE: Duration = Duration::from_millis(50);

/// How many streams are read at once.
const AT_ONCE: usize = 32;

/// The most bytes of entries that are returned at once, and a page above it. The rest has its turn next.
const ROUND_BYTES: usize = 16 << 20;

type Outcome = Result<(EntryMark, Option<What>), ForeignError>;

/// A reader of many streams that waits for what comes, on a connection of its own.
pub struct ForeignReader {
    redis: Redis,
    /// The connection that waits; made when first needed, and again after a failure.
    blocked: Option<Client>,
    marks: BTreeMap<String, EntryMark>,
    /// When every stream is to be looked at again.
    look_at: Instant,
    /// How many streams have had their turn, so that the last of them has it too where there is more than one round takes.
    turns: usize,
}

impl ForeignReader {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, blocked: None, marks: BTreeMap::new(), look_at: Instant::now() + LOOK_EVERY, turns: 0 }
    }

    /// Reads `stream` too, after `mark`.
    pub fn follow(&mut self, stream: &str, mark: EntryMark) {
        self.marks.insert(stream.to_owned(), mark);
    }

    /// Stops reading `stream`.
    pub fn unfollow(&mut self, stream: &str) {
        self.marks.remove(stream);
    }

    /// Waits for news. Cancel-safe: marks move only when news are returned. A stream that cannot be read holds up no other.
    ///
    /// # Errors
    /// [`ForeignError`] where none could be read; the reader goes on from where it stands.
    pub async fn next(&mut self) -> Result<Vec<News>, ForeignError> {
        if self.marks.is_empty() {
            return std::future::pending().await;
        }
        let mut moved = self.wait().await?;
        moved.retain(|stream| self.marks.contains_key(stream));
        let turn = self.turns % moved.len().max(1);
        moved.rotate_left(turn);
        let outcomes = self.read(moved).await;
        self.turns = self.turns.wrapping_add(outcomes.len());
        self.settle(outcomes)
    }

    /// Reads a page of each stream, until they are enough for one round.
    async fn read(&self, moved: Vec<String>) -> Vec<(String, Outcome)> {
        let reads = moved.into_iter().filter_map(|stream| {
            let mark = *self.marks.get(&stream)?;
            Some(async move {
                let outcome = read(&self.redis, &stream, mark).await;
                (stream, outcome)
            })
        });
        let mut reads = stream::iter(reads).buffered(AT_ONCE);
        let (mut outcomes, mut bytes) = (Vec::new(), 0);
        while bytes < ROUND_BYTES
            && let Some((stream, outcome)) = reads.next().await
        {
            bytes += outcome.as_ref().map_or(0, |(_, what)| what.as_ref().map_or(0, What::bytes));
            outcomes.push((stream, outcome));
        }
        outcomes
    }

    /// Moves the marks, and lets go of what cannot be read.
    fn settle(&mut self, outcomes: Vec<(String, Outcome)>) -> Result<Vec<News>, ForeignError> {
        let (mut news, mut failed, count) = (Vec::new(), Vec::new(), outcomes.len());
        for (stream, outcome) in outcomes {
            let what = match outcome {
                Ok((mark, what)) => {
                    self.marks.insert(stream.clone(), mark);
                    what
                }
                Err(error) if error.may_pass() => {
                    failed.push(error);
                    None
                }
                Err(error) => {
                    self.marks.remove(&stream);
                    Some(What::Unreadable(error))
                }
            };
            news.extend(what.map(|what| News { stream, what }));
        }
        match failed.pop() {
            Some(error) if failed.len() + 1 == count => Err(error),
            _ => Ok(news),
        }
    }

    fn disconnect(&mut self) {
        if let Some(client) = self.blocked.take() {
            close(self.redis.runtime(), client);
        }
    }

    /// Waits until streams may have entries after their marks, and names them.
    async fn wait(&mut self) -> Result<Vec<String>, ForeignError> {
        if self.redis.is_cluster() {
            sleep(POLL_EVERY).await;
            return Ok(self.all());
        }
        match self.block().await {
            Ok(found) if found.is_null() || Instant::now() >= self.look_at => Ok(self.all()),
            Ok(found) => streams(found),
            Err(error) if error.may_pass() => {
                self.disconnect();
                Err(error)
            }
            // One of them spoils the answer for all.
            Err(_) => {
                sleep(PAUSE).await;
                Ok(self.all())
            }
        }
    }

    fn all(&mut self) -> Vec<String> {
        self.look_at = Instant::now() + LOOK_EVERY;
        self.marks.keys().cloned().collect()
    }

    async fn block(&mut self) -> Result<Value, ForeignError> {
        let client = match &self.blocked {
            Some(client) => client.clone(),
            None => self.blocked.insert(self.redis.dedicated().await?).clone(),
        };
        let mut args: Vec<Value> =
            vec!["COUNT".into(), 1.into(), "BLOCK".into(), i64::from(BLOCK_MS).into(), "STREAMS".into()];
        args.extend(self.marks.keys().map(|stream| Value::from(format!("{PREFIX}{stream}"))));
        args.extend(self.marks.values().map(|mark| Value::from(mark.id.to_string())));
        let patient = Options { timeout: Some(2 * COMMAND_TIMEOUT), ..Options::default() };
        Ok(call(&client.with_options(&patient), READ, args).await?)
    }
}

impl Drop for ForeignReader {
    fn drop(&mut self) {
        self.disconnect();
    }
}

impl What {
    fn bytes(&self) -> usize {
        match self {
            Self::Entries(entries) | Self::Broken(entries) => {
                entries.iter().map(|entry| entry.data.len()).sum()
            }
            Self::Unreadable(_) => 0,
        }
    }
}

/// The streams that an answer of XREAD names.
fn streams(found: Value) -> Result<Vec<String>, ForeignError> {
    let keys: Vec<Value> = match found {
        Value::Map(map) => map.inner().into_keys().map(|key| Value::Bytes(key.into_bytes())).collect(),
        Value::Array(items) => {
            items.into_iter().filter_map(|item| list(item).ok()?.into_iter().next()).collect()
        }
        _ => return Err(unexpected("streams")),
    };
    let name = |key: Value| Some(key.as_str()?.strip_prefix(PREFIX)?.to_owned());
    Ok(keys.into_iter().filter_map(name).collect())
}

/// A page of `stream` after `mark`, held against the count of what was added.
async fn read(redis: &Redis, stream: &str, mark: EntryMark) -> Outcome {
    let page = Page::read(redis, stream, mark.id).await?;
    if page.last < mark.id {
        // A stream that was deleted and began again, or a Redis that lost it.
        return Ok((EntryMark { id: EntryId::default(), added: 0 }, Some(What::Broken(Vec::new()))));
    }
    let added = mark.added + page.count as u64;
    if page.has_more {
        let id = page.end.unwrap_or(mark.id);
        return Ok((EntryMark { id, added }, Some(What::Entries(page.entries))));
    }
    let after = EntryMark { id: page.last, added: page.added };
    if added != page.added {
        return Ok((after, Some(What::Broken(page.entries))));
    }
    Ok((after, (!page.entries.is_empty()).then_some(What::Entries(page.entries))))
}
