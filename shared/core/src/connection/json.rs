//! A connection as text, for stores and commands. Not part of the client protocol; readers take what older writers left out.

mod topics;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use self::topics::WireTopics;
use super::{Batch, Carries, Connection, ConnectionId, FeedRequest, FeedState, NOTES, RateState, Resume};
use crate::api_key::Holder;
use crate::event::Channel;
use crate::feed::FeedFilter;
use crate::message::Rate;
use crate::position::Start;
use crate::time::UnixNanos;
use crate::topic::{DEFAULT_DEPTH, StreamId};

/// Why a text is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a connection: {0}")]
pub struct ConnectionError(String);

#[derive(Serialize, Deserialize)]
struct Wire {
    id: String,
    opened_ns: i64,
    asked_ns: i64,
    #[serde(default)]
    placed_ns: i64,
    #[serde(default)]
    control: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<(usize, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<WireHolder>,
    #[serde(default)]
    free_ns: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    refused: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(flatten)]
    carries: WireCarries,
}

#[derive(Serialize, Deserialize)]
struct WireHolder {
    owner: SmolStr,
    key: SmolStr,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireCarries {
    Stream { id: String, from: String },
    Feed(WireFeed),
    Topics(WireTopics),
}

#[derive(Serialize, Deserialize)]
struct WireFeed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wish: Option<WireWish>,
    #[serde(default)]
    background: bool,
    #[serde(default)]
    rates: BTreeMap<String, Rate>,
    #[serde(default)]
    resumes: BTreeMap<String, String>,
    #[serde(default)]
    resumed_ns: BTreeMap<String, i64>,
}

#[derive(Serialize, Deserialize)]
struct WireWish {
    filter: WireFilter,
    speed_ms: u64,
    max_lag_ms: u64,
    book_changes: bool,
    since_ns: i64,
}

/// A [`FeedFilter`] as text; also the form of feed commands.
#[derive(Serialize, Deserialize)]
pub(crate) struct WireFilter {
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    symbols: Vec<String>,
    #[serde(default)]
    venues: Vec<String>,
    #[serde(default = "default_depth")]
    depth: u16,
    #[serde(default)]
    raw: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

const fn default_depth() -> u16 {
    DEFAULT_DEPTH
}

impl Connection {
    /// It as JSON.
    pub fn to_json(&self) -> String {
        // Fails for maps without text keys and for values that refuse to be written; there are none.
        serde_json::to_string(&Wire::of(self)).unwrap_or_default()
    }

    /// Reads what [`Connection::to_json`] wrote.
    ///
    /// # Errors
    /// [`ConnectionError`], which names what cannot be read.
    pub fn from_json(text: &str) -> Result<Self, ConnectionError> {
        let wire: Wire = serde_json::from_str(text).map_err(|error| ConnectionError(error.to_string()))?;
        wire.read()
    }
}

impl Wire {
    fn of(connection: &Connection) -> Self {
        Self {
            id: connection.id.as_str().to_owned(),
            opened_ns: connection.opened_at.as_nanos(),
            asked_ns: connection.asked_at.as_nanos(),
            placed_ns: connection.placed_at.as_nanos(),
            control: connection.control,
            batch: connection.batch.map(|batch| (batch.size, millis(batch.wait))),
            expires_ns: connection.expires_at.map(UnixNanos::as_nanos),
            holder: connection.holder.clone().map(|Holder { owner, key }| WireHolder { owner, key }),
            free_ns: connection.pace.free_at.as_nanos(),
            refused: connection.refused,
            notes: connection.notes.iter().take(NOTES).cloned().collect(),
            carries: WireCarries::of(&connection.carries),
        }
    }

    fn read(self) -> Result<Connection, ConnectionError> {
        let batch =
            self.batch.map(|(size, wait)| Batch { size: size.max(1), wait: Duration::from_millis(wait) });
        Ok(Connection {
            id: ConnectionId::new(self.id),
            opened_at: UnixNanos::from_nanos(self.opened_ns),
            asked_at: UnixNanos::from_nanos(self.asked_ns),
            placed_at: UnixNanos::from_nanos(self.placed_ns),
            control: self.control,
            batch,
            expires_at: self.expires_ns.map(UnixNanos::from_nanos),
            holder: self.holder.map(|WireHolder { owner, key }| Holder { owner, key }),
            pace: RateState { free_at: UnixNanos::from_nanos(self.free_ns) },
            refused: self.refused,
            notes: self.notes,
            carries: self.carries.read()?,
        })
    }
}

impl WireCarries {
    fn of(carries: &Carries) -> Self {
        match carries {
            Carries::Stream { id, start } => {
                Self::Stream { id: id.as_str().to_owned(), from: start_text(start) }
            }
            Carries::Feed(feed) => Self::Feed(WireFeed::of(feed)),
            Carries::Topics(item) => Self::Topics(WireTopics::of(item)),
        }
    }

    fn read(self) -> Result<Carries, ConnectionError> {
        match self {
            Self::Stream { id, from } => {
                let id = StreamId::parse(&id).ok_or_else(|| unreadable("stream", &id))?;
                Ok(Carries::Stream { id, start: read_start(&from)? })
            }
            Self::Feed(feed) => Ok(Carries::Feed(Box::new(feed.read()?))),
            Self::Topics(item) => Ok(Carries::Topics(Box::new(item.read()?))),
        }
    }
}

impl WireFeed {
    fn of(feed: &FeedState) -> Self {
        let resumes = feed.resumes.iter().map(|(topic, at)| (topic.clone(), at.position.to_string()));
        let resumed = feed.resumes.iter().map(|(topic, at)| (topic.clone(), at.asked_at.as_nanos()));
        Self {
            wish: feed.wish.as_ref().map(WireWish::of),
            background: feed.is_background,
            rates: feed.rates.clone(),
            resumes: resumes.collect(),
            resumed_ns: resumed.collect(),
        }
    }

    fn read(self) -> Result<FeedState, ConnectionError> {
        let resume = |(topic, text): (String, String)| {
            let asked_at = UnixNanos::from_nanos(self.resumed_ns.get(&topic).copied().unwrap_or_default());
            match Start::parse(&text) {
                Some(Start::After(position)) => Ok((topic, Resume { position, asked_at })),
                _ => Err(unreadable("position", &text)),
            }
        };
        Ok(FeedState {
            wish: self.wish.map(WireWish::read).transpose()?,
            is_background: self.background,
            rates: self.rates,
            resumes: self.resumes.into_iter().map(resume).collect::<Result<_, _>>()?,
        })
    }
}

impl WireWish {
    fn of(wish: &FeedRequest) -> Self {
        Self {
            filter: WireFilter::of(&wish.filter),
            speed_ms: millis(wish.speed),
            max_lag_ms: millis(wish.max_lag),
            book_changes: wish.book_changes,
            since_ns: wish.since.as_nanos(),
        }
    }

    fn read(self) -> Result<FeedRequest, ConnectionError> {
        Ok(FeedRequest {
            filter: self.filter.read()?,
            speed: Duration::from_millis(self.speed_ms),
            max_lag: Duration::from_millis(self.max_lag_ms),
            book_changes: self.book_changes,
            since: UnixNanos::from_nanos(self.since_ns),
        })
    }
}

impl WireFilter {
    pub(crate) fn of(filter: &FeedFilter) -> Self {
        Self {
            channels: filter.channels.iter().map(|channel| channel.name().to_owned()).collect(),
            symbols: filter.symbols.iter().map(ToString::to_string).collect(),
            venues: filter.venues.iter().map(ToString::to_string).collect(),
            depth: filter.depth,
            raw: filter.raw,
        }
    }

    pub(crate) fn read(self) -> Result<FeedFilter, ConnectionError> {
        let channel = |name: &String| Channel::from_name(name).ok_or_else(|| unreadable("channel", name));
        Ok(FeedFilter {
            channels: self.channels.iter().map(channel).collect::<Result<_, _>>()?,
            symbols: all(&self.symbols, "symbol")?,
            venues: all(&self.venues, "venue")?,
            depth: self.depth,
            raw: self.raw,
        })
    }
}

fn all<T: std::str::FromStr + Ord>(
    names: &[String],
    what: &str,
) -> Result<std::collections::BTreeSet<T>, ConnectionError> {
    names.iter().map(|name| name.parse().map_err(|_| unreadable(what, name))).collect()
}

/// A start as `from` has it, but for times, which keep their nanoseconds: `@1700000000000000000`.
fn start_text(start: &Start) -> String {
    match start {
        Start::Live => String::new(),
        Start::Ago(ago) => format!("now-{}ms", ago.as_millis()),
        Start::At(time) => format!("@{}", time.as_nanos()),
        Start::After(position) => position.to_string(),
    }
}

fn read_start(text: &str) -> Result<Start, ConnectionError> {
    let start = match text.strip_prefix('@') {
        Some(nanos) => nanos.parse().ok().map(|nanos| Start::At(UnixNanos::from_nanos(nanos))),
        None => Start::parse(text),
    };
    start.ok_or_else(|| unreadable("start", text))
}

fn unreadable(what: &str, text: &str) -> ConnectionError {
    ConnectionError(format!("unreadable {what}: {text:.80}"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Epoch, Position};

    fn connection(carries: Carries) -> Connection {
        Connection {
            id: ConnectionId::new("abc="),
            opened_at: UnixNanos::from_nanos(1),
            asked_at: UnixNanos::from_nanos(2),
            placed_at: UnixNanos::from_nanos(4),
            control: true,
            batch: Some(Batch { size: 10, wait: Duration::from_millis(50) }),
            expires_at: Some(UnixNanos::from_nanos(3)),
            holder: Some(Holder { owner: "ann".into(), key: "bEPz35-2".into() }),
            pace: RateState { free_at: UnixNanos::from_nanos(5) },
            refused: 7,
            notes: vec![r#"{"type":"error"}"#.to_owned()],
            carries,
        }
    }

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let position = Position { epoch: Epoch::new("e1").expect("epoch"), seq: 9 };
        let id = StreamId::parse("00000000000000aa").expect("id");
        let starts =
            [Start::Live, Start::At(UnixNanos::from_nanos(123_456_789)), Start::After(position.clone())];
        let streams = starts.map(|start| Carries::Stream { id: id.clone(), start });
        let filter = FeedFilter {
            channels: [Channel::Trades].into(),
            symbols: ["BTC/USDT".parse().expect("symbol"), "BTC/USDT:USDT".parse().expect("symbol")].into(),
            venues: ["okx".parse().expect("venue")].into(),
            depth: 50,
            raw: true,
        };
        let wish = FeedRequest {
            filter,
            speed: Duration::from_millis(7),
            max_lag: Duration::from_millis(8),
            book_changes: true,
            since: UnixNanos::from_nanos(9),
        };
        let feed = FeedState {
            wish: Some(wish),
            is_background: true,
            rates: [("ticker.okx.BTC-USDT".to_owned(), Rate::Low)].into(),
            resumes: [(
                "trades.okx.BTC-USDT".to_owned(),
                Resume { position, asked_at: UnixNanos::from_nanos(6) },
            )]
            .into(),
        };
        let feeds = [Carries::Feed(Box::new(feed)), Carries::Feed(Box::default())];
        for carries in streams.into_iter().chain(feeds) {
            let connection = connection(carries);
            assert_eq!(Connection::from_json(&connection.to_json()), Ok(connection));
        }
    }

    #[test]
    fn what_an_older_writer_left_out_is_not_there() {
        let text = r#"{"id":"a","opened_ns":1,"asked_ns":1,"stream":{"id":"00000000000000aa","from":""}}"#;
        let read = Connection::from_json(text).expect("a connection");
        assert_eq!((read.holder, read.expires_at, read.batch), (None, None, None));
    }

    #[test]
    fn what_is_no_connection_says_what_is_wrong() {
        for text in ["", "{}", r#"{"id":"a","opened_ns":1,"asked_ns":1,"stream":{"id":"zz","from":""}}"#] {
            assert!(Connection::from_json(text).is_err(), "{text}");
        }
    }
}
