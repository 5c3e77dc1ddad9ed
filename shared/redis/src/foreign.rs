//! Redis Streams that others write: `stream:{id}`, whose entries' field `data` is passed on as it is.
//!
//! Only [`bond broker`](crate) reads these; Bond writes none. Every read is one script that takes the entries after a mark together with
//! the count of all that were ever added (`entries-added`, Redis 7 and Valkey), so that entries trimmed or deleted before they were read
//! are noticed however they went.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, StreamsInterface};
use fred::types::Value;
use fred::types::config::Options;

use crate::client::{COMMAND_TIMEOUT, Redis, close};
use crate::script::Script;

/// What is put before a stream's id to make its key.
const PREFIX: &str = "stream:";

/// The field that is passed on; an entry without it is passed over.
const FIELD: &str = "data";

/// Entries read at once.
const PAGE: usize = 1_000;

/// How long Redis waits for news before it answers without, in milliseconds. Well within what a command may take.
const BLOCK_MS: u64 = 1_000;

/// One page of entries after a mark, with the stream's last id and the count of all entries ever added.
static READ: Script = Script::new(
    r"
local page = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
local last, added = '0-0', '0'
if not info.err then
  added = ''
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'entries-added' then added = string.format('%d', info[i + 1]) end
  end
end
return {last, added, page}",
);

/// The server's time in Unix milliseconds. The key only says which server, should there be several.
static NOW: Script =
    Script::new("local now = redis.call('TIME') return now[1] * 1000 + math.floor(now[2] / 1000)");

/// The id of an entry: `{ms}-{seq}`, by the clock of Redis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct EntryId {
    /// Unix time in milliseconds.
    pub ms: u64,
    /// Tells apart those of one millisecond.
    pub seq: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = ForeignError;

    fn from_str(text: &str) -> Result<Self, ForeignError> {
        let parts = text.split_once('-').and_then(|(ms, seq)| Some((ms.parse().ok()?, seq.parse().ok()?)));
        let (ms, seq) = parts.ok_or_else(|| unexpected("an entry id"))?;
        Ok(Self { ms, seq })
    }
}

/// An entry's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// What its producer put into `data`.
    pub data: Bytes,
}

/// How far a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// The last id that was read, or passed over.
    id: EntryId,
    /// How many entries had been added to the stream up to it.
    added: u64,
}

/// What came in one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The stream's id, without the key's prefix.
    pub stream: String,
    /// Whether entries before `entries` were gone before they could be read.
    pub is_broken: bool,
    /// The new entries, in order.
    pub entries: Vec<Entry>,
}

/// Why foreign streams cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// Redis cannot be reached, or answered with an error.
    #[error("redis: {0}")]
    Unreachable(String),
    /// What answers is not what is needed.
    #[error("{0}")]
    Unfit(String),
}

impl From<Error> for ForeignError {
    fn from(error: Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// Reads foreign streams.
#[derive(Clone)]
pub struct ForeignStreams(Redis);

impl ForeignStreams {
    /// Reads them from here.
    pub const fn new(redis: Redis) -> Self {
        Self(redis)
    }

    /// The time of Redis, in Unix milliseconds.
    ///
    /// # Errors
    /// [`ForeignError`] where Redis does not answer.
    pub async fn now_ms(&self) -> Result<u64, ForeignError> {
        Ok(NOW.run(&self.0, vec![PREFIX], Vec::new()).await?)
    }

    /// All entries after `after`, and the mark behind them.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub async fn read_after(&self, stream: &str, after: EntryId) -> Result<(Vec<Entry>, Mark), ForeignError> {
        let mut entries = Vec::new();
        let mut id = after;
        loop {
            let page = Page::read(&self.0, stream, id).await?;
            let is_last = page.count < PAGE;
            id = page.end.unwrap_or(id);
            entries.extend(page.entries);
            if is_last {
                return Ok((entries, Mark { id: id.max(page.last), added: page.added }));
            }
        }
    }

    /// A reader that waits for what comes.
    pub fn reader(&self) -> ForeignReader {
        ForeignReader { redis: self.0.clone(), blocked: None, marks: BTreeMap::new() }
    }
}

/// One answer of the script.
struct Page {
    /// The stream's last id.
    last: EntryId,
    added: u64,
    /// How many entries were read, those without data included.
    count: usize,
    /// The id of the last of them.
    end: Option<EntryId>,
    entries: Vec<Entry>,
}

impl Page {
    async fn read(redis: &Redis, stream: &str, after: EntryId) -> Result<Self, ForeignError> {
        let args = vec![after.to_string().into(), PAGE.to_string().into()];
        let (last, added, page): (String, String, Value) =
            READ.run(redis, vec![format!("{PREFIX}{stream}")], args).await?;
        let added = added.parse().map_err(|_| {
            ForeignError::Unfit(
                "this Redis does not count the entries added to a stream: use Redis 7 or Valkey".into(),
            )
        })?;
        let page = list(page)?;
        let count = page.len();
        let mut end = None;
        let mut entries = Vec::with_capacity(count);
        for raw in page {
            let (id, data) = entry(raw)?;
            end = Some(id);
            entries.extend(data.map(|data| Entry { id, data }));
        }
        Ok(Self { last: last.parse()?, added, count, end, entries })
    }
}

/// An entry's id, and its data where it has any.
fn entry(raw: Value) -> Result<(EntryId, Option<Bytes>), ForeignError> {
    let (id, fields): (String, Value) = raw.convert()?;
    let mut fields = list(fields)?.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if name.as_bytes().is_some_and(|name| name == FIELD.as_bytes()) {
            return Ok((id.parse()?, Some(value.convert()?)));
        }
    }
    Ok((id.parse()?, None))
}

fn list(value: Value) -> Result<Vec<Value>, ForeignError> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Null => Ok(Vec::new()),
        _ => Err(unexpected("a list")),
    }
}

fn unexpected(wanted: &str) -> ForeignError {
    ForeignError::Unfit(format!("redis answered something else than {wanted}"))
}

/// A reader of many streams that waits for what comes, on a connection of its own.
pub struct ForeignReader {
    redis: Redis,
    /// The connection that waits; made when first needed, and again after a failure.
    blocked: Option<Client>,
    marks: BTreeMap<String, Mark>,
}

impl ForeignReader {
    /// Reads `stream` too, after `mark`.
    pub fn follow(&mut self, stream: &str, mark: Mark) {
        self.marks.insert(stream.to_owned(), mark);
    }

    /// Stops reading `stream`.
    pub fn unfollow(&mut self, stream: &str) {
        self.marks.remove(stream);
    }

    /// Waits for news. Cancel-safe: marks move only when news are returned.
    ///
    /// # Errors
    /// [`ForeignError`]; the reader goes on from where it stands.
    pub async fn next(&mut self) -> Result<Vec<News>, ForeignError> {
        if self.marks.is_empty() {
            return std::future::pending().await;
        }
        let moved = self.wait().await?;
        let mut news = Vec::new();
        let mut marks = Vec::new();
        for stream in moved {
            let Some(mark) = self.marks.get(&stream) else { continue };
            let (mark, found) = read(&self.redis, &stream, *mark).await?;
            marks.push((stream, mark));
            news.extend(found);
        }
        self.marks.extend(marks);
        Ok(news)
    }

    fn disconnect(&mut self) {
        if let Some(client) = self.blocked.take() {
            close(self.redis.runtime(), client);
        }
    }

    /// Waits until streams have entries after their marks, and names them. Those whose ids went back, as after a loss, are found when
    /// the wait ends without news.
    async fn wait(&mut self) -> Result<Vec<String>, ForeignError> {
        let client = match &self.blocked {
            Some(client) => client.clone(),
            None => self.blocked.insert(self.redis.dedicated().await?).clone(),
        };
        let keys: Vec<String> = self.marks.keys().map(|stream| format!("{PREFIX}{stream}")).collect();
        let ids: Vec<String> = self.marks.values().map(|mark| mark.id.to_string()).collect();
        let patient = Options { timeout: Some(2 * COMMAND_TIMEOUT), ..Options::default() };
        let found: Result<Value, _> =
            client.with_options(&patient).xread(Some(1), Some(BLOCK_MS), keys, ids).await;
        match found {
            Ok(Value::Null) => Ok(self.marks.keys().cloned().collect()),
            Ok(found) => streams(found),
            Err(error) => {
                self.disconnect();
                Err(error.into())
            }
        }
    }
}

impl Drop for ForeignReader {
    fn drop(&mut self) {
        self.disconnect();
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

/// Everything in `stream` after `mark`, held against the count of what was added.
async fn read(redis: &Redis, stream: &str, mark: Mark) -> Result<(Mark, Option<News>), ForeignError> {
    let (mut id, mut count, mut entries) = (mark.id, 0, Vec::new());
    loop {
        let page = Page::read(redis, stream, id).await?;
        if page.last < id {
            // A stream that was deleted and began again, or a Redis that lost it.
            let news = News { stream: stream.to_owned(), is_broken: true, entries: Vec::new() };
            return Ok((Mark { id: EntryId::default(), added: 0 }, Some(news)));
        }
        count += page.count as u64;
        id = page.end.unwrap_or(id);
        entries.extend(page.entries);
        if page.count < PAGE {
            let is_broken = mark.added + count != page.added;
            let mark = Mark { id: id.max(page.last), added: page.added };
            let has_news = is_broken || !entries.is_empty();
            return Ok((mark, has_news.then(|| News { stream: stream.to_owned(), is_broken, entries })));
        }
    }
}
