//! A client's connection as something that can be kept: who is connected, how it takes events, and from where.
//!
//! What a message does to a connection is decided here for every host. The dedicated edge holds its connections itself: of each feed a
//! [`FeedState`]. Behind API Gateway nobody holds a socket: a connection is an item in a [`ConnectionStore`], and the relay's cursor.

mod change;
mod excess;
mod item;
mod json;
mod pace;
mod query;
mod topics;
mod user_limit;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use smol_str::SmolStr;

pub use self::change::{TOPIC_LIMIT, limit_batch, start_of_stream};
pub use self::excess::{ANSWERED, TOLERATED, Turn};
pub use self::item::{KEPT_ANSWERS, MOST_ITEM_BYTES, PendingAnswer, SpendOfUser, TopicsItem};
pub use self::json::ConnectionError;
pub(crate) use self::json::WireFilter;
pub use self::pace::{Limit, RateState, RateTable};
pub use self::query::{Parameters, SUBPROTOCOL, TopicParameters, offers_subprotocol};
pub use self::topics::{
    FamilyLimits, MOST_TOPICS, MOST_TOPICS_OF_ITEM, TopicAccess, TopicAck, TopicAnswers, TopicRefusal,
    TopicRequest, TopicStart, TopicsState,
};
pub use self::user_limit::{Allowance, UserLimits};
use crate::api_key::Holder;
use crate::feed::FeedFilter;
use crate::message::{MOST_TOLD, Rate, Subscribe};
use crate::position::{Position, Start};
use crate::store::StoreError;
use crate::time::UnixNanos;
use crate::topic::StreamId;

/// How many lanes connections are spread over. Items are keyed by lane, so that another number needs another table.
pub const LANES: u16 = 16;

/// The name of a connection, unique among all that are open; given by API Gateway.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(SmolStr);

impl ConnectionId {
    /// The connection of this name.
    pub fn new(name: impl Into<SmolStr>) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lane it belongs to, by a hash of its name that is part of the contract between functions and relay: FNV-1a, and the finalizer
    /// of MurmurHash3, without which names that differ at their end alone share few lanes.
    pub fn lane(&self) -> u16 {
        let fnv = self.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        // Less than LANES, and so within 16 bits.
        ((mixed ^ (mixed >> 33)) % u64::from(LANES)) as u16
    }
}

impl std::fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a client takes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The most events in one.
    pub size: usize,
    /// How long one may wait to fill.
    pub wait: Duration,
}

/// What a feed's client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRequest {
    /// What it wants.
    pub filter: FeedFilter,
    /// At most one ticker or book per topic in this time.
    pub speed: Duration,
    /// How long the feed is held to be ordered by venue time; zero: order of arrival.
    pub max_lag: Duration,
    /// Whether order books are wanted as changed levels.
    pub book_changes: bool,
    /// When it asked: nothing older is sent.
    pub since: UnixNanos,
}

impl FeedRequest {
    /// What a message that came at `since` asks for.
    pub fn of(filter: FeedFilter, message: &Subscribe, since: UnixNanos) -> Self {
        let Subscribe { speed, max_lag, book_changes, .. } = *message;
        Self { filter, speed, max_lag, book_changes, since }
    }
}

/// A connection behind API Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// When it was opened, by API Gateway's clock.
    pub opened_at: UnixNanos,
    /// When the newest request that made it what it is was made, by API Gateway's clock. Every change makes it later, by a nanosecond at
    /// least: it is the connection's version too.
    pub asked_at: UnixNanos,
    /// When the client last said from where it goes on: on opening, or by `subscribe`, `unsubscribe` or `resume`. A position reached since
    /// then holds, one reached before does not.
    pub placed_at: UnixNanos,
    /// Whether statuses, gaps and the like are sent.
    pub control: bool,
    /// How it takes batches; `None`: one event a frame.
    pub batch: Option<Batch>,
    /// When it must be closed unless refreshed.
    pub expires_at: Option<UnixNanos>,
    /// Whose API key opened it, where one was needed. It must be closed once that key is revoked.
    pub holder: Option<Holder>,
    /// How often its client has spoken.
    pub pace: RateState,
    /// How many of its client's messages in this bout came faster than the pace allows.
    pub refused: u32,
    /// What its client is still to be told, as JSON texts; at most [`NOTES`]. They belong to this version alone, and the next change
    /// replaces them: the relay tells them once for every version it learns of, before any event. After a crash they may come again.
    pub notes: Vec<String>,
    /// What it carries.
    pub carries: Carries,
}

/// The most notes that a connection has: what does not fit into the answer of a message with as many errors as it can have, and an `ack`.
pub const NOTES: usize = MOST_TOLD;

/// What a connection carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carries {
    /// One stream.
    Stream {
        /// Which.
        id: StreamId,
        /// From where; never relative to a later moment.
        start: Start,
    },
    /// A feed.
    Feed(Box<FeedState>),
    /// Topics by name.
    Topics(Box<TopicsItem>),
}

/// What a feed's client has said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedState {
    /// What it wants; `None` before it has asked and after `unsubscribe`.
    pub wish: Option<FeedRequest>,
    /// Whether its screen is off.
    pub is_background: bool,
    /// What it set for single topics, by name.
    pub rates: BTreeMap<String, Rate>,
    /// From where single topics go on, by name.
    pub resumes: BTreeMap<String, Resume>,
}

/// From where one topic goes on, because the client said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The last event that the client has.
    pub position: Position,
    /// When it said so: the same position said again is to be gone back to again.
    pub asked_at: UnixNanos,
}

/// Who is connected, subscribed to what, from which position.
///
/// - `put` replaces an item only with a request at least as new; a stale one changes nothing and is told so.
/// - `replace` is for changes of what was read: of two that were made from the same version, one succeeds.
/// - A connection is gone at `opened_at` plus [`LIFETIME`], whoever asks, whether or not it was removed.
/// - `lane` is consistent: it sees every `put` and `remove` that returned before it was called.
#[async_trait]
pub trait ConnectionStore: Send + Sync {
    /// Keeps a connection as it now is. `false`: what is kept is newer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn put(&self, connection: &Connection) -> Result<bool, StoreError>;

    /// Keeps a connection in the place of the version that was asked for at `was`. `false`: what is kept, if anything, is another version.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn replace(&self, connection: &Connection, was: UnixNanos) -> Result<bool, StoreError>;

    /// The connection, if it is open. Consistent: it sees every `put` and `replace` that returned before it was called.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn get(&self, id: &ConnectionId, now: UnixNanos) -> Result<Option<Connection>, StoreError>;

    /// Forgets a connection. Whether it was known.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn remove(&self, id: &ConnectionId) -> Result<bool, StoreError>;

    /// All open connections of one lane.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn lane(&self, lane: u16, now: UnixNanos) -> Result<Vec<Connection>, StoreError>;
}

/// The longest that API Gateway keeps a connection, and some minutes of grace (API Gateway quotas, read 2026-11: 2 hours).
pub const LIFETIME: Duration = Duration::from_secs(2 * 3600 + 300);

impl Connection {
    /// A connection that was just opened.
    pub fn opened(id: ConnectionId, at: UnixNanos, carries: Carries) -> Self {
        Self {
            id,
            opened_at: at,
            asked_at: at,
            placed_at: at,
            control: false,
            batch: None,
            expires_at: None,
            holder: None,
            pace: RateState::default(),
            refused: 0,
            notes: Vec::new(),
            carries,
        }
    }

    /// Whether API Gateway has closed it by `now` in any case.
    pub fn is_over(&self, now: UnixNanos) -> bool {
        now >= self.opened_at.plus(LIFETIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_the_same_in_every_build_and_all_used() {
        assert_eq!(
            ConnectionId::new("L0SM9cOFvHcCIhw=").lane(),
            ConnectionId::new("L0SM9cOFvHcCIhw=").lane()
        );
        let used: std::collections::BTreeSet<u16> =
            (0..500).map(|n| ConnectionId::new(format!("c{n}")).lane()).collect();
        assert_eq!(used, (0..LANES).collect());
    }
}
