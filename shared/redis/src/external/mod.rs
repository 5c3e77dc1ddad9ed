//! Redis Streams that other programs write: `stream:{id}`. The field `data` of each entry is passed on unchanged.
//!
//! Only [`bond broker`](crate) reads these streams, and Bond does not write them. Every read is one script. It returns the entries after a
//! mark, and the number of entries that were ever added (`entries-added`, Redis 7 and Valkey). By this number the reader notices entries
//! that were trimmed or deleted before they were read.

mod page;
mod reader;

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use fred::error::Error;

use self::page::Page;
pub use self::reader::ForeignReader;
use crate::client::Redis;
use crate::script::Script;

/// The prefix of a stream's key.
const PREFIX: &str = "stream:";

/// The server's time in Unix milliseconds. The key only selects a server, in case there are several.
static NOW: Script =
    Script::new("local now = redis.call('TIME') return now[1] * 1000 + math.floor(now[2] / 1000)");

/// The id of an entry: `{ms}-{seq}`, by the clock of Redis.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct EntryId {
    /// Unix time in milliseconds.
    pub ms: u64,
    /// Distinguishes entries of the same millisecond.
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
    /// The field `data`.
    pub data: Bytes,
}

/// How far a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EntryMark {
    /// The last id that was read or skipped.
    id: EntryId,
    /// How many entries had been added to the stream up to it.
    added: u64,
}

/// What is new in one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The stream's id, without the key's prefix.
    pub stream: String,
    /// What has happened.
    pub what: What,
}

/// What has happened in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The new entries, in order.
    Entries(Vec<Entry>),
    /// New entries, but entries before these were removed before they could be read.
    Broken(Vec<Entry>),
    /// The stream cannot be read, and is no longer followed. Other streams are not affected.
    Unreadable(ForeignError),
}

/// Why foreign streams cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// Redis cannot be reached, or answered with an error.
    #[error("redis: {0}")]
    Unreachable(String),
    /// The key is not one that can be read as a stream.
    #[error("the key cannot be read as a stream: {0}")]
    WrongKey(String),
    /// What answers is not what is needed.
    #[error("{0}")]
    Unfit(String),
}

impl ForeignError {
    /// Whether the next attempt may go well by itself.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl From<Error> for ForeignError {
    fn from(error: Error) -> Self {
        // Errors of scripts have the command's error within.
        let is_of_key = ["WRONGTYPE", "NOPERM"].iter().any(|word| error.details().contains(word));
        if is_of_key {
            Self::WrongKey(error.details().to_owned())
        } else {
            Self::Unreachable(error.to_string())
        }
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

    /// Gives all entries after `after` to `take`, a page at a time, and returns the mark behind them.
    ///
    /// # Errors
    /// [`ForeignError`]; pages may have been given by then.
    pub async fn read_after(
        &self,
        stream: &str,
        after: EntryId,
        mut take: impl FnMut(Vec<Entry>) + Send,
    ) -> Result<EntryMark, ForeignError> {
        let mut id = after;
        loop {
            let page = Page::read(&self.0, stream, id).await?;
            id = page.end.unwrap_or(id);
            take(page.entries);
            if !page.has_more {
                // Where the stream stands, which may be before `after`: nothing was added for long, or its ids are no times.
                return Ok(EntryMark { id: page.last, added: page.added });
            }
        }
    }

    /// A reader that waits for what comes.
    pub fn reader(&self) -> ForeignReader {
        ForeignReader::new(self.0.clone())
    }
}

fn unexpected(wanted: &str) -> ForeignError {
    ForeignError::Unfit(format!("redis answered something else than {wanted}"))
}
