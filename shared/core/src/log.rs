//! The event log: one history per topic, written by one fenced writer, read through cursors.
//!
//! What every adapter must hold to is in [`EventLog`]'s documentation, and checked by its behaviour suite.

mod publication;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::publication::{
    KEY_LIFE, LEAST_KEPT, LEAST_KEPT_FOR, Publication, PublishKey, PublishOutcome, PublishedHead,
    PublishedState,
};

use crate::position::{Epoch, Position};
use crate::time::UnixNanos;
use crate::topic::Topic;

/// What an event is: the `type` that clients see.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// A window of a stream.
    Aggregate,
    /// A trade.
    Trade,
    /// A ticker.
    Ticker,
    /// An order book.
    OrderBook,
    /// A funding rate.
    Funding,
    /// A liquidation.
    Liquidation,
    /// A post on a social network.
    Tweet,
    /// An event of a user's own source.
    Custom,
    /// A venue's own frame.
    Raw,
    /// A publisher's whole payload, in the place of what its topic's state was.
    Snapshot,
    /// A publisher's merge patch of its topic's state.
    Delta,
    /// What a publisher has to tell, beside the state.
    Alert,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Aggregate,
        Self::Trade,
        Self::Ticker,
        Self::OrderBook,
        Self::Funding,
        Self::Liquidation,
        Self::Tweet,
        Self::Custom,
        Self::Raw,
        Self::Snapshot,
        Self::Delta,
        Self::Alert,
    ];

    /// The `type` on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aggregate => "aggregate",
            Self::Trade => "trade",
            Self::Ticker => "ticker",
            Self::OrderBook => "orderbook",
            Self::Funding => "funding",
            Self::Liquidation => "liquidation",
            Self::Tweet => "tweet",
            Self::Custom => "custom",
            Self::Raw => "raw",
            Self::Snapshot => "snapshot",
            Self::Delta => "delta",
            Self::Alert => "alert",
        }
    }

    /// Whether publishers send it.
    pub const fn is_published(self) -> bool {
        matches!(self, Self::Snapshot | Self::Delta | Self::Alert)
    }

    /// The kind that [`EventKind::name`] calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An event as it goes into a log: encoded, but without the position that the log will give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub kind: EventKind,
    /// The `ts` that clients see: a window's end, else our receive time.
    pub ts: UnixNanos,
    /// What a feed with `max_lag_ms` orders it by: the venue's time where it is known, else ours.
    pub order: UnixNanos,
    /// The event's own fields as JSON, without the braces: `"price":1,"size":2`. Never empty.
    pub body: Bytes,
    /// For order books: the fields of the form that has changed levels only.
    pub changes: Option<Bytes>,
}

/// An event in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, contiguous within the epoch, from 1.
    pub seq: u64,
    /// When it was appended, by the writer's clock. Never falls within an epoch.
    pub at: UnixNanos,
    /// What was appended.
    pub record: Record,
}

/// A status kept between the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The number of the event it follows; 0 before the first.
    pub after_seq: u64,
    /// When it was appended, by the writer's clock.
    pub at: UnixNanos,
    /// The status' own fields as JSON, without the braces.
    pub body: Bytes,
}

/// One item of a log, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Entry),
    /// A status between events.
    Status(Kept),
}

/// Why numbers are missing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GapReason {
    /// They are older than what the ring keeps.
    BehindRing,
    /// The client read too slowly.
    SlowConsumer,
    /// They belong to a history that cannot be continued.
    EpochChanged,
}

impl GapReason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BehindRing => "behind_ring",
            Self::SlowConsumer => "slow_consumer",
            Self::EpochChanged => "epoch_changed",
        }
    }

    /// The reason that [`GapReason::as_str`] calls so.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::BehindRing, Self::SlowConsumer, Self::EpochChanged]
            .into_iter()
            .find(|reason| reason.as_str() == name)
    }
}

/// Numbers that cannot be delivered, in the epoch of the run they come with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The first missing number; `None` where the asked-for epoch is gone, or was never reached that far.
    pub from_seq: Option<u64>,
    /// The number before the next one delivered.
    pub to_seq: u64,
    /// Why.
    pub reason: GapReason,
}

/// Consecutive items of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The history they belong to.
    pub epoch: Epoch,
    /// What is missing before the first item, if anything.
    pub gap: Option<Gap>,
    /// The items, in order.
    pub items: Vec<Item>,
}

/// What an append gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The history.
    pub epoch: Epoch,
    /// The number of the first record; the others follow.
    pub first_seq: u64,
}

/// A writer's right to append. A greater number shuts out every smaller one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Fence(pub u64);

/// Why a log did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Another writer holds the log; this one must stop.
    #[error("another writer has taken over the log")]
    Fenced,
    /// The log cannot be reached or answered with an error; the outcome of an append is unknown.
    #[error("event log unavailable: {0}")]
    Unavailable(String),
}

/// A log per topic.
///
/// - **Numbers.** `append` gives contiguous numbers from 1 within an epoch. A topic's first append, and the first after its
///   history was lost or ended, begins a new epoch that was never used before.
/// - **Atomicity.** The records of one `append` are all there or none is; readers see them in order.
/// - **Fencing.** After `acquire` has returned, appends with any earlier fence fail with [`LogError::Fenced`] and change nothing.
/// - **Retention.** Items are kept for the ring's length in time, and fewer where a bound in bytes is reached. Numbers go on.
/// - **Reading.** A position in the current epoch gets everything after it in order, or a [`Gap`] and what is left.
///   A position of another epoch, or ahead of the log, gets `EpochChanged` with `from_seq: None` and what is kept of the current
///   epoch.
/// - **Statuses** kept after N or later are part of what comes after N, in their place.
/// - **Published topics.** `publish` appends events and their topic's state in one step, and to the head that the state was computed from
///   alone. A batch that comes again under its key, within [`KEY_LIFE`], is answered as it was the first time. The newest [`LEAST_KEPT`] events
///   stay for [`LEAST_KEPT_FOR`] although the ring is over, and the state stays until the topic ends. These topics are many: neither
///   `topics` nor `began` names them.
///
/// A writer appends, and a reader goes on after the last event that it has:
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use bond_core::log::{EventKind, EventLog, Item, Record};
/// # use bond_core::memory::{MemoryLog, Retention};
/// # use bond_core::position::Position;
/// # use bond_core::time::{ManualClock, UnixNanos};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), bond_core::log::LogError> {
/// # let retention = Retention { ring: Duration::from_secs(60), topic_bytes: 1 << 20, total_bytes: 1 << 24 };
/// let log = MemoryLog::new(retention, Arc::new(ManualClock::default()), 0);
/// let topic = "trades.okx.BTC-USDT".parse().expect("a topic");
/// let fence = log.acquire().await?;
/// let record = Record {
///     kind: EventKind::Trade,
///     ts: UnixNanos::from_secs(1),
///     order: UnixNanos::from_secs(1),
///     body: r#""price":61838,"size":0.5"#.into(),
///     changes: None,
/// };
/// let appended = log.append(fence, &topic, vec![record; 3]).await?;
///
/// let after = Position { epoch: appended.epoch, seq: 1 };
/// let run = log.read(&topic, Some(&after), 10).await?.expect("a topic with history");
/// assert_eq!((run.gap, run.items.len()), (None, 2));
/// assert!(matches!(&run.items[0], Item::Event(entry) if entry.seq == 2));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Becomes the writer of every topic.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn acquire(&self) -> Result<Fence, LogError>;

    /// Appends records to `topic`. `records` must not be empty.
    ///
    /// # Errors
    /// [`LogError::Fenced`] where another writer has taken over, [`LogError::Unavailable`].
    async fn append(&self, fence: Fence, topic: &Topic, records: Vec<Record>) -> Result<Appended, LogError>;

    /// Appends a publisher's batch to a published topic, and keeps the state that it makes.
    ///
    /// # Errors
    /// As [`EventLog::append`].
    async fn publish(
        &self,
        fence: Fence,
        topic: &Topic,
        publication: Publication,
    ) -> Result<PublishOutcome, LogError>;

    /// The head of a published topic, and its state there; `None` for a topic without history.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn state(&self, topic: &Topic) -> Result<Option<PublishedState>, LogError>;

    /// The published topics whose names begin with `prefix`, by name: at most `limit` of those behind the name `after`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn published(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<PublishedHead>, LogError>;

    /// Keeps a status after the topic's last event. A topic without history keeps none: `None`.
    ///
    /// # Errors
    /// As [`EventLog::append`].
    async fn keep(&self, fence: Fence, topic: &Topic, body: Bytes) -> Result<Option<Position>, LogError>;

    /// Ends a topic and drops its history. Appended to again, it has a new epoch.
    ///
    /// # Errors
    /// As [`EventLog::append`].
    async fn end(&self, fence: Fence, topic: &Topic) -> Result<(), LogError>;

    /// The position after the topic's last event; `None` for a topic without history.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn head(&self, topic: &Topic) -> Result<Option<Position>, LogError>;

    /// Up to `limit` events after `after`, or from the oldest kept where `after` is `None`, with the statuses before and between
    /// them; statuses after the last of `limit` events come with the next read. `None` for a topic without history.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn read(
        &self,
        topic: &Topic,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Option<Run>, LogError>;

    /// The position before the first event appended at or after `time`; clamped to what is kept, and to the head.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn position_at(&self, topic: &Topic, time: UnixNanos) -> Result<Option<Position>, LogError>;

    /// The topics that have history, but for published ones.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn topics(&self) -> Result<Vec<Topic>, LogError>;

    /// A reader that waits for what comes.
    fn tail(&self) -> Box<dyn Tail>;
}

/// A reader of many topics that waits for what comes.
#[async_trait]
pub trait Tail: Send {
    /// Reads `topic` too, from after `after`, or from the oldest kept where it is `None`. The topic need not exist yet.
    fn follow(&mut self, topic: Topic, after: Option<Position>);

    /// Stops reading `topic`.
    fn unfollow(&mut self, topic: &Topic);

    /// Waits for news. Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]; the tail stays usable and goes on from where it stands.
    async fn next(&mut self) -> Result<News, LogError>;
}

/// What a tail has to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// New items of followed topics. A followed topic that ended and began again comes with a gap `EpochChanged`.
    pub runs: Vec<(Topic, Run)>,
    /// Topics, followed or not, that began to have history, but for published ones. The first call names all that have.
    pub began: Vec<Topic>,
    /// Topics, followed or not, that have ended; of published ones those that are followed at least. One that began again has its end told no
    /// later than what came after.
    pub ended: Vec<Topic>,
}
