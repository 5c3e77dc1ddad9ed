//! From the relay to clients behind API Gateway: what one invocation of the fan-out function carries, and what it answers.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::connection::ConnectionId;

/// The most bytes that an invocation carries: Lambda refuses a request of more than 6 MB (Lambda quotas, read 2026-11).
pub const INVOCATION_BYTES: usize = 5 * 1000 * 1000;

/// The most bytes of one WebSocket frame through API Gateway: 32 KB (API Gateway quotas, read 2026-11), less some room.
pub const FRAME_BYTES: usize = 31 * 1024;

/// How far the function's clock and the relay's may be apart. The function goes on for so long past `deadline_ms` by its own clock, so
/// that a clock that is fast cuts nothing off; by the relay's clock it ends within twice this, which the second that relays leave before
/// their lease ends covers. AWS keeps its clocks within a millisecond or so (Amazon Time Sync Service, read 2026-11).
pub const CLOCK_SKEW: Duration = Duration::from_millis(400);

/// One invocation: messages, and who gets which of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// The lane, for logs.
    pub lane: u16,
    /// Its number among those of the lane's relay, for logs.
    pub number: u64,
    /// How long the function may post, in milliseconds from its start. What is under way then is given up, its outcome unknown.
    pub budget_ms: u64,
    /// No post is begun after this, in Unix milliseconds by the relay's clock, give or take [`CLOCK_SKEW`]: so that an invocation which
    /// starts late does not post beside one of the next relay. `None`: the budget alone holds, as of relays before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
    /// Messages, as their JSON text. Their order is that of the parcels' runs.
    pub messages: Vec<Box<RawValue>>,
    /// Who gets what.
    pub parcels: Vec<Parcel>,
}

/// What one connection gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// Whose it is.
    pub connection: String,
    /// The most messages in one frame, sent as a JSON array; 0: each is a frame of its own.
    pub batch: usize,
    /// Which messages, in order: runs of `[first, count]`.
    pub runs: Vec<(u32, u32)>,
    /// Whether the connection is closed after them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
}

impl Parcel {
    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.runs.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// What became of an invocation's parcels, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// One for each parcel.
    pub deliveries: Vec<Delivery>,
}

/// What became of one parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// How many of its messages were taken: the first so many.
    pub taken: usize,
    /// Why not all were; `None` where all were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
}

/// Why a delivery stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The connection does not exist (410).
    Gone,
    /// The client does not read as fast as it is sent to (429 for this connection).
    Slow,
    /// The account's quota of posts is used up (429 for all).
    Quota,
    /// The next message does not fit a frame (413).
    TooLarge,
    /// Time was up; whether the next message was taken is unknown.
    Deadline,
    /// Anything else; the same may succeed later.
    Failed,
}

/// What a deliverer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Frames sent, taken or not.
    pub posts: u64,
    /// How long frames waited for their turn within the quota, all together.
    pub waited: Duration,
}

/// Hands messages to one connection.
///
/// ```
/// # use bond_core::connection::ConnectionId;
/// # use bond_core::deliver::{Deliverer, Stop};
/// # use bytes::Bytes;
/// # async fn send(deliverer: &dyn Deliverer, connection: &ConnectionId, messages: &[Bytes]) {
/// let delivery = deliverer.deliver(connection, messages, 100).await;
/// match delivery.stop {
///     None => assert_eq!(delivery.taken, messages.len()),
///     Some(Stop::Gone) => println!("nobody is there any more"),
///     Some(stop) => println!("go on later after {} messages: {stop:?}", delivery.taken),
/// }
/// # }
/// ```
#[async_trait]
pub trait Deliverer: Send + Sync {
    /// Sends a run of consecutive messages, as frames of at most `batch` messages (0: one by one, not as an array). Never sends one
    /// before the one ahead of it was taken. Returns how many were taken and why it stopped.
    async fn deliver(&self, connection: &ConnectionId, messages: &[Bytes], batch: usize) -> Delivery;

    /// Closes the connection. One that is gone already is no error.
    async fn close(&self, connection: &ConnectionId);

    /// Whether the connection is open; `None` where that cannot be told.
    async fn is_open(&self, connection: &ConnectionId) -> Option<bool>;

    /// What it has done so far; nothing where it does not count.
    fn tally(&self) -> DeliveryCounts {
        DeliveryCounts::default()
    }
}

/// Why an invocation gave no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// It was not begun: too many run already, or the function cannot be reached. Safe to try again.
    #[error("fan-out function not started: {0}")]
    NotStarted(String),
    /// It was begun, and failed by `after` at the latest: some messages may have been taken, none will be from then on.
    #[error("fan-out function failed: {reason}")]
    Failed {
        /// What it said.
        reason: String,
        /// How long from now until it posts no more, whatever became of it.
        after: Duration,
    },
}

/// Runs the fan-out function.
#[async_trait]
pub trait Invoker: Send + Sync {
    /// Invokes it once, without retries, and waits for its receipt.
    ///
    /// # Errors
    /// [`InvokeError`].
    async fn invoke(&self, invocation: &Invocation) -> Result<Receipt, InvokeError>;
}
